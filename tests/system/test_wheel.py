"""The wheel holds all of the package, and works in an empty folder without the checkout."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def test_every_folder_of_modules_is_listed() -> None:
    """setup.cfg lists them by hand, because two of them lie outside gfn_vi/: a room that is forgotten is in no wheel."""
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg")
    names = set(listed["options"]["packages"].split())
    homes = {"gfn_vi": "gfn_vi", "experiments": "gfn_vi.experiments", "hydra_plugins/gfn_vi": "hydra_plugins.gfn_vi"}
    found = {
        ".".join([package, *path.parent.relative_to(ROOT / home).parts])
        for home, package in homes.items()
        for path in (ROOT / home).rglob("__init__.py")
        if not path.parent.is_relative_to(ROOT / "gfn_vi" / "experiments")
    }
    assert found | {"gfn_vi.configs"} == names


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files, made from a copy of what git knows."""
    source, wheels, place = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "place"))
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():  # one that was deleted and not yet committed is still known to git
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(place), str(wheel)], check=True)
    return place


def command(installed: Path, folder: Path, module: str, *arguments: str) -> str:
    """Run a command of the wheel in `folder`; -S: no .pth file leads back to the checkout."""
    code = (
        f"import sys; sys.argv[0] = 'gfn-vi-{module}'; import gfn_vi; assert gfn_vi.__file__.startswith({str(installed)!r}); "
        f"from gfn_vi.commands.{module} import main; sys.exit(main())"
    )
    environment = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{INSTALLED}"}
    python = [sys.executable, "-S", "-c", code, *arguments]
    done = subprocess.run(python, check=False, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_and_its_status_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    told = command(installed, tmp_path, "train", "debug=one_step", "target=hypergrid_3x3")
    assert "outputs/" in told
    assert "done" in command(installed, tmp_path, "status", "outputs/debug")
    assert command(installed, tmp_path, "sample", "outputs/debug", "n=3").endswith("samples.csv\n")
    assert len((tmp_path / "samples.csv").read_text(encoding="utf-8").splitlines()) == 4


def test_an_experiment_to_its_figure_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    command(installed, tmp_path, "reproduce", "quickstart", "trainer.n_trajectories=640", "replicas=2")
    assert list(tmp_path.rglob("*.png"))


def test_a_committed_figure_without_a_run(installed: Path, tmp_path: Path) -> None:
    """The tables and arrays of committed results are in the wheel, and what lies beside a figure.py of the package is found."""
    command(installed, tmp_path, "figure", "experiment=quickstart", "source=results")
    assert (tmp_path / "outputs/quickstart_results/figure.png").is_file()

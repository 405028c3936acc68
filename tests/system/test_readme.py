"""The commands of the README, and those of the pages that go on where it ends, run in a copy of the project."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# `make test` is what runs this test.
RUNS_THIS_TEST = "make test"
# Page -> how many of its first blocks of commands run here, in this order: those behind need files of the reader's own.
PAGES = {
    "README.md": 1,
    "docs/training.md": 2,
    "docs/sweeps.md": 1,
    "docs/reproducing.md": 1,
    "docs/structure_learning.md": 1,
    "docs/densities.md": 1,
    "docs/molecules.md": 1,
    "docs/verifying.md": 3,
}
BLOCK = re.compile(r"```bash\n.*?```", re.DOTALL)


def commands(page: str = README) -> list[str]:
    """The commands of all bash blocks: continued lines joined, comments removed, `cd` put in front of what follows it."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        where = "."
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["cd"]:
                where = str(Path(where) / words[1])
            elif words:
                found.append(shlex.join(words) if where == "." else f"cd {where} && {shlex.join(words)}")
    return found


def commands_that_run() -> list[str]:
    """Return what test_every_command runs."""
    blocks = {name: BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))[:number] for name, number in PAGES.items()}
    assert {name: len(found) for name, found in blocks.items()} == PAGES
    return [command for found in blocks.values() for block in found for command in commands(block)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what git would clone, using this environment."""
    copy = tmp_path / "gfn_vi"
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(ROOT / ".venv", target_is_directory=True)
    # Older than the stamp in .venv, whenever that was made: a set-up here would install this copy over the project.
    for name in ("requirements.lock", "setup.cfg", "pyproject.toml"):
        os.utime(copy / name, (0, 0))
    return copy


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    """One sets up and runs the main job, one sets up and runs the tests; all of them are in the block that runs."""
    assert "make figure" in commands()
    assert RUNS_THIS_TEST in commands()
    assert len(BLOCK.findall(README)) == PAGES["README.md"]
    assert len(README.splitlines()) <= 130  # two screens


@pytest.mark.slow
def test_every_command(project: Path) -> None:
    """In order, since later commands read what earlier ones wrote; on one thread: another test may be using the other core."""
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(project)}
    for command in commands_that_run():
        if command != RUNS_THIS_TEST:
            shown = subprocess.run(command, shell=True, cwd=project, env=environment, capture_output=True, text=True, check=False)
            assert shown.returncode == 0, f"{command}\n{shown.stdout[-2000:]}{shown.stderr[-4000:]}"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_link(link: str) -> None:
    """Relative links lead somewhere."""
    assert (ROOT / link).exists()

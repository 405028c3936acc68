"""Every command in the README runs, in a copy of the project, and every file it names exists."""

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


def test_the_readme_has_the_two_commands() -> None:
    """One sets up and runs the main job, one sets up and runs the tests."""
    assert "make figure" in commands()
    assert RUNS_THIS_TEST in commands()


@pytest.mark.slow
def test_every_command(project: Path) -> None:
    """In order, since later commands read what earlier ones wrote; on one thread: another test may be using the other core."""
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(project)}
    for command in commands():
        if command != RUNS_THIS_TEST:
            shown = subprocess.run(command, shell=True, cwd=project, env=environment, capture_output=True, text=True, check=False)
            assert shown.returncode == 0, f"{command}\n{shown.stdout[-2000:]}{shown.stderr[-4000:]}"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_link(link: str) -> None:
    """Relative links lead somewhere."""
    assert (ROOT / link).exists()

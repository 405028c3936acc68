"""The command line as a user meets it: a process of its own with arguments, a current folder, an exit code and two streams.

`train` forks a process in which torch is imported already (a third of a second instead of three); `spawn` starts Python
afresh, for what depends on that: signals, what is imported.
"""

from __future__ import annotations

import csv
import importlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "train.py"
LIMIT_SECONDS = 120

# One core, whatever the machine; the fork server and spawned processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

# A small grid and a small network: an update takes about 3 ms.
SMALL = ("target.side=4", "sampler.hidden=[16]", "trainer.batch_size=16", "trainer.record_every=16", "evaluation.every=64")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and streams."""

    code: int | None
    out: str
    err: str

    @property
    def directory(self) -> Path:
        """The run directory that the last line names, as the command printed it."""
        return Path(self.out.splitlines()[-1])


def _child(command: str, arguments: Sequence[str], folder: str, out: str, err: str, environment: dict[str, str]) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = [str(ROOT / "scripts" / f"{command}.py"), *arguments]
    importlib.import_module(f"gfn_vi.commands.{command}").main()


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "numpy", "gfn_vi.run", "gfn_vi.build", "gfn_vi.commands.train"])
    return context


def train(arguments: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> Outcome:
    """Run scripts/train.py in `folder` and wait for its end."""
    return run_command("train", arguments, folder, environment)


def run_command(command: str, arguments: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> Outcome:
    """Run scripts/<command>.py in `folder` and wait for its end."""
    folder.mkdir(parents=True, exist_ok=True)
    streams = [folder.parent / f".{folder.name}.{name}" for name in ("out", "err")]
    process: BaseProcess = _context().Process(
        target=_child, args=(command, list(arguments), str(folder), *map(str, streams), environment or {})
    )
    process.start()
    process.join(LIMIT_SECONDS)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"still running after {LIMIT_SECONDS} s: {' '.join(arguments)}")
    return Outcome(process.exitcode, *(path.read_text() for path in streams))


def spawn(
    arguments: Sequence[str],
    folder: Path,
    python: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    group: bool = False,
) -> subprocess.Popen[str]:
    """Start `python scripts/train.py ...` in `folder`; group: in a process group of its own, as a terminal does."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *python, str(SCRIPT), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    variables = os.environ | (environment or {})
    return subprocess.Popen(command, cwd=folder, text=True, env=variables, process_group=0 if group else None, **pipes)


def ended(process: subprocess.Popen[str]) -> Outcome:
    """Wait for the end of a spawned process."""
    try:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Outcome(process.returncode, out, err)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return as soon as the condition holds; fail if the process ends or the time is over before."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert process.poll() is None, f"it ended early: {process.communicate()}"
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)


def only_run(root: Path) -> Path:
    """The one run directory below an output root."""
    runs = [path.parent for path in root.glob("*/*/config.yaml")]
    assert len(runs) == 1, runs
    return runs[0]


def records(directory: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv without what no two runs share."""
    with open(directory / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "wall_seconds"} for row in csv.DictReader(file)]


def files_below(folder: Path) -> list[str]:
    """Everything in a folder, for "nothing was left"."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

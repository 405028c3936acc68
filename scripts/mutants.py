"""Check that tests fail when the code is wrong: python scripts/mutants.py [scripts/mutants.txt] [words to select lines by].

Each line of the file is `path | old text | new text | tests`. One after the other the old text, which must occur exactly once, is
replaced in a temporary copy of the tree (the checkout itself is never touched), and the tests (arguments of pytest, stopped at
the first failure) are run there. A mutant whose tests pass has survived: a test is missing. Exit status 1 if any did.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import hydra  # noqa: F401  what every test imports and no mutant changes is imported once, before processes are forked
import pytest
import torch  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("configs", "docs", "experiments", "gfn_vi", "hydra_plugins", "scripts", "tests")
SECONDS = 300  # a mutant that makes a test run for ever is killed as one that makes it fail


@dataclass(frozen=True)
class Mutant:
    """One line of the list."""

    path: str
    old: str
    new: str
    tests: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old}  ->  {self.new}"


def read(lines: list[str]) -> list[Mutant]:
    """Return the mutants of a list without its comments and empty lines. Raises ValueError unless a line has four parts."""
    found = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            parts = [part.strip() for part in line.split(" | ")]
            if len(parts) != 4:
                raise ValueError(f"expected path | old text | new text | tests, found {line!r}")
            found.append(Mutant(*parts))
    return found


def copy_tree(destination: Path) -> None:
    """Copy what the tests need; the files as they are in the checkout, committed or not."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__", "outputs")
        shutil.copytree(ROOT / name, destination / name, symlinks=True, ignore=ignored)
    for path in ROOT.iterdir():
        if path.suffix in (".toml", ".cfg", ".md", ".cff", ".yml") or path.name in ("LICENSE", "Makefile"):
            shutil.copy(path, destination)


def run_tests(tree: Path, tests: str) -> None:
    """Exit with pytest's status, in a process of its own; compiled files, whose dates are too coarse, are not written."""
    sys.dont_write_bytecode = True
    os.chdir(tree)
    sys.path[:0] = [str(tree), str(tree / "scripts")]  # before the folder that this script is in
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests.split()])))


def passes(tree: Path, tests: str) -> bool:
    """Whether the tests pass in the copy."""
    process = multiprocessing.get_context("fork").Process(target=run_tests, args=(tree, tests))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        return False
    if process.exitcode in (2, 3, 4, 5):
        raise RuntimeError(f"pytest {tests} did not run any test: exit status {process.exitcode}")
    return process.exitcode == 0


def survives(tree: Path, mutant: Mutant) -> bool:
    """Run the mutant's tests on it; the copy is as before afterwards. Raises ValueError if the old text is not there once."""
    path = tree / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.path}: {mutant.old!r} occurs {text.count(mutant.old)} times, expected once")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return passes(tree, mutant.tests)
    finally:
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Print a line for each mutant; the exit status is 1 if any survived."""
    listed = Path(arguments[0]) if arguments else ROOT / "scripts" / "mutants.txt"
    mutants = [m for m in read(listed.read_text(encoding="utf-8").splitlines()) if all(word in str(m) for word in arguments[1:])]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        for tests in dict.fromkeys(mutant.tests for mutant in mutants):  # tests that fail anyway would kill everything
            if not passes(Path(folder), tests):
                raise RuntimeError(f"{tests} fails on the code as it is")
        for mutant in mutants:
            started = time.perf_counter()
            survived = survives(Path(folder), mutant)
            survivors += [mutant] * survived
            print(f"{'SURVIVES' if survived else 'killed'} {time.perf_counter() - started:5.1f} s  {mutant}", flush=True)
    print(f"{len(mutants)} mutants, {len(survivors)} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""reproduce.py: from an experiment's name to figure, claims and report; what is done is not done again."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def reproduce(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, one thread, runs below `folder`."""
    command = [sys.executable, str(ROOT / "scripts/reproduce.py"), *words, f"output_root={folder}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


@pytest.mark.slow
def test_from_a_name_to_a_report(tmp_path: Path) -> None:
    words = ["deviations", "preset=smoke", "hydra/launcher=local"]
    first = reproduce(words, tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "deviations_smoke"
    made = (
        "table.parquet",
        "table.csv",
        "summary.csv",
        "improvement.csv",
        "figure.png",
        "figure.pdf",
        "claims.csv",
        "report.html",
    )
    assert [name for name in made if not (folder / name).stat().st_size] == []
    with open(folder / "claims.csv", newline="") as file:
        claims = list(csv.DictReader(file))
    assert "The best setting is the published one." in {row["claim"] for row in claims}
    assert {row["agrees"] for row in claims} == {"undecided"}  # by two replicas
    assert "Kendall's tau" in first.stdout
    assert all(row["claim"].split()[0] in first.stdout for row in claims)
    assert "The best setting is the published one." in (folder / "report.html").read_text()

    table = (folder / "table.csv").read_bytes()
    again = reproduce(words, tmp_path)
    assert again.returncode == 0
    assert "23 runs: 23 done" in again.stdout + again.stderr
    assert (folder / "table.csv").read_bytes() == table


@pytest.mark.slow
def test_what_failed_is_said_and_the_rest_is_drawn(tmp_path: Path) -> None:
    """A rate that makes two arms non-finite, the others not run: status 1, figure and report there, claims undecided."""
    words = ["hypergrid_objectives", "preset=smoke", "arm=paper/trajectory_balance,paper/reverse_kl", "optimizer.lr_log_Z=1e38"]
    found = reproduce(words, tmp_path)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    folder = tmp_path / "hypergrid_objectives_smoke"
    assert [name for name in ("figure.png", "claims.csv", "report.html") if not (folder / name).exists()] == []
    assert "not measured: no finished run of" in (folder / "claims.csv").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "error: there is no experiment nope; give experiment=NAME, known: "),
        (["quickstart", "preset=smoke"], "preset=smoke: experiment=quickstart has no such size"),
        (
            ["quickstart", "experiment_name=mine"],
            "error: experiment_name: the runs of an experiment lie in the folder of its name",
        ),
        (["hypergrid_small", "preset=smoke", "arm=paper/nope"], "arm=paper/nope: no such choice; choices: paper/forward_kl"),
    ],
)
def test_bad_input_ends_before_anything_runs(words: list[str], message: str, tmp_path: Path) -> None:
    found = reproduce(words, tmp_path)
    assert found.returncode == 2
    assert message in found.stderr
    assert not list(tmp_path.iterdir())

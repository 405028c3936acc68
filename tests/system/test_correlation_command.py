"""Held-out objects on the command line: the numbers of a run, the run that is judged by them, and what is refused at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gfn_vi.core import user_files
from system.command import SMALL, records, train

KEY = "evaluation.metrics.correlation"
METRIC = ("target=hypergrid", f"+metric@{KEY}=correlation", *SMALL, "trainer.n_trajectories=32")
JUDGED = "evaluation.headline={metric: log_p_correlation, direction: maximize, worst: -1, words: correlation}"


def test_a_run_records_the_correlation_and_can_be_judged_by_it(tmp_path: Path) -> None:
    outcome = train([*METRIC, JUDGED, "replicas=2"], tmp_path)
    assert outcome.code == 0, outcome.err
    assert ": log_p_correlation " in outcome.out
    run = tmp_path / outcome.directory
    rows = [row for row in records(run) if row["metric"].startswith("log_p_correlation")]
    assert {row["step"] for row in rows} == {"0", "2"}
    last = {(row["metric"], row["replica"]): float(row["value"]) for row in rows if row["step"] == "2"}
    arrays = np.load(run / "arrays.npz")
    for replica in (0, 1):
        r = last["log_p_correlation", str(replica)]
        assert last["log_p_correlation_low", str(replica)] < r < last["log_p_correlation_high", str(replica)]
        of_arrays = np.corrcoef(arrays["log_p_terminating"][replica], arrays["held_out_log_reward"])[0, 1]
        assert r == pytest.approx(of_arrays, rel=1e-9)
    assert json.loads((run / "status.json").read_text())["headline"]["metric"] == "log_p_correlation"


def test_files_are_part_of_what_a_run_is_and_refused_before_it_starts(tmp_path: Path) -> None:
    file = tmp_path / "held_out.txt"
    file.write_text("0 0\n")
    digest = user_files.digest(file.read_bytes())
    shown = train([*METRIC, f"{KEY}.held_out.path=held_out.txt", "--cfg", "job", "--resolve"], tmp_path)
    assert f"digest: {digest}" in shown.out or f"digest: '{digest}'" in shown.out
    refused = {
        f"{KEY}.held_out.path=none.txt": f"{KEY}.held_out.path=none.txt: there is no such file",
        f"{KEY}.held_out.path=held_out.txt": f"{KEY}.held_out.path=held_out.txt: Hypergrid reads no objects from files",
        f"{KEY}.most_ancestors=5": f"{KEY}.most_ancestors=5: the 16 objects have more ancestors",
    }
    for override, message in refused.items():
        outcome = train([*METRIC, override], tmp_path)
        assert outcome.code == 2, outcome.out
        assert message in outcome.err
        assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()

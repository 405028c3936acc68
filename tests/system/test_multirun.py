"""Sweeps with the basic launcher: every job is a run of its own, one that fails takes nobody along."""

from __future__ import annotations

import json
import math
import re
import statistics
from pathlib import Path

import yaml

from system.command import SMALL, records, train

SWEEP = ("-m", *SMALL, "trainer.n_trajectories=16", "objective=trajectory_balance,reverse_kl", "seed=0,1")


def states(folder: Path) -> dict[str, str]:
    found = folder.glob("outputs/default/*/status.json")
    return {path.parent.name.rpartition("-")[0]: json.loads(path.read_text())["state"] for path in found}


def test_all_jobs_run_once(tmp_path: Path) -> None:
    first = train(SWEEP, tmp_path)
    assert first.code == 0, first.err
    names = [f"{o}-on_policy-hypergrid-mlp-seed{s}" for o in ("trajectory_balance", "reverse_kl") for s in (0, 1)]
    assert states(tmp_path) == dict.fromkeys(names, "done")
    again = train(SWEEP, tmp_path)
    assert (again.code, again.out.splitlines()[-2:], again.err) == (0, ["4 runs: 4 done", "outputs/default"], "")


def test_the_end_shows_the_headline_of_each_setting_the_best_first(tmp_path: Path) -> None:
    """The best of each direction, seeds together; of a run the median over replicas; a diverged run is the worst."""
    sweep = (
        "-m",
        *SMALL,
        "trainer.n_trajectories=64",
        "replicas=3",
        "seed=0,5",
        "optimizer.lr_forward=1e-5,0.1",
        "optimizer=sgd",
    )
    for evaluation, metric, sign in (("exact", "jsd", 1), ("sampled", "sampled_elbo", -1)):
        done = train([*sweep, f"evaluation={evaluation}", f"experiment_name={metric}", "optimizer.lr_log_Z=0.1,1e30"], tmp_path)
        assert done.code == 1, done.err  # what diverged
        found: dict[str, list[float]] = {}
        for run in tmp_path.glob(f"outputs/{metric}/*/"):
            last = {row["replica"]: float(row["value"]) for row in records(run) if row["metric"] == metric}
            optimizer = yaml.safe_load((run / "config.yaml").read_text())["optimizer"]
            is_lost = optimizer["lr_log_Z"] > 1
            value = (math.log(2) if sign == 1 else -math.inf) if is_lost else statistics.median(last.values())
            found.setdefault(f"{optimizer['lr_forward']:g} {optimizer['lr_log_Z']:g}", []).append(value)
        header, *rows = done.out.splitlines()[-7:-2]
        assert header.startswith(f"{metric} (")
        assert f"{'lower' if sign == 1 else 'higher'} is better" in header
        shown = []
        for row in rows:
            match = re.fullmatch(r"  (\S+) \((\S+) to (\S+)\) +optimizer.lr_forward=(\S+) optimizer.lr_log_Z=(\S+)", row)
            assert match is not None, row
            values = found.pop(f"{float(match[4]):g} {float(match[5]):g}")
            expected = [f"{value:.3g}" for value in (statistics.median(values), min(values), max(values))]
            assert [match[1], match[2], match[3]] == expected
            shown.append(sign * float(match[1]))
        assert shown == sorted(shown)
        assert found == {}


def test_the_others_go_on_and_the_end_says_what_failed(tmp_path: Path) -> None:
    outcome = train(["-m", *SMALL[1:], "trainer.n_trajectories=16", "target.side=4,-3,abc,5"], tmp_path)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    found = tmp_path.glob("outputs/default/*/status.json")
    assert [json.loads(path.read_text())["state"] for path in found] == ["done"] * 2
    _, report = outcome.err.split("error: ")
    assert report.startswith("2 of 4 runs failed or diverged")
    assert "target.side=-3: expected a whole number >= 2" in report
    assert "target.side=abc: expected a whole number" in report


def test_a_crash_is_shown_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "my_code.py").write_text(
        "from gfn_vi.objectives.trajectory_balance import TrajectoryBalance\n"
        "class Fragile(TrajectoryBalance):\n"
        "    def __init__(self, penalty: object, limit: int) -> None:\n"
        "        super().__init__(penalty)\n"
        "        self.limit = limit\n"
        "    def __call__(self, evaluation):\n"
        "        return super().__call__(evaluation) / [1][self.limit]\n"
    )
    sweep = ["-m", *SMALL, "trainer.n_trajectories=16", "objective._target_=my_code.Fragile", "+objective.limit=1,0"]
    outcome = train(sweep, tmp_path)
    assert outcome.code == 1
    assert "in __call__" in outcome.err
    assert "IndexError: list index out of range" in outcome.err.split("1 of 2 runs failed")[1]
    found = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/default/*/status.json")]
    assert sorted(status["state"] for status in found) == ["done", "failed"]
    assert "IndexError" in next(status["error"] for status in found if status["state"] == "failed")

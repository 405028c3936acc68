"""The table at the end of a sweep: ranked within one target only, and marked where weights do not carry a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gfn_vi.core.headline import Headline
from gfn_vi.core.reliability import LEGEND
from gfn_vi.sweeps.jobs import Job
from gfn_vi.sweeps.launching import Outcome
from gfn_vi.sweeps.results import Row, _table, results

MakeRun = Callable[..., Path]
BEST_FIRST = ("reverse_wake_sleep", "trajectory_balance", "reverse_kl")


@pytest.fixture
def outcome(make_run: MakeRun) -> Callable[..., Outcome]:
    """A finished job of an arm on a target."""

    def make(arm: str, target: Mapping[str, Any], *more: str, seed: int = 0, preset: str | None = None) -> Outcome:
        path = make_run(arm, seed=seed, replicas=3, n_points=5, target=dict(target), more=list(more))
        words = (f"arm={arm}", *(f"target.{key}={value}" for key, value in target.items()), *more, f"seed={seed}")
        return Outcome(Job(words, path, {"target": target, "preset_name": preset}), "done")

    return make


def labels(lines: list[str]) -> list[str]:
    """Return the rows without their numbers, and titles."""
    return [line.strip().rpartition(")  ")[2] for line in lines[1:]]


def test_one_target_is_ranked(outcome: Callable[..., Outcome]) -> None:
    found = results([outcome(arm, {"side": 8}) for arm in reversed(BEST_FIRST)])
    assert "not ranked" not in found[0]
    assert [line.split()[-1] for line in found[1:]] == [f"arm={arm}" for arm in BEST_FIRST]


def test_targets_are_ranked_apart(outcome: Callable[..., Outcome]) -> None:
    found = results([outcome(arm, {"side": side}) for side in (16, 8) for arm in reversed(BEST_FIRST)])
    assert found[1] == " target.side=16:"
    assert found[5] == " target.side=8:"
    for part in (found[2:5], found[6:9]):
        assert [line.split()[-1] for line in part] == [f"arm={arm}" for arm in BEST_FIRST]


def test_one_setting_on_several_targets_is_not_ranked(outcome: Callable[..., Outcome]) -> None:
    found = results([outcome("reverse_kl", {"side": side}) for side in (16, 4, 8)])
    assert found[0].endswith("; different targets, not ranked:")
    assert [line.split()[-1] for line in found[1:]] == ["target.side=16", "target.side=4", "target.side=8"]


def test_settings_on_data_of_each_seed_are_not_ranked(outcome: Callable[..., Outcome]) -> None:
    """Each seed has a graph of its own: rows are in the order of the command line."""
    arms = tuple(reversed(BEST_FIRST))
    done = [outcome(arm, {"side": 8}, seed=seed) for arm in arms for seed in (0, 1)]
    for one in done:
        one.job.config["target"] = {"data": {"seed": int(one.job.overrides[-1][5:])}}  # type: ignore[index]
    assert [line.split()[-1] for line in results(done)[1:]] == [f"arm={arm}" for arm in arms]


def test_what_is_left_out_is_counted(outcome: Callable[..., Outcome]) -> None:
    found = results([outcome(arm, {"side": side}) for side in range(2, 9) for arm in BEST_FIRST])
    assert sum(line.startswith("  ") for line in found) == 16
    assert found[-1].startswith("  and 6 more: ")


def test_smoke_and_weak_weights_are_said(outcome: Callable[..., Outcome]) -> None:
    done = outcome("reverse_kl", {"side": 8}, preset="smoke")
    assert results([done])[-1] == "Preset smoke decides nothing: it tells whether everything runs."
    status = done.job.directory / "status.json"
    status.write_text(status.read_text().replace('"jsd"', '"sampled_log_Z"'))
    rows = [f"1,64,64,1.0,{r},{name},{value}" for name, value in WEAK.items() for r in range(3)]
    metrics = done.job.directory / "metrics.csv"
    metrics.write_text("\n".join([metrics.read_text().splitlines()[0], *rows]) + "\n")
    found = results([done])
    assert found[1] == "  -2 (?)  the run"
    assert LEGEND in found
    found = results([replace(done, state="diverged")])
    assert found[1].startswith("  0.693  ")  # the worst value rests on no weights
    assert LEGEND not in found


def test_larger_is_ranked_first_where_it_is_better_and_the_median_counts() -> None:
    rows = {("few",): Row([9.0, 1.0, 2.0], {"one"}), ("many",): Row([3.0, 4.0], {"one"})}
    assert [str(row) for row in rows.values()] == ["2 (1 to 9)", "3.5 (3 to 4)"]
    for direction, order in (("maximize", ["many", "few"]), ("minimize", ["few", "many"])):
        found = _table(Headline("m", direction, 0.0, "m"), rows, set(), 9)  # type: ignore[arg-type]
        assert [line.split()[-1] for line in found[1:]] == order


WEAK = {"sampled_log_Z": -2.0, "sampled_n_effective": 1.0, "sampled_pareto_k": 0.3}

"""The area under the JSD curve of a run, by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from gfn_vi.analysis.statistics.summary import headline_area
from gfn_vi.core.headline import Headline
from gfn_vi.runs.folders import TableError

JSD = Headline("jsd", "minimize", math.log(2), "exact JSD")


def write(path: Path, rows: Sequence[tuple[int, int, str, float]]) -> Path:
    """A run directory with rows of (trajectories, replica, metric, value)."""
    lines = [f"{x},{x},{x},0.5,{replica},{metric},{value}" for x, replica, metric, value in rows]
    header = "step,trajectories,reward_calls,wall_seconds,replica,metric,value"
    (path / "metrics.csv").write_text("\n".join([header, *lines]) + "\n")
    (path / "config.yaml").write_text("seed: 0\n")
    (path / "status.json").write_text(json.dumps({"state": "done"}))
    return path


JSD = Headline("jsd", "minimize", math.log(2), "exact JSD")
CURVE = [(0, 0, "jsd", 0.6), (10, 0, "jsd", 0.2), (40, 0, "jsd", 0.0), (10, 0, "loss", 7.0), (10, 0, "frozen", 0.0)]


def test_it_is_the_mean_height_over_unequal_steps(tmp_path: Path) -> None:
    """(10 x 0.4 + 30 x 0.1) / 40."""
    assert headline_area(write(tmp_path, CURVE), JSD) == pytest.approx(0.175, rel=1e-12)


def test_replicas_are_averaged_and_a_frozen_one_is_worst_from_there_on(tmp_path: Path) -> None:
    """What it recorded afterwards is the JSD of its last finite parameters."""
    other = [(x, 1, metric, value) for x, _, metric, value in CURVE if metric == "jsd"]
    frozen = [(5, 1, "frozen", 0.0), (8, 1, "frozen", 1.0), (20, 1, "frozen", 1.0)]
    worst = (10 * (0.6 + math.log(2)) / 2 + 30 * math.log(2)) / 40
    assert headline_area(write(tmp_path, [*CURVE, *other, *frozen]), JSD) == pytest.approx((0.175 + worst) / 2, rel=1e-12)


def test_a_replica_is_frozen_at_the_evaluation_that_says_so(tmp_path: Path) -> None:
    """The value recorded at the very trajectories at which it froze is the worst one already, the one before still counts."""
    frozen = [(x, 0, "frozen", float(x >= 10)) for x in (0, 10, 40)]
    rows = [row for row in CURVE if row[2] != "frozen"]
    expected = (10 * (0.6 + math.log(2)) / 2 + 30 * math.log(2)) / 40
    assert headline_area(write(tmp_path, [*rows, *frozen]), JSD) == pytest.approx(expected, rel=1e-12)


def test_values_that_are_not_finite_are_worst(tmp_path: Path) -> None:
    """The last point alone."""
    broken = [(x, r, m, math.nan if (x, m) == (40, "jsd") else value) for x, r, m, value in CURVE]
    assert headline_area(write(tmp_path, broken), JSD) == pytest.approx((10 * 0.4 + 30 * (0.2 + math.log(2)) / 2) / 40, rel=1e-12)


def test_a_run_without_a_curve_is_refused(tmp_path: Path) -> None:
    """One point is none."""
    with pytest.raises(TableError, match="no curve of the exact JSD"):
        headline_area(write(tmp_path, CURVE[:1]), JSD)

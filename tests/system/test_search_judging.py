"""What a search is told of a run: its headline or a named metric, less is better, infinite where a replica is lost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.core.headline import Headline
from gfn_vi.runs.files import COLUMNS, METRICS, STATUS
from gfn_vi.runs.last_values import headline_value
from hydra_plugins.gfn_vi.judging import Judge

ELBO = Headline("sampled_elbo", "maximize", -50.0, "sampled ELBO (nats)")
ROWS = [(0, 0, "sampled_elbo", -9.0), (64, 0, "sampled_elbo", -3.0), (64, 1, "sampled_elbo", -2.0), (64, 0, "loss", 7.0)]
ROWS += [(64, 1, "loss", 9.0), (64, 0, "frozen", 0.0), (64, 1, "frozen", 0.0)]


def write(path: Path, rows: list[tuple[int, int, str, float]], headline: Headline | None = ELBO) -> Path:
    lines = [",".join(COLUMNS), *(f"{x},{x},{x},0.5,{r},{metric},{value}" for x, r, metric, value in rows)]
    (path / METRICS).write_text("\n".join(lines) + "\n")
    told = {} if headline is None else {"headline": headline.as_dict()}
    (path / STATUS).write_text(json.dumps({"state": "done"} | told))
    return path


def test_the_headline_of_the_run_counts_with_its_direction(tmp_path: Path) -> None:
    """The mean over replicas of the last values; its negative, since more is better."""
    run = write(tmp_path, ROWS)
    assert headline_value(run) == -2.5
    assert Judge(None, None).loss(run) == 2.5
    assert Judge(None, "maximize").loss(run) == 2.5


@pytest.mark.parametrize("metric", [None, "sampled_elbo"])
def test_a_direction_against_that_of_the_headline_is_refused(metric: str | None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.direction=minimize: a higher sampled_elbo is better"):
        Judge(metric, "minimize").loss(write(tmp_path, ROWS))


@pytest.mark.parametrize("row", [(64, 1, "frozen", 1.0), (64, 1, "sampled_elbo", math.nan)])
def test_a_lost_replica_is_the_worst(tmp_path: Path, row: tuple[int, int, str, float]) -> None:
    run = write(tmp_path, [*ROWS, row])
    assert headline_value(run) == -50.0
    assert Judge(None, None).loss(run) == math.inf


def test_any_recorded_metric_can_be_named(tmp_path: Path) -> None:
    """With its direction unless it is the headline."""
    run = write(tmp_path, ROWS)
    assert Judge("loss", "minimize").loss(run) == 8.0
    assert Judge("sampled_elbo", None).loss(run) == 2.5
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.direction=null: loss is no headline"):
        Judge("loss", None).loss(run)
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.direction=up: .*minimize, maximize"):
        Judge("loss", "up").check({})


def test_what_was_not_recorded_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has not recorded jsd: choose another hydra\.sweeper\.metric"):
        Judge("jsd", "minimize").loss(write(tmp_path, ROWS))
    assert headline_value(write(tmp_path, ROWS, None)) is None
    with pytest.raises(RunError, match=r"names no headline to search by: set hydra\.sweeper\.metric"):
        Judge(None, None).loss(tmp_path)

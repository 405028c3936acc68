"""What a run over a density leaves for people: intervals by importance weights, and pictures on a line, in a plane and beyond."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gfn_vi.analysis.pages.report import render
from gfn_vi.analysis.pictures.densities import one_replica, report, sample_figure, trajectory_figure
from gfn_vi.commands.pictures import main
from gfn_vi.runs.folders import TableError


def arrays_of(dim: int, n_replicas: int = 2, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(n_replicas, 400, dim))
    paths = rng.normal(size=(n_replicas, 20, 4, dim))
    return {"samples": samples, "log_weights": np.zeros((n_replicas, 400)), "trajectories": paths, **more}


def run_directory(path: Path, arrays: dict[str, Any]) -> Path:
    path.mkdir(parents=True)
    (path / "status.json").write_text(json.dumps({"state": "done"}))
    np.savez_compressed(path / "arrays.npz", **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def test_intervals_are_those_of_weighted_samples(tmp_path: Path) -> None:
    """0 .. 399 with weights proportional to the number: by hand. A replica whose weights are NaN does not count."""
    arrays = arrays_of(1, coordinate_names=["dose"], about_coordinates=["log-odds"])
    arrays["samples"][0, :, 0] = np.arange(400)
    with np.errstate(divide="ignore"):
        arrays["log_weights"][0] = 1000 + np.log(np.arange(400))
    arrays["log_weights"][1, 7] = np.nan
    told = report(run_directory(tmp_path / "run", arrays), with_pictures=False)
    row = pd.read_csv(tmp_path / "run" / "coordinates.csv").iloc[0]
    share = np.arange(400) / np.arange(400).sum()
    mean = float((share * np.arange(400)).sum())
    np.testing.assert_allclose([row["mean"], row["std"]], [mean, np.sqrt((share * (np.arange(400) - mean) ** 2).sum())])
    quantiles = [int((share.cumsum() < level).sum()) for level in (0.025, 0.5, 0.975)]
    assert [row[f"quantile_{level}"] for level in (0.025, 0.5, 0.975)] == quantiles
    assert told.splitlines()[-3:-1] == ["log-odds", f"by importance weights, worth {1 / (share**2).sum():.3g} of 400 samples"]


def test_weights_that_are_worth_little_are_said_to_be(tmp_path: Path) -> None:
    arrays = arrays_of(2, coordinate_names=["a", "b"])
    arrays["log_weights"][:, 0] = 50.0
    told = report(run_directory(tmp_path / "run", arrays), with_pictures=False)
    assert "(?) no intervals, and means may be far off: importance weights worth 2 samples" in told
    assert told.splitlines()[0].split() == ["coordinate", "mean"]
    assert all(line.endswith("(?)") for line in told.splitlines()[1:3])
    assert pd.read_csv(tmp_path / "run" / "coordinates.csv")["reliable"].tolist() == ["no", "no"]
    heavy = arrays_of(2, coordinate_names=["a", "b"], sampled_pareto_k=np.array([0.2, 0.9]))
    assert "Pareto k 0.9" in report(run_directory(tmp_path / "heavy", heavy), with_pictures=False)
    arrays["log_weights"][:] = np.nan
    with pytest.raises(TableError, match="no replica has finite weights"):
        report(run_directory(tmp_path / "nan", arrays), with_pictures=False)


def test_the_first_finite_replica_is_drawn() -> None:
    arrays = arrays_of(2, 3)
    arrays["samples"][0, 5, 1] = np.nan
    assert np.array_equal(one_replica(arrays)["samples"], arrays["samples"][1])
    arrays["samples"][:, 5, 1] = np.inf
    assert np.array_equal(one_replica(arrays)["trajectories"], arrays["trajectories"][0])


def test_densities_of_a_line() -> None:
    nodes = np.linspace(-9, 9, 181)
    target, learned = np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi), np.exp(-((nodes - 1) ** 2) / 2) / np.sqrt(2 * np.pi)
    arrays = arrays_of(1, nodes=nodes, target_density=target, learned_density=np.stack([learned, target]))
    (axes,) = sample_figure(one_replica(arrays)).axes
    for drawn, wanted in zip(axes.lines, (learned, target), strict=True):
        assert np.array_equal(drawn.get_ydata(), wanted)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["density of $P_T$", "target"]
    low, high = axes.get_xlim()
    assert (low, high) == (pytest.approx(-3.7), pytest.approx(4.7))  # where one of them is above a thousandth of the top


def test_samples_of_a_plane_and_how_many_lie_outside() -> None:
    grid = np.stack([np.linspace(-2, 2, 11)] * 2)
    mesh = np.stack(np.meshgrid(*grid, indexing="ij"), -1)
    arrays = one_replica(arrays_of(2, grid=grid, log_density=-(mesh**2).sum(-1) / 2, exact_samples=np.zeros((2, 400, 2))))
    arrays["samples"][0] = np.nan
    learned, exact = sample_figure(arrays).axes
    n_outside = int((np.abs(arrays["samples"]) > 2).any(1).sum()) + 1
    assert (learned.get_title(), exact.get_title()) == (f"samples of $P_T$, {n_outside} outside", "exact samples")
    assert [axes.get_title() for axes in trajectory_figure(arrays).axes] == [f"step {k} of 3" for k in range(4)]


def test_coordinates_by_name_and_pictures_in_the_report(tmp_path: Path) -> None:
    arrays = arrays_of(6, coordinate_names=list("abcdef"))
    figure = sample_figure(one_replica(arrays))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 4 + 6
    assert [axes.get_xlabel() for axes in shown[-4:]] == list("abcd")
    assert [axes.get_title() for axes in trajectory_figure(one_replica(arrays)).axes] == list("abcd")
    run = run_directory(tmp_path / "runs" / "mine-0123abcd", arrays)
    assert main([str(run)]) == 0
    with Image.open(run / "samples.png") as image:
        assert f"python scripts/pictures.py {run}" in image.text["Description"]
    page = render(tmp_path / "runs", None, None)
    assert page.count("<img ") == 2
    assert "samples.png, drawn by <code>" in page

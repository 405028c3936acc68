"""The one picture of a run: what it shows is what the run has left, by the kind of target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread

from gfn_vi.analysis.pictures.of_run import picture_of_run
from gfn_vi.analysis.pictures.style import DPI, SEQUENTIAL
from gfn_vi.commands import pictures
from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import TableError

STATES = np.array([[x, y] for x in range(3) for y in range(2)])
TARGET = np.array([0.1, 0.2, 0.3, 0.1, 0.1, 0.2])
LEARNED = np.array([[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], np.full(6, np.nan), TARGET])


def picture(folder: Path, **arrays: np.ndarray) -> Any:
    np.savez(folder / ARRAYS, **arrays)  # type: ignore[arg-type]
    return picture_of_run(folder)


def test_a_plane_is_heatmaps_on_one_scale(tmp_path: Path) -> None:
    """Row = second coordinate; the replica that became NaN is left out, by its number."""
    figure = picture(tmp_path, states=STATES, target=TARGET, learned=LEARNED)
    shown = {axes.get_title(): axes.images[0] for axes in figure.axes if axes.images and axes.get_title()}
    assert list(shown) == ["target", "replica 0", "replica 2"]
    for title, values in (("target", TARGET), ("replica 0", LEARNED[0])):
        assert shown[title].get_array().data.tolist() == [values[::2].tolist(), values[1::2].tolist()]
    assert {image.get_clim() for image in shown.values()} == {(0, TARGET.max())}


def test_what_lies_on_the_edge_of_a_plane_is_seen(tmp_path: Path) -> None:
    """On 128 x 128 a cell is about as wide as the line of a frame."""
    side = 128
    cells = np.stack(np.divmod(np.arange(side**2), side), 1)
    edge = (cells == 0).any(1) | (cells == side - 1).any(1)
    figure = picture(tmp_path, states=cells, target=edge / edge.sum(), learned=np.full((5, side**2), side**-2))
    figure.savefig(tmp_path / "edges.png", dpi=DPI)
    width = figure.axes[0].get_window_extent().width / figure.dpi * DPI
    bright = (abs(imread(tmp_path / "edges.png")[..., :3] - colormaps[SEQUENTIAL](1.0)[:3]) < 0.02).all(-1)
    bright[:, bright.shape[1] // 4 :] = False  # the color bar is none of it
    for lines in (bright.sum(0), bright.sum(1)):
        whole = np.flatnonzero(lines > 0.9 * width)
        assert whole[-1] - whole[0] > 0.95 * width


def test_axes_of_cells_have_a_few_whole_numbers(tmp_path: Path) -> None:
    side = 20
    cells = np.stack(np.divmod(np.arange(side**2), side), 1)
    figure = picture(tmp_path, states=cells, target=np.full(side**2, side**-2), learned=np.full((1, side**2), side**-2))
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        ticks = [tick for tick in axis.get_majorticklocs() if 0 <= tick < side]
        assert 3 <= len(ticks) <= 5
        assert all(tick == round(tick) for tick in ticks)


def test_other_states_are_points_beside_the_diagonal(tmp_path: Path) -> None:
    """A state that cannot stop has no point, and one that P_T misses stands at the lower end."""
    target, learned = np.array([0.0, 0.25, 0.75]), np.array([[0.0, 1.0, 0.0]])
    figure = picture(tmp_path, states=np.zeros((3, 4)), target=target, learned=learned)
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[0.25, 1.0], [0.75, 0.025]]


def test_a_line_and_a_run_that_has_left_nothing(tmp_path: Path) -> None:
    nodes = np.linspace(-1, 1, 5)
    figure = picture(tmp_path, nodes=nodes, target_density=np.ones(5), learned_density=np.stack([np.full(5, np.nan), nodes**2]))
    assert [line.get_ydata().tolist() for line in figure.axes[0].lines] == [(nodes**2).tolist(), [1] * 5]
    with pytest.raises(TableError, match="every replica became non-finite"):
        picture(tmp_path, states=STATES, target=TARGET, learned=LEARNED[1:2])
    with pytest.raises(TableError, match="holds nothing to draw"):
        picture(tmp_path, other=nodes)


def test_the_command_draws_it_for_targets_without_pictures_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / ARRAYS, states=STATES, target=TARGET, learned=LEARNED)
    assert pictures.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"files of the directory below: picture.png (and .pdf)\n{tmp_path}\n"
    assert {"picture.png", "picture.pdf"} <= {path.name for path in tmp_path.iterdir()}
    np.savez(tmp_path / ARRAYS, other=TARGET)
    assert pictures.main([str(tmp_path)]) == 2
    expected = "holds nothing to draw: expected states that can be listed, graphs, molecules or samples of a density"
    assert expected in capsys.readouterr().err

"""The quickstart figure, how figures are saved, and the command line that makes them."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from gfn_vi.analysis import experiments
from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.table import collect, table_hash
from gfn_vi.commands import collect as collect_command
from gfn_vi.commands import figure as figure_command
from gfn_vi.runs.reading import RunArrays, TableError

CLONE = Path(__file__).resolve().parents[2]
MakeRun = Callable[..., Path]
Arrays = Mapping[str, Mapping[str, np.ndarray]]


@pytest.fixture(scope="module")
def quickstart() -> ModuleType:
    """experiments/quickstart/figure.py."""
    return experiments.load(CLONE / "experiments/quickstart/figure.py")


@pytest.fixture
def all_arms(make_quickstart: Callable[[], Path]) -> tuple[pd.DataFrame, Arrays]:
    """Table and arrays of the six arms."""
    folder = make_quickstart()
    return collect(folder, say=lambda _: None), RunArrays(folder)


def draw(quickstart: ModuleType, folder: Path) -> matplotlib.figure.Figure:
    """The figure of a folder of runs."""
    with style.paper():
        return quickstart.figure(collect(folder, say=lambda _: None), RunArrays(folder))


def test_each_arm_is_one_color_everywhere(quickstart: ModuleType, all_arms: tuple[pd.DataFrame, Arrays]) -> None:
    """A line in both curve panels, a legend entry and the frame of a picture, in the same order and color."""
    page = quickstart.figure(*all_arms)
    jsd, modes, target, *pictures = page.axes
    labels = ["TB", "TB, off-policy", "Reverse KL", "Forward KL", "Wake-sleep", "Reverse wake-sleep"]
    assert [line.get_label() for line in jsd.lines] == labels
    colors = [line.get_color() for line in jsd.lines]
    assert len(set(colors)) == len(labels)
    assert [line.get_color() for line in modes.lines] == colors
    assert [picture.get_facecolor()[:3] for picture in pictures] == colors
    left, right, low, high = pictures[0].images[0].get_extent()
    (x0, x1), (y0, y1) = pictures[0].get_xlim(), pictures[0].get_ylim()
    assert x0 < left < right < x1  # the frame lies around the picture and hides no state
    assert y0 < low < high < y1
    assert not any(spine.get_visible() for spine in pictures[0].spines.values())
    assert [picture.get_title().replace("\n", " ") for picture in pictures] == labels
    assert target.get_title() == "Target"
    assert jsd.get_yscale() == "log"


def test_lines_are_medians_between_their_bounds(quickstart: ModuleType, all_arms: tuple[pd.DataFrame, Arrays]) -> None:
    """Of five replicas the band of the median is their range."""
    table, arrays = all_arms
    jsd = quickstart.figure(table, arrays).axes[0]
    rows = table[(table["arm"] == "reverse_kl") & (table["metric"] == "jsd")]
    by_point = rows.groupby("trajectories")["value"]
    line = jsd.lines[2]
    np.testing.assert_array_equal(line.get_xdata(), sorted(set(rows["trajectories"])))
    np.testing.assert_allclose(line.get_ydata(), by_point.median())
    outline = jsd.collections[2].get_paths()[0].vertices
    assert outline[:, 1].min() == by_point.min().min()
    assert outline[:, 1].max() == by_point.max().max()


def test_pictures_show_replica_0_on_one_scale(quickstart: ModuleType, all_arms: tuple[pd.DataFrame, Arrays]) -> None:
    """Row = second coordinate, column = first; never a mixture of replicas; the scale ends at the target's maximum."""
    table, arrays = all_arms
    images = {axes.get_title(): axes.images[0] for axes in quickstart.figure(table, arrays).axes if axes.images}
    content = arrays[next(run for run in arrays if run.startswith("reverse_kl-"))]
    picture = images["Reverse KL"].get_array()
    for (x, y), mass in zip(content["states"], content["learned"][0], strict=True):
        assert picture[y, x] == mass
    for (x, y), mass in zip(content["states"], content["target"], strict=True):
        assert images["Target"].get_array()[y, x] == mass
    assert {image.get_clim() for image in images.values()} == {(0.0, content["target"].max())}
    assert len(images) == 7


def test_a_failed_replica_is_drawn_at_the_worst_value(quickstart: ModuleType, make_run: MakeRun) -> None:
    """NaN is not left out: the band reaches log 2, and the figure says how many."""
    path = make_run("forward_kl", n_points=10)
    lines = (path / "metrics.csv").read_text().splitlines()
    last = max(int(line.split(",")[0]) for line in lines[1:])
    broken = [line.rsplit(",", 1)[0] + ",nan" if line.startswith(f"{last},") and ",2,jsd," in line else line for line in lines]
    (path / "metrics.csv").write_text("\n".join(broken) + "\n")
    jsd = draw(quickstart, path.parent).axes[0]
    assert jsd.collections[0].get_paths()[0].vertices[:, 1].max() == math.log(2)
    assert jsd.get_title(loc="left") == "Replicas that failed, drawn at the worst value: 1"


def test_unfinished_runs_are_left_out_and_other_arms_keep_their_color(quickstart: ModuleType, make_run: MakeRun) -> None:
    """A color belongs to an arm."""
    folder = make_run("wake_sleep", n_points=3).parent
    for state in ("running", "failed", "interrupted"):
        make_run("trajectory_balance", state=state, seed=len(state), n_points=2)
    alone = draw(quickstart, folder).axes[0].lines
    assert [line.get_label() for line in alone] == ["Wake-sleep"]
    assert alone[0].get_color() == style.palette(6)[4]


def test_what_cannot_be_drawn_is_said(quickstart: ModuleType, make_run: MakeRun, all_arms: tuple[pd.DataFrame, Arrays]) -> None:
    """Missing column, metric or arrays, no finished run, the same seed twice, a grid that is no picture."""
    table, arrays = all_arms
    content = dict(arrays)
    run = next(iter(content))
    with pytest.raises(TableError, match="no column arm"):
        quickstart.figure(table.drop(columns="arm"), arrays)
    with pytest.raises(TableError, match="no run of a named arm is done yet"):
        quickstart.figure(table.assign(state="running"), arrays)
    with pytest.raises(TableError, match="have not recorded modes_covered"):
        quickstart.figure(table[table["metric"] == "jsd"], arrays)
    with pytest.raises(TableError, match=f"run {run} has no arrays.npz"):
        quickstart.figure(table, {name: value for name, value in content.items() if name != run})
    with pytest.raises(TableError, match="lacks learned, target"):
        quickstart.figure(table, content | {run: {"states": content[run]["states"]}})
    with pytest.raises(TableError, match="2 dimensions, found 3"):
        quickstart.figure(table, content | {run: content[run] | {"states": np.zeros((256, 3), dtype=int)}})
    folder = make_run("reverse_kl", seed=4, dtype="float64").parent  # its first seed is the last one of the run with seed 0
    with pytest.raises(
        TableError, match=r"reverse_kl has the same seed twice \(runs reverse_kl-s0-\w+, reverse.*differ in config.dt"
    ):
        draw(quickstart, folder)


def test_same_runs_same_bytes(make_quickstart: Callable[[], Path], tmp_path: Path) -> None:
    """Another process, another hash seed, other wall-clock times: the files are equal, and name table and command."""
    folder = make_quickstart()
    root = folder.parent
    words = ["experiment=quickstart", f"output_root={root}"]
    assert figure_command.main(words) == 0
    pdf, png = (folder / "figure.pdf").read_bytes(), (folder / "figure.png").read_bytes()
    for metrics in folder.glob("*/metrics.csv"):
        table = pd.read_csv(metrics)
        table.assign(wall_seconds=table["wall_seconds"] * 3).to_csv(metrics, index=False)
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(CLONE)}
    script = [sys.executable, str(CLONE / "scripts/figure.py"), *words]
    done = subprocess.run(script, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    written = [str(folder / name) for name in ("summary.csv", "improvement.csv", "figure.pdf", "figure.png")]
    assert done.stdout.splitlines() == ["6 runs: 6 done", *written]
    assert (folder / "figure.pdf").read_bytes() == pdf
    assert (folder / "figure.png").read_bytes() == png

    stamp = table_hash(pd.read_parquet(folder / "table.parquet"))
    text = Image.open(folder / "figure.png").info
    assert text["Description"] == f"table {stamp}; python scripts/figure.py {' '.join(words)}"
    assert stamp.encode() in pdf
    assert b"CreationDate" not in pdf
    assert b"/FontType 42" in pdf or b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert Image.open(folder / "figure.png").width == style.WIDTH * style.DPI


def test_characters_that_no_font_has_are_one_line_and_other_warnings_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "FALLBACKS", ())
    with style.paper():
        page = matplotlib.figure.Figure()
        page.suptitle("\u4e2d\u6587 temp\u00e9rature \u4e2d")
        axes = page.add_subplot()
        axes.set_xticks([0, 1], ["\u5b9f", "b"])
        with warnings.catch_warnings(record=True) as caught:
            paths = style.save(page, tmp_path / "named", "abc", "a command")
    assert all(path.stat().st_size > 1000 for path in paths)
    (line,) = caplog.messages
    assert line.startswith("figure named: no font here has 3 of its characters (")
    assert set("\u4e2d\u6587\u5b9f") <= set(line)
    assert not caught
    with pytest.warns(UserWarning, match="something else"), style._glyphs_in_one_line("named"):
        warnings.warn("something else", UserWarning, stacklevel=1)


class Noisy(ConstrainedLayoutEngine):
    """A layout whose solver leaves other last bits, of axes and of subfigures."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise

    def execute(self, fig: matplotlib.figure.Figure) -> dict[str, Any]:
        found = super().execute(fig)
        for axes in fig.axes:
            axes._set_position(axes.get_position(original=True).translated(self.noise, -self.noise))  # type: ignore[attr-defined]
        for part in fig.subfigs:
            part.bbox_relative.set_points(part.bbox_relative.get_points() + self.noise)
        return found


def test_last_bits_of_a_layout_move_no_pixel(tmp_path: Path) -> None:
    """Axes and subfigures lie at rounded places, in both files; an image keeps its aspect."""
    places, content = [], []
    for noise in (1e-15, -1e-13):
        page = matplotlib.figure.Figure(figsize=(3, 2), layout=Noisy(noise))
        left, right = page.subfigures(1, 2)
        for part in (left, right):
            image = part.subplots().imshow(np.arange(6).reshape(2, 3))
            part.colorbar(image)
        content.append([path.read_bytes() for path in style.save(page, tmp_path / "a", "abc", "a command")])
        places.append([axes.get_position().extents.tolist() for axes in page.axes] + [left.bbox.extents.tolist()])
    assert places[0] == places[1]
    assert content[0] == content[1]


def test_style_is_given_back(tmp_path: Path) -> None:
    """The look ends with the block; a user's own settings are untouched."""
    before = mpl.rcParams["font.size"]
    with style.paper():
        assert mpl.rcParams["font.size"] == 8
    assert mpl.rcParams["font.size"] == before
    page = matplotlib.figure.Figure()
    paths = style.save(page, tmp_path / "deep" / "v1.2", "abc", "a command")
    assert [path.name for path in paths] == ["v1.2.pdf", "v1.2.png"]


def test_other_hash_other_bytes(tmp_path: Path) -> None:
    """The stamp is in both files."""
    page = matplotlib.figure.Figure()
    first = [path.read_bytes() for path in style.save(page, tmp_path / "a", "1111", "c")]
    second = [path.read_bytes() for path in style.save(page, tmp_path / "b", "2222", "c")]
    assert all(one != other for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: experiment is missing; give experiment=NAME, known: .*quickstart"),
        (["experiment=nope"], "error: there is no experiment nope; give experiment=NAME, known: .*quickstart"),
        (["quickstart"], "error: quickstart: expected key=value with a key of experiment, preset, output_root, x, statistic"),
        (["experiment="], "error: experiment=: expected key=value"),
        (["experiment=quickstart", "colour=red"], "error: colour=red: expected key=value"),
        (["experiment=quickstart", "x=time"], "error: x=time: expected one of trajectories, reward_calls, score_calls, seconds"),
        (["experiment=proposition_1", "x=seconds"], "error: x=seconds: the figure of proposition_1 has no such choice"),
        (["experiment=quickstart", "preset=tiny"], "error: preset=tiny: expected one of laptop, long, paper, smoke"),
        (["experiment=dag_posterior", "preset=long"], "error: outputs/dag_posterior_long: no runs found.* preset=long$"),
        (["experiment=quickstart", "preset=smoke"], "error: outputs/quickstart_smoke: no runs found.*quickstart preset=smoke$"),
        (
            ["experiment=quickstart", "output_root=nowhere"],
            r"error: nowhere/quickstart: no runs found.*make them with: python scripts/train\.py -m "
            "experiment=quickstart output_root=nowhere$",
        ),
    ],
)
def test_bad_command_lines_end_with_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, one line on stderr, nothing else."""
    assert figure_command.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.match(message, err.rstrip("\n")), err


def test_the_command_passes_on_what_the_figure_refuses(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that has not finished: what was found, then one line, status 2; no figure is left."""
    folder = make_run("reverse_kl", state="running", n_points=2).parent
    assert figure_command.main(["experiment=quickstart", f"output_root={tmp_path}"]) == 2
    out, err = capsys.readouterr()
    assert out == "1 run: 1 killed\n"  # nobody holds its lock
    assert err == "error: no run of a named arm is done yet: nothing to draw\n"
    assert not (folder / "figure.pdf").exists()


def test_own_experiments_folder(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """experiments/ of the working folder is known too; CONFIG_KEYS become columns although they are constant."""
    shutil.move(make_run("reverse_kl", n_points=2).parent, tmp_path / "outputs" / "mine")
    own = tmp_path / "experiments" / "mine"
    own.mkdir(parents=True)
    (own / "figure.py").write_text(
        "from matplotlib.figure import Figure\n"
        "CONFIG_KEYS = ['target.side']\n"
        "def figure(table, arrays):\n"
        "    assert set(table['config.target.side']) == {16} and len(arrays) == 1\n"
        "    return Figure()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert figure_command.main(["experiment=mine"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["outputs/mine/figure.pdf", "outputs/mine/figure.png"]


def test_collect_command(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, writes, prints where; a wrong folder is one line."""
    folder = make_run("reverse_kl", n_points=2, replicas=1).parent
    assert collect_command.main([str(folder)]) == 0
    counted, size, *paths = capsys.readouterr().out.splitlines()
    assert counted == "1 run: 1 done"
    assert size.startswith("9 rows, 11 columns, table ")
    assert paths == [str(folder / "table.parquet"), str(folder / "table.csv")]
    (tmp_path / "a.py").touch()
    assert collect_command.main([str(tmp_path / "a.py")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'a.py'}: no runs found, this is a file\n"
    assert collect_command.main([str(folder), "--to", str(tmp_path / "a.py")]) == 2
    assert capsys.readouterr().err == f"error: --to {tmp_path / 'a.py'}: expected a folder, and it is a file\n"
    assert collect_command.main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.endswith("nowhere: no runs found, there is no such folder\n")


def test_help_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """--help names the keys and an example."""
    with pytest.raises(SystemExit) as end:
        figure_command.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "python scripts/figure.py experiment=quickstart" in text
    assert "output_root=FOLDER" in text

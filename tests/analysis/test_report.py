"""The report as a file: what it says, that nothing from the runs becomes markup, that broken runs never stop it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from gfn_vi.experiments.measures import JSD

from gfn_vi.analysis import experiments
from gfn_vi.analysis.pages.report import render
from gfn_vi.analysis.pages.sections import area_sections, final_sections
from gfn_vi.analysis.reading.facts import duration, sweep_command
from gfn_vi.analysis.reading.groups import NOT_SET, differences, in_words
from gfn_vi.analysis.reading.table import collect, table_hash
from gfn_vi.analysis.statistics.summary import final_values
from gfn_vi.commands import report as report_command
from gfn_vi.core.headline import Headline
from gfn_vi.runs.state import RunState

CLONE = Path(__file__).resolve().parents[2]
FIGURE = CLONE / "experiments/quickstart/figure.py"
DRAW = "python scripts/figure.py experiment=quickstart"
EVIL = "<script>alert(1)</script>"
MakeRun = Callable[..., Path]
VOID = {"meta", "img", "wbr", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Tags, visible text, the rows of tables; open elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if self.open[-3:-2] == ["tr"] or self.open[-1:] == ["td"] or self.open[-1:] == ["th"]:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def row(self, name: str) -> list[str]:
        """The first row of any table that has this name in front."""
        return next(row for row in self.rows if row[:1] == [name])


def say(path: Path, **changes: object) -> None:
    """Change what status.json of a run says."""
    content = json.loads((path / "status.json").read_text()) | changes
    (path / "status.json").write_text(json.dumps(content))


def page_of(folder: Path, figure: Path | None = FIGURE) -> Page:
    return Page(render(folder, figure, DRAW))


def test_one_file_without_network_or_script(make_quickstart: Callable[[], Path]) -> None:
    """The picture is inside; a policy forbids everything else; every picture has words, every table headers."""
    folder = make_quickstart()
    experiments.draw(CLONE / "experiments/quickstart", folder, "python scripts/figure.py experiment=quickstart")
    page = page_of(folder)
    names = [tag for tag, _ in page.tags]
    assert names.count("img") == 1
    assert not {"script", "link", "iframe", "object"} & set(names)
    for tag, attributes in page.tags:
        address = attributes.get("src") or attributes.get("href") or "#"
        assert address.startswith(("#", "data:image/png;base64,")), (tag, address)
        assert tag != "img" or attributes["alt"]
        assert tag != "th" or attributes["scope"] in ("col", "row")
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert "Drawn by python scripts/figure.py experiment=quickstart from table" in page.text
    assert "out of date" not in page.text
    assert render(folder, FIGURE, DRAW) == render(folder, FIGURE, DRAW)


def test_final_values_are_those_of_the_table(make_quickstart: Callable[[], Path]) -> None:
    folder = make_quickstart()
    table = collect(folder, say=lambda _: None)
    rows = table[(table["arm"] == "reverse_kl") & (table["metric"] == "jsd")]
    last = rows[rows["trajectories"] == rows["trajectories"].max()]["value"]
    cells = page_of(folder).row("reverse_kl")
    assert cells[1] == f"{last.median():.3g} ({last.min():.3g} to {last.max():.3g})"
    assert cells[3].startswith(f"{last.mean():.3g} (")
    assert cells[4] == "5"


def test_groups_are_runs_that_differ_in_seeds_only(make_run: MakeRun) -> None:
    """Two seeds of one setting are one group of ten replicas; a second setting of the same arm is another one."""
    for seed in (0, 5):
        make_run("reverse_kl", seed=seed)
    folder = make_run("reverse_kl", seed=0, deviation_name="frozen", target={"side": 9}).parent
    groups = final_values(collect(folder, say=lambda _: None), "jsd", 1.0)
    assert {name: len(values) for name, values in groups.items()} == {
        "reverse_kl": 10,
        "reverse_kl deviation_name=frozen": 5,
    }


def test_rates_in_replicas_are_groups_of_their_own(make_run: MakeRun) -> None:
    """Of two runs, each with two rates for one seed: two groups of two seeds, in final values and in areas."""
    for seed in (0, 1):
        path = make_run("reverse_kl", seed=seed, replicas=2)
        config = yaml.safe_load((path / "config.yaml").read_text()) | {
            "seed": [seed, seed],
            "optimizer": {"lr_forward": [0.1, 0.2]},
        }
        (path / "config.yaml").write_text(yaml.safe_dump(config))
    table = collect(path.parent, say=lambda _: None)
    names = ["reverse_kl optimizer.lr_forward=0.1", "reverse_kl optimizer.lr_forward=0.2"]
    assert {name: len(values) for name, values in final_values(table, "jsd", 1.0).items()} == dict.fromkeys(names, 2)
    assert sorted((row[0], row[4]) for row in area_sections(table, JSD)[0].rows) == [(name, "2") for name in names]


def test_what_is_not_finite_or_frozen_is_the_worst_value() -> None:
    columns = {"run": "a", "state": "done", "arm": "tb", "trajectories": 64, "metric": "jsd", "step": [1, 1, 0]}
    table = pd.DataFrame(columns | {"value": [0.1, np.nan, 0.9], "replica": [0, 1, 0]})
    assert final_values(table, "jsd", 0.7)["tb"].tolist() == [0.1, 0.7]
    frozen = pd.DataFrame(columns | {"metric": "frozen", "value": [1.0, 0.0, 0.0], "replica": [0, 1, 0]})
    assert final_values(pd.concat([table, frozen]), "jsd", 0.7)["tb"].tolist() == [0.7, 0.7]
    table["state"] = "running"
    assert final_sections(table, [JSD]) == []


def test_probability_of_improvement_of_every_pair(make_run: MakeRun) -> None:
    """reverse_kl ends far above the others: no replica of it is better."""
    make_run("reverse_kl")
    folder = make_run("forward_kl").parent
    comparison = final_sections(collect(folder, say=lambda _: None), [JSD])[1]
    assert comparison.header == ["", "forward_kl", "reverse_kl"]
    space = "\N{NO-BREAK SPACE}"
    assert comparison.rows == [
        ["forward_kl", "", f"1.00 (1.00{space}to{space}1.00)"],
        ["reverse_kl", f"0.00 (0.00{space}to{space}0.00)", ""],
    ]


def test_intervals_of_few_replicas_are_not_called_95_percent(make_run: MakeRun) -> None:
    make_run("reverse_kl", replicas=3)
    folder = make_run("forward_kl", replicas=6).parent
    told = "(a single replica has none; of few replicas that of the median is their range, which holds the true median in 75% of "
    assert f"{told}cases)" in final_sections(collect(folder, say=lambda _: None), [JSD])[0].text
    shutil.rmtree(next(folder.glob("reverse_kl*")))
    assert "(a single replica has none);" in final_sections(collect(folder, say=lambda _: None), [JSD])[0].text


def test_a_figure_of_another_table_is_said_to_be(make_run: MakeRun) -> None:
    folder = make_run("reverse_kl").parent
    experiments.draw(CLONE / "experiments/quickstart", folder, "python scripts/figure.py")
    before = table_hash(collect(folder, say=lambda _: None))
    make_run("forward_kl")
    after = table_hash(collect(folder, say=lambda _: None))
    page = page_of(folder)
    assert f"figure.png is out of date: it was drawn from table {before}, the runs now give table {after}" in page.text
    (folder / "figure.png").write_bytes((folder / "figure.png").read_bytes()[:2000])
    assert "figure.png is damaged" in page_of(folder).text


def test_differences_between_arms(make_run: MakeRun) -> None:
    make_run("reverse_kl", replicas=2)
    folder = make_run("trajectory_balance").parent
    found = differences(collect(folder, say=lambda _: None))
    assert list(found.columns) == ["reverse_kl", "trajectory_balance"]
    assert found.T.to_dict("list") == {
        "objective": ["gfn_vi.objectives.reverse_kl", "gfn_vi.objectives.trajectory_balance"],
        "objective.baseline": ["leave_one_out", NOT_SET],
        "replicas": ["2", "5"],
    }


def test_configuration_keys_that_a_figure_computes_are_columns(make_run: MakeRun, tmp_path: Path) -> None:
    """Else the table would have another hash than the one that the figure was drawn from. What cannot be run has no text."""
    folder = make_run("reverse_kl").parent
    own = tmp_path / "figure.py"
    own.write_text('"""A title\n\n    about it.\n"""\nCONFIG_KEYS = tuple(["target.side"])\n')
    expected = table_hash(collect(folder, ["target.side"], say=lambda _: None))
    assert expected != table_hash(collect(folder, say=lambda _: None))
    text = page_of(folder, own).text
    assert f"table {expected}" in text
    assert "A title" in text
    own.write_text("raise RuntimeError")
    assert f"table {expected}" not in page_of(folder, own).text


def test_values_in_words() -> None:
    assert in_words(pd.Series([0.1, 0.01, np.nan, 0.1])) == "0.01, 0.1, \N{EN DASH}"
    assert in_words(pd.Series([0.1, 0.1 + 1e-9])) == "0.1, 0.100000001", "two settings are two groups"
    assert in_words(pd.Series(["gfn_vi.objectives.variational.Variational"])) == "Variational"
    assert in_words(pd.Series(['[{"_target_": "gfn_vi.objectives.divergences.ReverseKL"}]'])) == '["ReverseKL"]'
    assert in_words(pd.Series(range(20))) == "20 values, 0 to 19"


def test_broken_runs_are_told_and_stop_nothing(make_run: MakeRun) -> None:
    """Failed, killed, damaged, missing, running: each with what is known of it."""
    good, failed, killed, damaged, silent = (make_run("reverse_kl", seed=seed) for seed in range(0, 25, 5))
    say(failed, state="failed", error="Traceback (most recent call last):\n  one\nValueError: no")
    say(killed, state="running")
    (damaged / "status.json").write_text("{")
    (silent / "metrics.csv").write_text("nonsense")
    manifest = {failed.name: ["arm=a b", "seed=5"], "tb-00000000": ["arm=tb"]}
    runs = {name: {"overrides": overrides} for name, overrides in manifest.items()}
    (good.parent / "sweep.json").write_text(json.dumps({"runs": runs}))
    page = page_of(good.parent)
    assert "6 runs: 2 done, 1 missing, 1 damaged, 1 killed, 1 failed" in page.text
    assert "ValueError: no" in page.text
    assert "again, alone: python scripts/train.py 'arm=a b' seed=5" in page.text
    assert [tag for tag, _ in page.tags].count("details") == 1
    assert "its process is gone" in page.text
    assert "status.json is damaged" in page.text
    assert "1 missing: planned by the sweep, never started tb: arm=tb" in page.text
    assert f"Done, but without numbers: config.yaml or metrics.csv is damaged or gone {silent.name}" in page.text.replace(
        " Delete these folders and run the same command again.", ""
    )
    assert page.row("reverse_kl")[4] == "5"


def test_a_report_without_any_numbers(make_run: MakeRun) -> None:
    path = make_run()
    say(path, state="failed", error="ValueError: no")
    (path / "metrics.csv").unlink()
    page = page_of(path.parent, None)
    assert "no run has metrics yet" in page.text
    assert "ValueError: no" in page.text


def test_nothing_of_the_runs_becomes_markup(make_run: MakeRun) -> None:
    """Arms, overrides, errors, values, claims, hosts and names of folders are text."""
    path = make_run("reverse_kl", arm_name=EVIL, note=EVIL)
    make_run("forward_kl", note="plain")
    folder = path.parent.with_name("<b>evil")
    shutil.move(path.parent, folder)
    say(folder / path.name, state="failed", error=f"a\n{EVIL}", host=EVIL, git_commit=EVIL, versions={EVIL: EVIL})
    runs = {name: {"overrides": [f"arm={EVIL}"]} for name in (path.name, f"{EVIL.replace('/', '')}-00000000")}
    (folder / "sweep.json").write_text(json.dumps({"runs": runs}))
    (folder / "claims.csv").write_text(f"claim,measured,agrees\n{EVIL},{EVIL},{EVIL}\n")
    text = render(folder, FIGURE, DRAW)
    names = {tag for tag, _ in Page(text).tags}
    assert "script" not in names
    assert "b" not in names
    assert EVIL not in text
    page = Page(text)
    assert page.row(EVIL) == [EVIL, EVIL, EVIL]
    assert page.row("note") == ["note", EVIL, "plain"]


@pytest.mark.parametrize("content", ["", "claim,measured\na,b\n", "claim,measured,agrees\na,b\n", "\0"])
def test_damaged_claims_stop_nothing(make_run: MakeRun, content: str) -> None:
    folder = make_run().parent
    (folder / "claims.csv").write_text(content)
    assert "Final values" in page_of(folder).text


def test_the_sweep_is_known_from_its_manifest() -> None:
    """What varies belongs to the experiment; without one a product is a sweep, anything else is none."""

    def command(*overrides: str) -> str | None:
        return sweep_command([RunState(str(n), "done", tuple(words.split())) for n, words in enumerate(overrides)])

    assert command("experiment=a arm=x seed=0", "experiment=a arm=y seed=0") == "python scripts/train.py -m experiment=a seed=0"
    assert command("arm=x seed=0", "arm=x seed=1") == "python scripts/train.py -m arm=x seed=0,1"
    assert command("arm=x seed=0", "arm=y seed=1") is None
    assert command("arm=x", "arm=x seed=1") is None
    assert command("") is None


def test_duration() -> None:
    assert [duration(s) for s in (4.54, 125, 7500)] == ["4.5 s", "2 min 5 s", "2 h 5 min"]


def test_command_finds_the_experiment_of_a_folder(tmp_path: Path) -> None:
    """Also of a preset's folder; another folder is reported without a figure of an experiment."""
    root = f"output_root={tmp_path}"
    for name, words in (("quickstart", ""), ("quickstart_smoke", "preset=smoke "), ("quickstart_long", "preset=long ")):
        figure, draw = experiments.find_figure(tmp_path / name)
        assert figure is not None
        assert figure.resolve() == FIGURE
        assert draw == f"python scripts/figure.py experiment=quickstart {words}{root}"
    assert experiments.find_figure(tmp_path / "quickstarts") == (None, None)


def test_area_under_the_curve(make_run: MakeRun) -> None:
    """The mean height by trapezoids; runs that were evaluated at other points than each other have none, and it says so."""
    folder = make_run("reverse_kl", replicas=1).parent
    table = collect(folder, say=lambda _: None)
    curve = table[table["metric"] == "jsd"]
    area = np.trapezoid(curve["value"], curve["trajectories"]) / curve["trajectories"].max()
    assert area_sections(table, JSD)[0].rows == [["reverse_kl", *[f"{area:.3g}"] * 3, "1"]]
    make_run("reverse_kl", seed=1, replicas=1, n_points=30)
    page = page_of(folder)
    assert "at different numbers of trajectories" in page.text
    assert page.row("reverse_kl")[4] == "2"


def test_sampled_metrics_have_their_errors(make_run: MakeRun) -> None:
    """All that a target too large to list has; a replica that is not finite is left out, and so is its error."""
    path = make_run("reverse_kl", n_points=1, replicas=1)
    rows = [(r, "sampled_elbo", v) for r, v in enumerate((-3.0, -5.0, np.nan))]
    rows += [(r, "sampled_elbo_se", v) for r, v in enumerate((0.1, 0.3, 9.0))]
    rows += [(r, f"sampled_length{end}", v) for r in range(3) for end, v in (("", 6.0), ("_se", 0.0))]  # all of one length
    rows += [(r, f"sampled_log_Z{end}", v) for r in range(3) for end, v in (("", 1.5), ("_se", 0.01))]
    rows += [(r, "sampled_n_effective", v) for r, v in enumerate((900, 1, np.nan))]
    rows += [(r, "sampled_pareto_k", v) for r, v in enumerate((-np.inf, 0.2, np.nan))]
    rows += [(r, "modes_drawn", v) for r, v in enumerate((3, 6, np.nan))]  # a count: it has none
    header = (path / "metrics.csv").read_text().splitlines()[0]
    lines = [f"1,64,64,1.0,{r},{metric},{value}" for r, metric, value in rows]
    (path / "metrics.csv").write_text("\n".join([header, *lines]) + "\n")
    page = page_of(path.parent)
    assert page.row("reverse_kl") == ["reverse_kl", "-4 +- 0.2", "6", "1.5 (?)", "4.5"]
    assert "(?): the importance weights behind the number are worth fewer than 200 samples" in page.text
    assert "modes_drawn have no standard error" in page.text


def test_a_headline_that_weights_do_not_carry_has_no_interval_and_no_comparison(make_run: MakeRun) -> None:
    """A replica with weak weights marks its group: no intervals, and nobody is said to be better."""
    for arm, effective in (("reverse_kl", 900.0), ("forward_kl", 1.0)):
        path = make_run(arm, n_points=1, replicas=1)
        rows = [(r, "sampled_log_Z", -1.0 - r) for r in range(3)]
        rows += [
            (r, name, value) for r in range(3) for name, value in (("sampled_n_effective", effective), ("sampled_pareto_k", 0.1))
        ]
        header = (path / "metrics.csv").read_text().splitlines()[0]
        (path / "metrics.csv").write_text("\n".join([header, *(f"1,64,64,1.0,{r},{name},{v}" for r, name, v in rows)]) + "\n")
    table = collect(path.parent, say=lambda _: None)
    (final,) = final_sections(table, [Headline("sampled_log_Z", "maximize", -np.inf, "log Z")])
    assert dict(zip([row[0] for row in final.rows], [row[1] for row in final.rows], strict=True)) == {
        "reverse_kl": "-2 (-3 to -1)",
        "forward_kl": "-2 (?)",
    }
    assert "(?): the importance weights" in final.text


def test_command(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_run()
    assert report_command.main([str(path.parent)]) == 0
    assert capsys.readouterr().out == f"{path.parent / 'report.html'}\n"
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, why in ((tmp_path / "nothing", "no such folder"), (empty, "no runs found"), (path, "is itself a run")):
        assert report_command.main([str(folder)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert why in error
        assert error.count("\n") == 1


def test_hints_are_commands_that_exist_here(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts in a checkout, else those of the installed package."""
    folder = make_run().parent
    planned = {path.parent.name: {"overrides": ["seed=0"]} for path in folder.glob("*/config.yaml")}
    (folder / "sweep.json").write_text(json.dumps({"runs": planned}))
    for place, form in ((CLONE, "python scripts/{}.py"), (tmp_path, "gfn-vi-{}")):
        monkeypatch.chdir(place)
        text = page_of(folder).text
        for name, rest in (("collect", str(folder)), ("report", str(folder)), ("train", "-m seed=0")):
            assert f"{form.format(name)} {rest}" in text


def test_numbers_of_tuning_seeds_are_not_for_reporting(make_run: MakeRun) -> None:
    """The page of a search is of use, and says what it is; other runs have no such line."""
    folder = make_run("reverse_kl", tuning_seeds=[7]).parent
    assert "Not for reporting" not in render(folder, None, None)
    make_run("forward_kl", tuning_seeds=[0, 1])
    assert "Not for reporting: settings were chosen on seeds of runs that are shown" in render(folder, None, None)

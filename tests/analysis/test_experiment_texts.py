"""What experiments say in words: verdicts that are those of claims.csv, and a smoke preset that decides nothing."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL import Image

from gfn_vi.analysis import experiments
from gfn_vi.analysis.experiments import claims_of
from gfn_vi.analysis.pages.report import render
from gfn_vi.analysis.statistics.claims import Claim
from gfn_vi.commands import figure as figure_command
from gfn_vi.runs.presets import remark, remark_on

CLONE = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in (CLONE / "experiments").glob("*/figure.py"))
WITH_CLAIMS = [path for path in FOLDERS if (path / "claims.py").exists()]
REMARK = "Preset smoke decides nothing: it tells whether everything runs."
MakeRun = Callable[..., Path]


@pytest.mark.parametrize("folder", WITH_CLAIMS, ids=lambda path: path.name)
def test_the_readme_counts_the_verdicts_of_its_claims(folder: Path) -> None:
    """A README that says "3 yes, 1 no, 0 undecided" says it of the committed claims.csv: new results need a new text."""
    found = Counter(row["agrees"] for row in csv.DictReader((folder / "results" / "claims.csv").read_text().splitlines()))
    expected = f"{found['yes']} yes, {found['no']} no, {found['undecided']} undecided"
    assert expected in " ".join((folder / "README.md").read_text().split())


@pytest.mark.parametrize("folder", WITH_CLAIMS, ids=lambda path: path.name)
def test_smoke_decides_no_claim(folder: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """By preset_name, whatever the experiment's claims.py has decided; another preset keeps its verdicts."""
    preset = yaml.safe_load((CLONE / "configs/experiment_preset" / folder.name / "smoke.yaml").read_text())
    assert preset["preset_name"] == "smoke"
    decided = [Claim("so it is", "0.1 and 0.2", True), Claim("not so", "0.1", False)]
    monkeypatch.setattr(experiments, "load", lambda path: SimpleNamespace(claims=lambda table: list(decided)))
    monkeypatch.setattr("pandas.read_parquet", lambda path: None)
    runs = make_run(replicas=1, n_points=1, preset_name=preset["preset_name"]).parent
    assert [claim.verdict for claim in claims_of(folder, runs, remark_on(runs))] == ["undecided", "undecided"]
    rows = list(csv.DictReader((runs / "claims.csv").read_text().splitlines()))
    assert [(row["agrees"], row["measured"].startswith("Preset smoke decides nothing; 0.1")) for row in rows] == [
        ("undecided", True)
    ] * 2
    other = make_run(replicas=1, n_points=1, seed=7, preset_name="laptop")
    (other.parent.parent / "laptop").mkdir()
    laptop = other.rename(other.parent.parent / "laptop" / other.name).parent
    assert claims_of(folder, laptop, remark_on(laptop)) == decided


def test_smoke_says_so_in_figure_table_terminal_and_report(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every experiment is drawn by one function, which writes the sentence below the figure and into LaTeX."""
    runs = make_run(replicas=2, n_points=3, preset_name="smoke").parent
    loaded, figures = experiments.load(CLONE / "experiments/quickstart/figure.py"), []

    def drawn(*arguments: Any, **options: Any) -> Any:
        figures.append(loaded.figure(*arguments, **options))
        return figures[-1]

    def figure(table: Any, arrays: Any) -> Any:
        return drawn(table, arrays)

    module = SimpleNamespace(figure=figure, tables=lambda table, arrays: {"t.tex": "x\n", "t.csv": "x\n"})
    monkeypatch.setattr(experiments, "load", lambda path: module)
    assert figure_command.main(["experiment=quickstart", f"output_root={runs.parent}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == REMARK
    assert REMARK in figures[0].get_supxlabel()
    assert REMARK in (runs / "t.tex").read_text()
    assert (runs / "t.csv").read_text() == "x\n"
    with Image.open(runs / "figure.png") as image:
        assert image.size[0] > 1000
    (runs / "claims.csv").write_text("claim,measured,agrees\nit is so,0.1,yes\n")  # of an older version
    page = render(runs, None, None)
    assert '<td class="undecided">undecided</td>' in page
    assert page.index(REMARK) < page.index("<nav")


def test_which_presets_decide_nothing(tmp_path: Path, make_run: MakeRun) -> None:
    assert remark(["laptop", None, "smoke"]) == REMARK
    assert remark(["laptop", "paper", "mine", None]) == ""
    assert remark_on(tmp_path) == ""
    run = make_run(replicas=1, n_points=1, preset_name="smoke")
    assert remark_on(run) == remark_on(run.parent) == REMARK
    (run / "config.yaml").write_bytes(b"\xff")
    assert remark_on(run) == ""


def test_no_experiment_writes_its_claims_or_saves_its_figure_by_itself() -> None:
    """Else what is said of smoke would have to be said in each of them."""
    for path in (CLONE / "experiments").rglob("*.py"):
        assert not re.search(r"savefig|write_claims|CLAIMS_FILE|style\.save", path.read_text()), path

"""What a run over molecules leaves for people: the CSV and the table in the terminal, structures, the page, the pictures."""

from __future__ import annotations

import base64
import csv
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rdkit import Chem
from system.command import train

from gfn_vi.analysis import pictures
from gfn_vi.analysis.pages.molecules import MINUS, SHOWN
from gfn_vi.analysis.pictures.found_molecules import read_molecules, together
from gfn_vi.analysis.pictures.molecules import report
from gfn_vi.commands.pictures import main
from gfn_vi.runs.folders import TableError

SMILES = ["CC(=O)Nc1ccc(O)cc1", "CN1CCN(c2ccccc2)CC1", "c1ccc2[nH]ccc2c1", "CCO"]
TINY = (
    *("target=molecules", "target.max_blocks=2", "sampler.hidden=[8]", "trainer.n_trajectories=64", "trainer.batch_size=16"),
    *("evaluation.n_samples=20", "evaluation.metrics.molecules.mode_threshold=0.5", "trainer.record_every=16"),
)
FILES = {"molecules.csv", "molecules.sdf", "molecules.html", "molecules.png", "molecules.svg"}


def molecule_arrays(prefix: str, rows: list[int], n_replicas: int) -> dict[str, object]:
    """Of molecules that are rows of SMILES: numbers that tell rows and replicas apart."""
    m, r = np.array(rows), np.arange(n_replicas)[:, None]
    found = {
        "states": np.stack([m, m + 1], 1)[:, :, None],
        "smiles": np.array([SMILES[row % 4] for row in rows]),
        "value": 0.9 - 0.1 * m,
        "log_reward": np.log(0.9 - 0.1 * m),
        "log_terminating": -10.0 - m - r,
        "drawn": 10 * r + m,
        "n_blocks": m % 4 + 1,
    }
    return {f"{prefix}_{name}": array for name, array in found.items()}


def run_directory(path: Path, n_replicas: int = 2, **changes: object) -> Path:
    """A finished run: rows 0, 1, 2 among samples, 1, 3 in training, where the second replica never met 3."""
    path.mkdir()
    (path / "status.json").write_text(json.dumps({"state": "done"}))
    (path / "config.yaml").write_text("target:\n  proxy: {_target_: gfn_vi.targets.molecules.proxies.qed.Qed}\n  beta: 4.0\n")
    arrays = molecule_arrays("best", [0, 1, 2], n_replicas) | molecule_arrays("met", [1, 3], n_replicas) | {"n_drawn": 1000}
    arrays |= {"met_times": np.array([[5, 2], [4, 0]])[:n_replicas], "met_first": np.array([[17, 9], [3, 0]])[:n_replicas]}
    np.savez_compressed(path / "arrays.npz", **{name: np.asarray(array) for name, array in (arrays | changes).items()})
    return path


def table(path: Path) -> list[dict[str, str]]:
    with (path / "molecules.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_every_molecule_in_every_replica_once(tmp_path: Path) -> None:
    path = run_directory(tmp_path / "run")
    told = report(path, with_pictures=False)
    rows = table(path)
    assert [(row["smiles"], row["replica"]) for row in rows] == [(smiles, replica) for smiles in SMILES for replica in "01"]
    names = ("value", "log_P_T", "drawn", "drawn_in_training", "first_met", "n_blocks")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("0.9", "-10", "0", "", "", "1"),
        ("0.9", "-11", "10", "", "", "1"),
        ("0.8", "-11", "1", "5", "17", "2"),
        ("0.8", "-12", "11", "4", "3", "2"),
        ("0.7", "-12", "2", "", "", "3"),
        ("0.7", "-13", "12", "", "", "3"),
        ("0.6", "-13", "3", "2", "9", "4"),
        ("0.6", "-14", "13", "0", "", "4"),
    ]
    assert float(rows[2]["log_reward"]) == pytest.approx(np.log(0.8), rel=1e-9)
    assert told.splitlines()[1].split() == [SMILES[0], "0.9000", "-0.105", "-10.50", "10"]
    assert {file.name for file in path.iterdir()} >= {"molecules.csv", "molecules.sdf"}
    assert not (path / "molecules.html").exists()


def test_replicas_together_count_the_best_state_of_a_smiles(tmp_path: Path) -> None:
    """Row 4 is another state, of the SMILES of row 0, and worse."""
    path = run_directory(tmp_path / "run", **molecule_arrays("best", [0, 4], 2))
    best = together(read_molecules(path)[0])
    assert best["smiles"].tolist() == [SMILES[0], SMILES[1], SMILES[3]]
    first = best.iloc[0]
    assert (first["value"], first["log_P_T"], first["log_P_T_low"], first["log_P_T_high"], first["drawn"]) == (
        0.9,
        -10.5,
        -11,
        -10,
        10,
    )


def test_structures_are_read_by_other_programs(tmp_path: Path) -> None:
    path = run_directory(tmp_path / "run", 1)
    report(path, with_pictures=False)
    found = list(Chem.SDMolSupplier(str(path / "molecules.sdf")))
    assert [Chem.MolToSmiles(molecule) for molecule in found] == SMILES
    assert [molecule.GetDoubleProp("value") for molecule in found] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert found[1].GetProp("log_P_T") == "-11"
    assert found[1].GetConformer().GetPositions().any()


class Page(HTMLParser):
    """Pictures and tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))


def test_the_page_shows_the_best_and_needs_nothing_else(tmp_path: Path) -> None:
    path = run_directory(tmp_path / "run")
    told = report(path, with_pictures=True)
    assert {file.name for file in path.iterdir()} >= FILES
    assert all(name in told for name in FILES - {"molecules.svg"})
    text = (path / "molecules.html").read_text()
    page = Page(text)
    assert [picture["alt"] for picture in page.pictures] == [f"Structure of {smiles}" for smiles in SMILES]
    for picture in page.pictures:
        kind, data = str(picture["src"]).split(",")
        assert kind == "data:image/svg+xml;base64"
        assert base64.b64decode(data).decode().count("class='bond-") >= 2
    assert "script" not in page.tags
    assert not re.search(r"""(src|href)="(?!data:)""", text)
    assert "-10.50 (-11.0 to -10.0)" in text.replace(MINUS, "-")
    assert "10 of 2000" in text
    assert "Qed" in text


def test_the_page_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    path = run_directory(tmp_path / "run")
    contents = []
    for _ in range(2):
        report(path, with_pictures=True)
        contents.append({name: (path / name).read_bytes() for name in FILES - {"molecules.sdf"}})
    assert contents[0] == contents[1]


def test_many_molecules_are_cut_and_the_page_says_so(tmp_path: Path) -> None:
    n = SHOWN + 3
    smiles = np.array(["C" * (k + 3) + "O" for k in range(n)])
    many = molecule_arrays("best", [k % 9 for k in range(n)], 1)
    many |= {"best_smiles": smiles, "best_states": np.arange(n)[:, None] + 10_000}
    path = run_directory(tmp_path / "run", 1, **many)
    report(path, with_pictures=True)
    text = (path / "molecules.html").read_text()
    assert len(Page(text).pictures) == SHOWN
    assert f"The first {SHOWN} of {n + 2} molecules" in text
    assert len(table(path)) == n + 2


def test_unknown_probabilities_are_said_to_be(tmp_path: Path) -> None:
    unknown = np.full((1, 3), np.nan)
    path = run_directory(tmp_path / "run", 1, best_log_terminating=unknown, met_log_terminating=unknown[:, :2])
    told = report(path, with_pictures=True)
    assert "unknown" in (path / "molecules.html").read_text()
    assert "nan" not in told
    assert table(path)[0]["log_P_T"] == ""


def test_a_picture_tells_what_it_was_drawn_from(tmp_path: Path) -> None:
    path = run_directory(tmp_path / "run")
    report(path, with_pictures=True)
    with Image.open(path / "molecules.png") as image:
        assert image.size == (4 * 4 * 300, 4 * 250)
        assert re.match(rf"arrays.npz \w{{16}}; .*pictures.* {path}$", image.text["Description"])


def test_without_rdkit_the_table_is_still_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run_directory(tmp_path / "run")
    monkeypatch.delitem(sys.modules, "gfn_vi.analysis.pictures.structures", raising=False)
    monkeypatch.delattr(pictures, "structures", raising=False)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    told = report(path, with_pictures=True)
    assert len(table(path)) == 8
    assert not (path / "molecules.sdf").exists()
    assert (
        told.splitlines()[-2]
        == "no molecules.sdf and no molecules.html: RDKit is not installed (pip install 'gfn_vi[molecules]')"
    )


def test_the_command_draws_again_and_other_runs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_directory(tmp_path / "run")
    assert main([str(path)]) == 0
    assert "best molecules" in capsys.readouterr().out
    assert (path / "molecules.html").is_file()
    np.savez_compressed(path / "arrays.npz", samples=np.zeros(3))
    with pytest.raises(TableError, match="expected a run with target=molecules"):
        report(path, with_pictures=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A run from the command line: what it printed, and its directory."""
    folder = tmp_path_factory.mktemp("finished")
    outcome = train(TINY, folder)
    assert outcome.code == 0, outcome.err
    return outcome.out.splitlines(), folder / outcome.directory


def test_a_run_ends_with_its_molecules(finished: tuple[list[str], Path]) -> None:
    """Table, result line, directory; log P_T is that of dynamic programming over the whole space, here small enough for it."""
    lines, run = finished
    assert {file.name for file in run.iterdir()} >= FILES
    assert lines[0].split() == ["best", "molecules", "value", "log", "R", "log", "P_T", "drawn", "of", "20"]
    assert "molecules.html" in lines[-3]
    with np.load(run / "arrays.npz") as arrays:
        everywhere = dict(zip((state.tobytes() for state in arrays["states"]), arrays["learned"][0], strict=True))
        for prefix in ("best", "met"):
            exact = [np.log(everywhere[state.tobytes()]) for state in arrays[f"{prefix}_states"]]
            assert arrays[f"{prefix}_log_terminating"][0] == pytest.approx(exact, rel=1e-6)


def test_a_run_that_paused_leaves_the_same_molecules(finished: tuple[list[str], Path], tmp_path: Path) -> None:
    """And the same numbers on the way, among them the modes met so far."""
    command = [*TINY, "pictures=false", "checkpoint.pause_after=32"]
    paused, resumed = (tmp_path / train(command, tmp_path).directory for _ in range(2))
    assert paused == resumed
    contents = []
    for run in (finished[1], resumed):
        with (run / "metrics.csv").open() as file:
            numbers = [row["value"] for row in csv.DictReader(file) if row["metric"] in ("modes_met", "best_met_log_reward")]
        contents.append(((run / "molecules.csv").read_bytes(), numbers))
    assert len(set(contents[0][1])) > 4
    assert contents[0] == contents[1]

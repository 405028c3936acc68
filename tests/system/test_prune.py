"""gfn-vi-prune lists what a sweep does not ask for, deletes it when told to, and never anything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.manifest import read_manifest
from system.command import SMALL, Outcome, files_below, run_command, train

SWEEP = (*SMALL, "trainer.n_trajectories=16", "experiment_name=mine")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of seeds 0 to 2."""
    folder = tmp_path_factory.mktemp("trained") / "here"
    done = train(["-m", *SWEEP, "seed=0,1,2"], folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "here"))


def prune(folder: Path, *words: str) -> Outcome:
    return run_command("prune", words, folder)


def of_seed(folder: Path, seed: int) -> Path:
    (found,) = (folder / "outputs" / "mine").glob(f"*-seed{seed}-????????")
    return found


def test_listed_then_deleted(folder: Path) -> None:
    """The list is free of consequences; of what is deleted nothing is left, in the manifest neither."""
    before = files_below(folder)
    listed = prune(folder, *SWEEP, "seed=0,2")
    assert (listed.code, listed.err) == (0, "")
    head, line, told = listed.out.splitlines()
    assert head.startswith("outputs/mine: 1 run that the sweep does not ask for, ")
    assert head.endswith(" to be freed; 2 that it asks for stay")
    assert line.split() == ["done", *line.split()[1:3], of_seed(folder, 1).name]
    assert told == "nothing is deleted: the same command with --delete deletes them"
    assert files_below(folder) == before
    gone = of_seed(folder, 1)
    deleted = prune(folder, "-m", *SWEEP, "--delete", "seed=0,2")
    assert (deleted.code, deleted.err) == (0, "")
    assert deleted.out.splitlines()[-1] == f"deleted 1 run, {' '.join(line.split()[1:3])} freed"
    assert files_below(folder) == [name for name in before if gone.name not in name]
    assert gone.name not in read_manifest(folder / "outputs" / "mine")
    assert len(read_manifest(folder / "outputs" / "mine")) == 2
    again = prune(folder, *SWEEP, "seed=0,2", "--delete")
    assert again.out == "outputs/mine: nothing to prune, the sweep asks for all of its 2 runs\n"


def test_words_that_ask_for_nothing_that_is_there(folder: Path) -> None:
    """Settings of the sweep were forgotten: all runs are listed, and the last line says that the words may be mistaken."""
    listed = prune(folder, "experiment_name=mine")
    assert (listed.code, listed.err) == (0, "")
    assert listed.out.startswith("outputs/mine: 3 runs that the sweep does not ask for, ")
    none = "outputs/mine has none of the 1 run that this command asks for, so its words may be mistaken"
    advice = f"nothing is deleted, and --delete would refuse: {none}: give all words of the sweep that is to stay"
    assert listed.out.splitlines()[4:] == [advice]


def test_the_help_names_the_option() -> None:
    usage, _, options = run_command("prune", ["--help"], Path.cwd()).out.partition("options:")
    assert "[--delete]" in usage
    assert "--delete" in options


def test_what_stays_whatever_is_asked(folder: Path, tmp_path: Path) -> None:
    """Links and what they lead to, copies, damaged runs, runs that are being trained, and whatever is no run."""
    mine, elsewhere = folder / "outputs" / "mine", tmp_path / "elsewhere"
    shutil.move(of_seed(folder, 1), elsewhere)
    (mine / of_seed(folder, 2).name.replace("seed2", "linked")).symlink_to(elsewhere)
    shutil.copytree(of_seed(folder, 2), mine / "backup")
    shutil.copytree(of_seed(folder, 2), mine / "renamed-01234567")
    (mine / "notes").mkdir()
    (mine / "notes" / "idea.txt").write_text("mine")
    (mine / "table.csv").write_text("mine")
    (of_seed(folder, 2) / "kept").symlink_to(elsewhere)
    before, there = files_below(mine), files_below(elsewhere)
    with RunDirectory(of_seed(folder, 2)):
        kept = prune(folder, *SWEEP, "seed=0", "--delete")
        assert "(stays: it is being trained now)" in kept.out
        assert "deleted" not in kept.out
    assert kept.out.count("its name is not that of the run in its config.yaml: a copy, or damaged") == 2
    assert [name for name in files_below(mine) if not name.endswith("run.lock")] == [
        n for n in before if not n.endswith("run.lock")
    ]
    gone = of_seed(folder, 2).name
    done = prune(folder, *SWEEP, "seed=0", "--delete")
    assert done.out.splitlines()[-1].startswith("deleted 1 run, ")
    assert files_below(elsewhere) == there
    assert files_below(mine) == [name for name in before if not name.startswith(gone)]


def test_a_folder_that_is_a_link(folder: Path) -> None:
    mine = folder / "outputs" / "mine"
    shutil.move(mine, folder / "moved")
    mine.symlink_to(folder / "moved")
    refused = prune(folder, *SWEEP, "seed=0", "--delete")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: experiment_name=mine: outputs/mine is a link, and nothing is deleted through links")
    assert len(list((folder / "moved").glob("*/config.yaml"))) == 3


BAD = {
    "": "error: say which sweep's runs stay: ",
    "--delete": "error: say which sweep's runs stay: ",
    "outputs/mine": "error: outputs/mine: expected the words of the sweep whose runs stay, experiment_name=mine among them",
    "seed=0 outputs/mine --delete": "error: outputs/mine: expected the words of the sweep whose runs stay, experiment_name=mine",
    "sweep=reverse_kl_rates": "error: sweep=reverse_kl_rates: a search chooses its runs as it goes",
    "trainer.n_trajectoris=3": "n_trajectories",
    "experiment_name=mine seed=5 --delete": "error: outputs/mine has none of the 1 run that this command asks for",
}


def test_bad_input_is_one_line_and_deletes_nothing(folder: Path) -> None:
    before = files_below(folder)
    for words, told in BAD.items():
        refused = prune(folder, *words.split())
        assert (refused.code, refused.out) == (2, ""), words
        assert told in refused.err, refused.err
        assert len(refused.err.splitlines()) == 1, refused.err
    assert files_below(folder) == before


def test_what_is_left_of_a_killed_deletion_is_deleted_by_the_next(folder: Path) -> None:
    run = of_seed(folder, 1)
    for name in ("status.json", "checkpoint.pt", "metrics.csv"):
        (run / name).unlink()
    assert prune(folder, *SWEEP, "seed=0,2", "--delete").code == 0
    assert not run.exists()
    assert json.loads((folder / "outputs" / "mine" / "sweep.json").read_text())["runs"].keys() == {
        of_seed(folder, seed).name for seed in (0, 2)
    }

"""`python scripts/train.py target=dag target.data.path=my.csv`: a changed table is another run, and refusals are one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import yaml

from gfn_vi.core import user_files
from system.command import Outcome, ended, files_below, spawn, train

TINY = ("sampler.hidden=[8]", "trainer.batch_size=8", "trainer.n_trajectories=16", "evaluation.every=8")
TABLE = "a,b,c\n1,2,3\n2,-1.5,1e-3\n4,0,7\n5,6,8\n"


def run(folder: Path, *arguments: str) -> Outcome:
    return train(["target=dag", *TINY, *arguments], folder)


def written(folder: Path, text: str, name: str = "my.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


def test_a_changed_table_is_another_run(tmp_path: Path) -> None:
    """The same table is the same run, wherever the change was undone; what the run saw is in its config."""
    here = written(tmp_path / "here", TABLE)
    first, again = run(here, "target.data.path=my.csv"), run(here, "target.data.path=my.csv")
    assert first.code == 0, first.err
    assert "already done" in again.out
    assert again.directory == first.directory
    config = yaml.safe_load((here / first.directory / "config.yaml").read_text())
    assert config["target"]["data"]["digest"] == user_files.digest(TABLE.encode())
    written(here, TABLE.replace("8", "9"))
    changed = run(here, "target.data.path=my.csv")
    assert changed.code == 0, changed.err
    assert changed.directory != first.directory
    written(here, TABLE)
    assert "already done" in run(here, "target.data.path=my.csv").out


def test_doubts_are_told_once_before_the_run(tmp_path: Path) -> None:
    """A packed table in the format of another country, of which some columns are used."""
    rows = [f"{n};{n * n % 17 if n % 5 else -999},5;text;{1000 + n % 7 * 99}" for n in range(30)]
    here = tmp_path / "here"
    here.mkdir()
    (here / "my.csv.gz").write_bytes(gzip.compress("\n".join(["row;a;note;b", *rows]).encode()))
    keys = ["separator=';'", "decimal=','", "thousands='.'", "columns=[b,a]"]
    outcome = run(here, "target.data.path=my.csv.gz", *(f"target.data.{key}" for key in keys))
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("column a has -999.5 in 6 of 30 rows, far from all other values") == 1
    assert outcome.err.count("column b (7 values): few different whole numbers, which are taken for Gaussian") == 1


def test_a_sweep_over_tables(tmp_path: Path) -> None:
    """Relative paths are meant from the folder where the sweep was started, in its workers, too."""
    here = written(written(tmp_path / "here", TABLE), TABLE.replace("8", "9"), "other table.csv")
    paths = "target.data.path=my.csv,'other table.csv'"
    outcome = ended(spawn(["-m", "target=dag", *TINY, "hydra/launcher=local", "hydra.launcher.n_jobs=2", paths], here))
    assert outcome.code == 0, outcome.err
    saved = [yaml.safe_load(path.read_text())["target"]["data"] for path in here.glob("outputs/default/*/config.yaml")]
    assert {data["path"]: data["digest"] for data in saved} == {
        name: user_files.digest((here / name).read_bytes()) for name in ("my.csv", "other table.csv")
    }


REFUSED = {
    "target.data.path=none.csv": ("target.data.path=none.csv: there is no such file; it was looked for at /", "none.csv"),
    "target.data.path=.": ("target.data.path=.: this is a folder: expected a file",),
    "target.data.path=empty.csv": ("target.data.path=empty.csv: the file is empty",),
    "target.data.path=words.csv": ("column b is not numeric: 'low' in line 2",),
    "target.data.path=my.csv target.data.digest=0": ("target.data.digest=0: expected a text or null",),
    "target.data.path=3": ("target.data.path=3: expected a text or null",),
    "target.data.path=my.csv target.data.separator=tab": ("target.data.separator=tab: expected one character",),
    "target.data.path=my.csv target.data.thousands=.": ("target.data.thousands=.: expected null, or one of",),
    "target.data.path=my.csv target.data.missing=-999": ("target.data.missing=-999: expected a list",),
    "target.data.path=my.csv target.data.missing=[7]": ("missing values: c in 1 of 4 rows (the first in line 4, with",),
    "target.data.otherwise.n_nodes=1": ("target.data.n_nodes=1: expected a whole number >= 2",),
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refused_in_one_line(arguments: str, tmp_path: Path) -> None:
    here = written(written(written(tmp_path / "here", TABLE), "", "empty.csv"), "a,b\n1,low\n", "words.csv")
    before = files_below(here)
    outcome = run(here, *arguments.split())
    assert outcome.code == 2, outcome
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert outcome.err.startswith("error: target.data."), outcome.err
    for text in REFUSED[arguments]:
        assert text in outcome.err
    assert outcome.out == ""
    assert files_below(here) == before


def test_a_sweep_of_a_table_that_is_not_there(tmp_path: Path) -> None:
    outcome = train(["-m", "target=dag", *TINY, "target.data.path=none.csv", "seed=0,1"], tmp_path / "here")
    assert outcome.code == 2, outcome
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert "target.data.path=none.csv: there is no such file" in outcome.err
    assert files_below(tmp_path / "here") == []

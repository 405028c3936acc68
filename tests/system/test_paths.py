"""One rule for paths: they begin in the folder of the command, in every process, and ~ is the home folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from system.command import SMALL, ended, files_below, spawn, train

SHORT = (*SMALL, "trainer.n_trajectories=16")
CSV = "a,b\n" + "".join(f"{n % 5}.5,{n % 7}.25\n" for n in range(30))
MINE = """
def log_density(x):
    return -x.square().sum(-1)

def values(smiles):
    return [1.0 + len(text) for text in smiles]
"""


def test_the_home_folder_is_meant_wherever_a_sweep_or_a_run_looks(tmp_path: Path) -> None:
    """A single run knows the run of the sweep; Hydra lets no ~ pass without quotes, and a file has one without a shell."""
    home = tmp_path / "home"
    home.mkdir()
    for arguments in (["-m", *SHORT, 'output_root="~/x"', "seed=0"], [*SHORT, "output_root=~/x"]):
        outcome = train(arguments, tmp_path / "here", environment={"HOME": str(home)})
        assert outcome.code == 0, outcome.err
        assert outcome.out.splitlines()[-1].startswith(f"{home}/x/default")
    assert "already done" in outcome.out
    assert list((tmp_path / "here").iterdir()) == []


def test_the_home_folder_of_nobody_is_refused(tmp_path: Path) -> None:
    for arguments in ([], ["-m"]):
        outcome = train([*arguments, *SHORT, 'output_root="~nobody_at_all/x"'], tmp_path)
        assert outcome.code == 2
        assert "output_root=~nobody_at_all/x: nobody here has such a home folder: expected ~/... or a path" in outcome.err
        assert files_below(tmp_path) == []


@pytest.mark.parametrize("arguments", [[], ["-m", "seed=0,1"]])
def test_hydra_does_not_change_the_folder(arguments: list[str], tmp_path: Path) -> None:
    outcome = train([*arguments, *SHORT, "hydra.job.chdir=true"], tmp_path)
    assert outcome.code == 2
    assert outcome.err.startswith("error: hydra.job.chdir=True: leave it out: paths are relative to the folder of the command")
    assert outcome.err.count("\n") == 1
    assert files_below(tmp_path) == []


@pytest.mark.slow
def test_relative_files_are_found_by_workers(tmp_path: Path) -> None:
    """Tables, blocks, held-out objects and modules, in processes that joblib started; the data of a density, too."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.csv").write_text(CSV)
    (tmp_path / "data" / "blocks.json").write_text(
        json.dumps([{"smiles": "CN", "attach": [0, 1]}, {"smiles": "F", "attach": [0]}])
    )
    (tmp_path / "mine.py").write_text(MINE)
    density = "sampler:mean_field,target.dim:2,evaluation.metrics.distances:null"
    grids = [
        "{target:dag,data@target.data:csv,target.data.path:data/table.csv,score@target.score:linear_gaussian}",
        f"{{target:user_density,target.function:mine.log_density,{density}}}",
        "{target:molecules,target.blocks:data/blocks.json,target.min_blocks:1,target.max_blocks:2,"
        "proxy@target.proxy:user_function,target.proxy.function:mine.values}",
    ]
    sweep = ["-m", "hydra/launcher=local", "hydra.launcher.n_jobs=1", "trainer.n_trajectories=16", "trainer.batch_size=16"]
    outcome = ended(spawn([*sweep, f"hydra.sweeper.grids=[{','.join(grids)}]"], tmp_path))
    assert outcome.code == 0, outcome.err
    assert "3 runs: 3 done" in outcome.out
    told = [json.loads(path.read_text())["sources"] for path in sorted(tmp_path.glob("outputs/default/*/status.json"))]
    assert sorted(map(list, told)) == [[], ["mine.py"], ["mine.py"]]

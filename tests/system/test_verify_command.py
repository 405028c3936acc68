"""scripts/verify.py as a user meets it: the table, the exit status, what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from system.command import SMALL, files_below, run_command, train

TINY = ("target.side=4", "small.side=2", "n_updates=5")


def test_the_table_and_the_exit_status(tmp_path: Path) -> None:
    done = run_command("verify", ["target.side=5", "n_updates=20"], tmp_path / "here")
    assert done.code == 0, done.err
    assert done.out.count("holds") > 20
    assert done.out.count("fails, as it must") == 6
    assert "FAILS" not in done.out
    for theorem in range(1, 7):
        assert re.search(rf"│ +{theorem} │", done.out)
    assert done.out.splitlines()[-1] == "all theorems hold, all controls fail as they must"
    assert files_below(tmp_path / "here") == []


DENSITY = ("target=gaussian_mixture", "target.dim=1", "target.means=[[-2.0],[1.5]]", "target.covariance=[0.3,0.5]")
ON_A_LINE = (*DENSITY, "target.log_weights=null", "sampler=diffusion", "sampler.n_steps=3", "sampler.hidden=[6]", "n_updates=5")


def test_a_density_of_one_dimension(tmp_path: Path) -> None:
    """Theorems 1 to 6 on a line, the controls of which those for P_B need a P_B that is learned; and those of a run."""
    done = run_command("verify", [*ON_A_LINE, "sampler.backward=learned"], tmp_path / "here")
    assert done.code == 0, done.err
    assert done.out.count("holds") == 11
    assert done.out.count("fails, as it must") == 4
    assert "nodes from" in done.out
    assert done.out.splitlines()[-1] == "all theorems hold, all controls fail as they must"
    words = ["target=gaussian", "target.dim=1", "target.covariance=1.0", *ON_A_LINE[5:-1]]
    run = train([*words, "trainer.n_trajectories=64", "evaluation.metrics.distances=null", "replicas=2"], tmp_path / "here")
    assert run.code == 0, run.err
    shown = run_command("verify", [f"run={run.directory}", "n_updates=5"], tmp_path / "here")
    assert shown.code == 0, shown.err
    assert "2 trained replicas after 1 updates" in shown.out
    assert shown.out.splitlines()[-1] == "all theorems hold"


def test_a_theorem_that_fails_is_exit_status_one(tmp_path: Path) -> None:
    """float32 cannot hold to 1e-9."""
    done = run_command("verify", [*TINY, "dtype=float32"], tmp_path / "here")
    assert done.code == 1
    assert "FAILS" in done.out
    assert "are not as they should be" in done.err
    done = run_command("verify", [*TINY, "dtype=float32", "tolerance=1e-3"], tmp_path / "here")
    assert done.code == 0, done.out


def test_networks_other_targets_and_junctions(tmp_path: Path) -> None:
    words = ["target=tiny_dag", "target@small=tiny_dag", "sampler=mlp", "sampler.hidden=[8]", "n_updates=5"]
    for more in (["junctions=[0,1,3,5]"], ["sampler.backward=tied"], ["small=null", "exploration=replay"], ["batch_size=3"]):
        done = run_command("verify", [*words, *more], tmp_path / "here")
        assert done.code == 0, f"{more}\n{done.out}\n{done.err}"


def test_uniform_tables_are_no_case_for_off_policy_controls(tmp_path: Path) -> None:
    """What is wrong off-policy is right under P_F; a run with such a sampler does not decide what is listed."""
    shown = run_command("verify", [*TINY, "sampler=tabular"], tmp_path / "here")
    assert shown.code == 2
    assert shown.err.startswith("error: exploration=EpsilonUniform: draws what P_F draws")
    run = train(["sampler=tabular", "target.side=4", "trainer.n_trajectories=64"], tmp_path / "here").directory
    shown = run_command("verify", [*TINY, f"run={run}"], tmp_path / "here")
    assert shown.code == 0, shown.err
    (tmp_path / "here" / run / "config.yaml").write_text(": : [")
    shown = run_command("verify", [f"run={run}"], tmp_path / "here")
    assert (shown.code, shown.err) == (2, f"error: run={run}: its config.yaml is damaged\n")


def test_what_a_run_has_learned(tmp_path: Path) -> None:
    """All its replicas, in float64, with flows if it learned them."""
    done = train([*SMALL, "replicas=2", "objective=detailed_balance", "trainer.n_trajectories=64"], tmp_path / "here")
    assert done.code == 0, done.err
    shown = run_command("verify", [f"run={done.directory}", "small=null", "n_updates=5"], tmp_path / "here")
    assert shown.code == 0, shown.err
    assert "2 trained replicas after 4 updates" in shown.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["traget=tiny_dag"], "traget: no such key; did you mean target?"),
        (["target.sides=3"], "target.sides: no such key; did you mean target.side?"),
        (
            ["target.side=2000"],
            "target=gfn_vi.targets.grids.hypergrid.Hypergrid: not enumerable within target.max_enumerated_states",
        ),
        (["small.side=6"], "small=Hypergrid: has 923 trajectories, 426426 batches of 2, more than max_batches=50000"),
        (["junctions=[0,5]"], "junctions=[0, 5]: expected increasing layers from 0 to 63"),
        (["junctions=5"], "junctions=5: expected a list of layers, or null"),
        (["target=gaussian", "sampler=diffusion"], "target.dim=2: densities are summed on a line: expected a target of one"),
        (["target=gaussian"], "sampler=TabularSampler: moves between states, and this target is a density on R^d; use"),
        ([*ON_A_LINE, "junctions=[0,4]"], "junctions=[0, 4]: expected increasing layers from 0 to 3"),
        (
            [*ON_A_LINE, "evaluation.quadrature.low=-20", "evaluation.quadrature.high=20", "evaluation.quadrature.nodes=41"],
            "evaluation.quadrature.nodes=41: a spacing of 1 does not resolve steps of standard deviation",
        ),
        (["tolerance=0"], "tolerance=0: expected a positive number such as 1e-9"),
        (["n_updates=0"], "n_updates=0: expected a whole number >= 1"),
        (["run=nowhere"], "run=nowhere: expected the directory of a run"),
        (["exploration=replay"], "exploration=gfn_vi.exploration.replay.Replay: off-policy controls need another"),
        (["exploration=on_policy"], "exploration=gfn_vi.exploration.tilted.OnPolicy: off-policy controls need another"),
        (["sampler.hidden=[8]"], "sampler.hidden: no such key"),
    ],
)
def test_bad_input_is_one_line_before_any_table(words: list[str], message: str, tmp_path: Path) -> None:
    done = run_command("verify", words, tmp_path / "here")
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


def test_help_says_the_keys(tmp_path: Path) -> None:
    done = run_command("verify", ["--help"], tmp_path / "here")
    assert done.code == 0
    for word in ("tolerance: 1.0e-9", "junctions: null", "run=outputs/", "hypergrid_3x3", "exit status"):
        assert word.lower() in done.out.lower()

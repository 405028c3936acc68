"""gfn_vi.load_run and gfn-vi-sample: what a run has learned, drawn again in any process; what is refused, and how."""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import gfn_vi
from gfn_vi.commands.sample import main
from gfn_vi.interface.run import Run
from gfn_vi.interface.samples import replicas_in_words
from gfn_vi.runs.directory import RunDirectory
from system.command import run_command

N = 400
WORDS = (
    *("target=hypergrid_3x3", "target.r0=0.3", "sampler=tabular_random", "dtype=float64", "replicas=2", "progress=false"),
    *("trainer.n_trajectories=64", "trainer.batch_size=16"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    return gfn_vi.train([*WORDS, f"output_root={home}/outputs"])


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Path:
    """A copy of the run's directory elsewhere, under its own name."""
    return Path(shutil.copytree(run.path, tmp_path / run.path.name))


# -- what is drawn ------------------------------------------------------------------------------------------------------


def test_log_p_t_is_the_exact_one(run: Run) -> None:
    """That of the run's last measurement, which sums in another way, up to rounding in float64."""
    samples = gfn_vi.load_run(run.path).sample(N, replica="all")
    with np.load(run.path / "arrays.npz") as arrays:
        row = {tuple(state): i for i, state in enumerate(arrays["states"].tolist())}
        rows = [row[tuple(state)] for state in samples.states.tolist()]
        expected = np.log(arrays["learned"][samples.replica.numpy(), rows])
    assert samples.log_pt is not None
    np.testing.assert_allclose(samples.log_pt.numpy(), expected, rtol=0, atol=1e-12)


def test_objects_come_as_often_as_log_p_t_says(run: Run) -> None:
    """The sum over objects of (observed - expected)^2 / expected, below the 1 - 1e-6 quantile of chi-square with 8 degrees."""
    samples = run.sample(4000, seed=3)
    assert samples.log_pt is not None
    codes, first, observed = np.unique(samples.states.numpy(), axis=0, return_index=True, return_counts=True)
    expected = 4000 * samples.log_pt.exp().numpy()[first]
    assert len(codes) == 9
    assert ((observed - expected) ** 2 / expected).sum() < 42.7


def test_importance_weights_average_to_z(run: Run) -> None:
    """Within four standard errors, for both replicas, and by two ways to say it."""
    samples = run.sample(4000, replica="all")
    log_z = float(run.target.state_graph().log_partition)
    for r in (0, 1):
        weight = (samples.log_weight[samples.replica == r] - log_z).exp()
        error = float(weight.std() / len(weight) ** 0.5)
        assert abs(float(weight.mean()) - 1) < 4 * error < 0.5
        assert float(samples.log_Z[r]) == pytest.approx(log_z + float(weight.mean().log()), abs=1e-12)
        assert float(samples.weight[samples.replica == r].sum()) == pytest.approx(1, abs=1e-12)
    assert samples.about_weights.startswith("weights worth")


def test_probabilities_are_those_of_the_policies(run: Run) -> None:
    """On a target in which each object has one trajectory, log P_F of it is log P_T, and log P_B is 0."""
    words = [word for word in WORDS if not word.startswith("target")]
    tree = gfn_vi.build_trainer([*words, "target=permutations", "target.n_items=3"])
    from gfn_vi.interface.drawing import draw, exact_log_pt

    drawn = draw(tree.parts.sampler, 50, 0)
    for r in (0, 1):
        whose = torch.full((50,), r)
        exact = exact_log_pt(tree.parts.sampler, tree.parts.target, drawn["states"][r], drawn["log_pf"][r], whose)
        torch.testing.assert_close(exact, drawn["log_pf"][r], rtol=0, atol=1e-12)
    assert bool((drawn["log_pb"] == 0).all())


def test_a_target_that_is_not_listed_has_log_p_t_by_ancestors(run: Run) -> None:
    from gfn_vi.interface.drawing import exact_log_pt

    samples = run.sample(30, replica="all")
    hidden = gfn_vi.build_trainer([*WORDS, "target.max_enumerated_states=1", "sampler=mlp"]).parts.target
    found = exact_log_pt(run.sampler, hidden, samples.states, samples.log_pf, samples.replica)
    torch.testing.assert_close(found, samples.log_pt, rtol=0, atol=1e-12)


def test_the_command_draws_what_a_program_draws(run: Run, home: Path) -> None:
    """Another process, each kind of file: equal bytes for an equal seed, others for another one."""
    for name in ("s.csv", "s.npz", "s.parquet"):
        told = run_command("sample", [str(run.path), f"n={N}", f"out={name}", "replica=1", "weights=true", "seed=5"], home)
        assert told.code == 0, told.err
        assert told.out.splitlines() == [f"{N} samples of replica 1, seed 5", run.sample(N, 5, 1).about_weights, name]
        ours = gfn_vi.load_run(run.path).sample(N, seed=5, replica=1).save(home / f"ours_{name}", weights=True)
        assert ours.read_bytes() == (home / name).read_bytes()
    table = pd.read_csv(home / "s.csv")
    pd.testing.assert_frame_equal(table, pd.read_parquet(home / "s.parquet"))
    assert list(table) == [
        *("x0", "x1", "replica", "length", "log_reward", "log_pf", "log_pb", "log_pt", "log_weight", "weight"),
    ]
    with np.load(home / "s.npz") as arrays:
        assert (arrays["states"] == table[["x0", "x1"]].to_numpy()).all()
        assert (arrays["log_pt"] == table["log_pt"]).all()
    other = run.sample(N, seed=6, replica=1)
    assert not torch.equal(other.states, run.sample(N, seed=5, replica=1).states)


def test_a_replica_draws_the_same_whoever_is_looked_at(run: Run) -> None:
    both = run.sample(20, replica="all")
    for r in (0, 1):
        one = run.sample(20, replica=r)
        assert torch.equal(one.states, both.states[both.replica == r])
    assert len(run.sample(np.int64(3), replica=np.int64(1))) == 3  # type: ignore[arg-type]


def test_the_command_says_whose_objects_it_draws_and_what_it_replaces(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The replicas that are drawn from, after the checks; a file that is there is replaced, but not in silence."""
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    monkeypatch.setattr("gfn_vi.interface.run.told_if_slow", lambda doing: contextlib.nullcontext(said.append(doing)))
    assert main([str(run.path), "n=5", "replica=9"]) == 2
    assert said == []
    capsys.readouterr()
    replaced = "replaced samples.csv, which was there before; out=NAME keeps it"
    for word, whose, drawn, more in (("replica=1", "replica 1", 300, []), ("replica=all", "replicas 0, 1", 600, [replaced])):
        assert main([str(run.path), "n=300", word]) == 0
        assert said.pop() == f"drawing n=300 objects of {whose}, and the exact log P_T of each"
        assert capsys.readouterr().out.splitlines() == [f"{drawn} samples of {whose}, seed 0", *more, "samples.csv"]


@pytest.mark.parametrize(
    ("replicas", "words"),
    [([3], "replica 3"), ([0, 1], "replicas 0, 1"), ([0, 2, 3], "replicas 0, 2, 3"), ([1, 2, 3], "replicas 1 to 3")],
)
def test_replicas_in_words(replicas: list[int], words: str) -> None:
    assert replicas_in_words(replicas) == words


def test_a_device_that_is_not_there_is_refused_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(gfn_vi.ConfigError, match="device=foo: expected cpu, cuda or cuda:N"):
        run.to("foo")
    with pytest.raises(gfn_vi.ConfigError, match="device=cuda: no CUDA device here"):
        gfn_vi.load_run(run.path, device="cuda")
    assert next(run.to("cpu").sampler.parameters()).device.type == "cpu"


def test_the_headline_is_the_median_over_replicas(copied: Path) -> None:
    """By hand: of 1, 2 and 6 it is 2, and their mean 3; of a run with a replica that became non-finite, the worst value."""
    loaded = gfn_vi.load_run(copied)
    assert loaded.headline is not None
    name = loaded.headline[0].metric
    head = "step,trajectories,reward_calls,wall_seconds,replica,metric,value"
    rows = [f"4,64,64,0,{r},{name},{value}" for r, value in enumerate((1, 6, 2))]
    (copied / "metrics.csv").write_text("\n".join([head, *rows, ""]), encoding="utf-8")
    assert loaded.headline[1] == 2
    assert f"{loaded.headline[0].words} 2>" in repr(loaded)
    with (copied / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write("4,64,64,0,1,frozen,1\n")
    assert loaded.headline[1] == loaded.headline[0].worst


def test_metrics_are_tidy(run: Run) -> None:
    table = run.metrics
    assert list(table) == ["replica", "seed", "step", "trajectories", "reward_calls", "wall_seconds", "metric", "value"]
    assert (table["seed"] == table["replica"]).all()
    assert run.headline is not None
    last = table[(table["metric"] == run.headline[0].metric) & (table["step"] == 4)]["value"]
    assert run.headline[1] == pytest.approx(last.median(), abs=1e-15)
    with pytest.raises(Exception, match="read-only"):
        run.config.seed = 3


def test_training_goes_on_from_a_run(run: Run) -> None:
    """The trainer of a run stands where one that was never interrupted stands."""
    whole = gfn_vi.build_trainer(list(WORDS))
    whole.measure()
    for _ in range(whole.budget.steps):
        whole.update()
    whole.measure()
    assert torch.equal(run.trainer().update()[0], whole.update()[0])


# -- what is refused ----------------------------------------------------------------------------------------------------


def refusal(path: str | Path, **options: bool) -> str:
    with pytest.raises((gfn_vi.RunError, gfn_vi.ConfigError)) as refused:
        gfn_vi.load_run(path, **options).sample(2)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_is_no_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no such folder, it may have been moved or renamed" in refusal(run.path.with_name("gone"))
    assert str(run.path) in refusal(run.path.with_name("gone"))
    assert f"is a file: expected the directory of a run, {run.path}" in refusal(run.path / "config.yaml")
    monkeypatch.chdir(tmp_path)
    Path("a.py").touch()
    assert refusal("a.py") == "a.py is a file: expected the directory of a run, outputs/<experiment>/<run>"
    assert f"load one of them, {run.path}" in refusal(run.path.parent.parent)
    several = tmp_path / "several"
    for name in ("a-0", "b-0"):
        shutil.copytree(run.path, several / name)
    assert f"holds 2 runs: load one of them, {several / 'a-0'} or {several / 'b-0'}" in refusal(several)
    shutil.rmtree(several / "b-0")
    assert gfn_vi.load_run(several).path == several / "a-0"
    shutil.rmtree(several)
    Path("a.py").unlink()
    assert "is no run's directory" in refusal(tmp_path)
    assert "expected the directory of a run" in refusal("")
    with pytest.raises(gfn_vi.ConfigError, match="this file is the run's own"):
        run.sample(2).save(run.path / "metrics.csv")
    (tmp_path / "sweep.json").write_text("{}", encoding="utf-8")
    assert "a sweep of which no run has started" in refusal(tmp_path)


def test_a_run_that_is_not_finished(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paused, then being written: refused with the way on, and taken as far as it is where that is asked for."""
    paused = gfn_vi.train([*WORDS, "seed=10", "checkpoint.pause_after=32", f"output_root={home}/paused"])
    assert paused.state == "interrupted"
    assert "interrupted after 32 of 64 trajectories: the same command goes on" in refusal(paused.path)
    with RunDirectory(paused.path):
        assert "is being trained (32 of 64 trajectories, pid " in refusal(paused.path)
    assert refusal(paused.path).endswith("; unfinished=True takes its last checkpoint")
    assert main([str(paused.path)]) == 2
    assert capsys.readouterr().err.endswith("; unfinished=True takes its last checkpoint\n")
    assert main([str(paused.path), "unfinished=True", "n=2", f"out={home}/few.csv"]) == 0
    assert len(gfn_vi.load_run(paused.path, unfinished=True).sample(2)) == 2
    assert gfn_vi.train([*WORDS, "seed=10", f"output_root={home}/paused"]).state == "done"


def test_a_moved_run_is_the_same(copied: Path, run: Run) -> None:
    moved = copied.rename(copied.with_name("my best one"))
    assert torch.equal(gfn_vi.load_run(moved).sample(9).states, run.sample(9).states)


def edit_status(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    status = json.loads((path / "status.json").read_text(encoding="utf-8"))
    change(status)
    (path / "status.json").write_text(json.dumps(status), encoding="utf-8")


def test_a_run_of_another_release(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is drawn from where it still can be, with a line about it; where not, the line names both releases."""
    edit_status(copied, lambda status: status.update(versions={"gfn_vi": "0.0.1"}))
    gfn_vi.load_run(copied)
    assert "was made by gfn_vi 0.0.1, and this is" in caplog.text
    config = (copied / "config.yaml").read_text(encoding="utf-8")
    (copied / "config.yaml").write_text(config.replace("grids.hypergrid.Hypergrid", "hypergrid.Grid"), encoding="utf-8")
    told = refusal(copied)
    assert "there is no Grid" in told or "No module named" in told or "hypergrid" in told
    assert told.endswith("install that release (pip install gfn_vi==0.0.1), or train it again")


def test_a_checkpoint_of_another_run_and_none_and_one_with_code(copied: Path, home: Path) -> None:
    other = gfn_vi.train([*WORDS, "seed=20", f"output_root={home}/outputs"])
    shutil.copy(other.path / "checkpoint.pt", copied / "checkpoint.pt")
    assert "checkpoint.pt is of run" in refusal(copied)
    torch.save({"trainer": Path("/")}, copied / "checkpoint.pt")  # unpickling would call a function
    (copied / "checkpoint.previous.pt").unlink(missing_ok=True)
    assert "no checkpoint can be read" in refusal(copied)
    (copied / "checkpoint.pt").unlink()
    assert "has no checkpoint.pt" in refusal(copied)
    (copied / "config.yaml").write_text("a: [", encoding="utf-8")
    assert "config.yaml is missing or damaged" in refusal(copied)


def test_a_replica_that_became_non_finite(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    rates = ["optimizer.lr_forward=[0.001,1e38]", "optimizer.lr_log_Z=[0.1,1e38]", "optimizer.lr_backward=[0.001,1e38]"]
    run = gfn_vi.train([*WORDS, *rates, "dtype=float32", f"output_root={home}/diverged"])
    assert run.state == "diverged"
    assert "replica 1 (seed 1) became non-finite" in caplog.text
    assert set(run.sample(5, replica="all").replica.tolist()) == {0}
    with pytest.raises(gfn_vi.RunError, match=r"replica 1 .* became non-finite .*; draw from another replica of .*: 0"):
        run.sample(5, replica=1)


SOURCE = """
from gfn_vi.targets.grids.hypergrid import Hypergrid


class Mine(Hypergrid):
    pass
"""


def test_changed_sources_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of one's own and a table: each is compared before anything is built."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_of_sampling.py").write_text(SOURCE, encoding="utf-8")
    run = gfn_vi.train([*WORDS, "target._target_=mine_of_sampling.Mine"])
    assert len(gfn_vi.load_run(run.path).sample(2)) == 2
    (tmp_path / "mine_of_sampling.py").write_text(f"# another\n{SOURCE}", encoding="utf-8")
    assert f"mine_of_sampling.py has changed since {run.path} was trained" in refusal(run.path)
    assert "has changed since this program imported it" in refusal(run.path, accept_changed_sources=True)
    with pytest.raises(gfn_vi.RunError, match="has changed since this program imported it, and its old code would run"):
        gfn_vi.train([*WORDS, "target._target_=mine_of_sampling.Mine", "experiment_name=edited"])
    importlib.reload(sys.modules["mine_of_sampling"])
    assert len(gfn_vi.load_run(run.path, accept_changed_sources=True).sample(2)) == 2
    (tmp_path / "table.csv").write_text("a,b\n1,2\n2,5\n3,1\n4,4\n0.5,7\n", encoding="utf-8")
    words = [word for word in WORDS if not word.startswith("target")]
    graphs = gfn_vi.train([*words, "target=dag", "target.data.path=table.csv", "sampler=mlp", "pictures=false"])
    assert set(graphs.sample(50).table()["edges"]) <= {"", "a -> b", "b -> a"}
    (tmp_path / "table.csv").write_text("a,b\n1,2\n2,5\n3,1\n4,4\n0.5,8\n", encoding="utf-8")
    assert "target.data.path=table.csv: the file has changed" in refusal(graphs.path)
    (tmp_path / "table.csv").unlink()
    assert "there is no such file; it was looked for at" in refusal(graphs.path)


WRONG = {
    "n=0": "n=0: expected a whole number >= 1",
    "n=1000000000000": "more than is free; draw some at a time",
    "n=1e3": "n=1e3: expected a whole number >= 1; type 1000",
    "m=3": "m=3: nothing reads this key",
    "weight=true": "did you mean weights?",
    "weights=yes": "weights=yes: expected true or false",
    "out=s.xlsx": "expected a name that ends in .csv, .npz, .parquet",
    "out=": "expected a value behind the equal sign",
    "out=nowhere/s.csv": "there is no folder nowhere",
    "replica=2": "expected all, or a whole number from 0 to 1",
    "replica=both": "expected all, or a whole number >= 0",
    "seed=1 seed=2": "seed=1: the key is given twice",
    "seed=-1": "seed=-1: expected a whole number >= 0",
    "device=tpu": "device=tpu: expected cpu, cuda or cuda:N",
    "weights": "expected key=value; did you mean weights?",
}


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_word_is_one_line(
    word: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(run.path), *word.split()]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert WRONG[word] in told
    assert not list(tmp_path.iterdir())

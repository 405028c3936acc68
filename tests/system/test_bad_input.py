"""Input that cannot work: one line that names the key and what to do, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from system.command import ROOT, SMALL, Outcome, files_below, train

# arguments -> what the line must say
REFUSED = {
    # what Hydra refuses
    "objective=foo": ("objective=foo", "no such choice", "trajectory_balance, tsallis_alpha"),
    "optimizer=adm": ("optimizer=adm", "did you mean adam?"),
    "reward@target.reward=foo": ("reward=foo", "corners, cosine, deceptive"),
    "target.sied=3": ("target.sied", "did you mean target.side?"),
    "foo=1": ("foo: no such key", "replicas"),
    "experiment=quickstart preset=smoke": ("preset=smoke: experiment=quickstart has no such size", "leave the word out"),
    "preset=paper": ("preset=paper: a preset is the size of an experiment",),
    "sampler=null": ("sampler=null: a group needs a choice", "dag_transformer, diffusion"),
    "baseline=none": (
        "baseline: nothing is chosen from this group here",
        "baseline@objective.baseline=none goes with objective=",
    ),
    "hydra/sweeper=search": ("hydra/sweeper=search", "add -m"),
    "penalty@objective.penalty=huber objective=reverse_kl": (
        "penalty@objective.penalty: the choice that is made of objective has no penalty",
    ),
    "target.side": ("target.side", "EQUAL"),
    "trainer.batch_size=${bar}": ("bar", "trainer.batch_size"),
    # entries of lists
    "exploration=mixture +exploration@exploration.components.0=on_policy": (
        "+exploration@exploration.components.0=on_policy: exploration.components is a list, which takes no choices",
        "type exploration.components='[{_target_:gfn_vi.exploration.tilted.OnPolicy,...},...]'",
    ),
    "exploration=mixture exploration@exploration.components.1=on_policy": ("exploration.components is a list",),
    "exploration=mixture exploration.weights[0]=2": ("an entry of a list is named with a point: type exploration.weights.0=2",),
    "sampler.hidden.7=3": ("sampler.hidden.7=3: sampler.hidden has no such entry: type sampler.hidden=[...]",),
    "~sampler.hidden.0": ("~sampler.hidden.0: an entry of a list is not deleted by itself: type sampler.hidden=[...]",),
    # numbers
    "trainer.batch_size=1.5": ("trainer.batch_size=1.5", "whole number >= 1"),
    "trainer.batch_size=0": ("trainer.batch_size=0", "whole number >= 1"),
    "trainer.n_trajectories=0": ("trainer.n_trajectories=0", "whole number >= 1"),
    "replicas=0": ("replicas=0", "whole number >= 1"),
    "seed=-1": ("seed=-1", "whole number >= 0"),
    "seed=[0,1]": ("seed=[0, 1]", "replicas=1"),
    "seed=[0,-1] replicas=2": ("seed=[0, -1]", "whole number >= 0"),
    "seed=[a,1] replicas=2": ("seed=['a', 1]", "whole number >= 0"),
    "seed=[4,7,4] replicas=3 optimizer.lr_log_Z=[1,2,1]": ("seed=[4, 7, 4]", "replicas 0 and 2", "optimizer.lr_*"),
    "tuning_seeds=3": ("tuning_seeds=3", "list of whole numbers"),
    "tuning_seeds=[1.5]": ("tuning_seeds=[1.5]", "list of whole numbers"),
    "threads=true": ("threads=True", "whole number >= 0"),
    "trainer=3": ("trainer=3", "keys with values of their own"),
    "output_root=null": ("output_root=None", "name of a folder"),
    "experiment_name=../x": ("experiment_name=../x", "below output_root"),
    "experiment_name=/tmp/x": ("experiment_name=/tmp/x", "below output_root"),
    "exploration=stop_bias trainer.n_trajectories=abc": ("abc", "exploration.bias.duration"),
    # signatures
    "target.side=abc": ("target.side=abc", "a whole number"),
    "target.side=3.5": ("target.side=3.5", "a whole number"),
    "target.r0=nan": ("target.r0=nan", "a number"),
    "sampler.hidden=64": ("sampler.hidden=64", "a list"),
    "sampler.hidden=[a]": ("sampler.hidden=['a']", "each a whole number"),
    "optimizer.lr_forward=abc": ("optimizer.lr_forward=abc", "a number or a list"),
    "+target.sied=3": ("target.sied=3", "Hypergrid has no such key", "did you mean target.side?"),
    "~target.side": ("target.side=nothing", "Hypergrid needs a whole number"),
    # a choice that is given as the value of a key
    "objective.penalty=huber": ("objective.penalty=huber", "not a text", "penalty@objective.penalty=huber"),
    "optimizer.schedule=cosine": ("optimizer.schedule=cosine", "rate_schedule@optimizer.schedule=cosine"),
    "target.reward=cosine": ("target.reward=cosine", "not a text", "reward@target.reward=cosine"),
    "exploration=replay exploration.source=stop_bias": ("exploration.source", "exploration@exploration.source=stop_bias"),
    "exploration=epsilon_uniform exploration.epsilon=linear": ("not a text", "schedule@exploration.epsilon=linear"),
    "objective=reverse_kl objective.baseline=none": ("objective.baseline", "baseline@objective.baseline=none"),
    "objective=reverse_kl objective.weighting=plain": ("objective.weighting", "weighting@objective.weighting=plain"),
    "logger=wandb logger.mode=foo": ("logger.mode=foo", "offline, online, disabled"),
    "target._target_=gfn_vi.targets.grids.hypergrid.Hypergird": ("target._target_", "did you mean Hypergrid?"),
    "target._target_=gfn_vi.targets.hipergrid.Hypergrid": ("target._target_", "no hipergrid in gfn_vi.targets"),
    "target._target_=my_module.MyTarget": ("no module named my_module", "current folder"),
    "target._target_=gfn_vi.objectives.penalties.Square ~target.side ~target.r0 ~target.n_dims ~target.reward "
    "~target.max_enumerated_states": ("target=gfn_vi.objectives.penalties.Square", "lacks", "log_reward", "DiscreteTarget"),
    # values
    "target.side=-3": ("target.side=-3", ">= 2"),
    "target.r0=0": ("target.r0=0", "positive"),
    "target.r0=-1": ("target.r0=-1", "positive"),
    "dtype=float16": ("dtype=float16", "float32 or float64"),
    "device=foo": ("device=foo", "cpu, cuda"),
    "optimizer.lr_forward=[0.1,0.2] replicas=3": ("optimizer.lr_forward=[0.1, 0.2]", "replicas=3"),
    "evaluation.headline={metric:jds,direction:minimize,worst:1,words:JSD}": ("evaluation.headline.metric=jds", "mean jsd?"),
    "evaluation.headline={metric:sampled_elbo,direction:maximize,worst:0,words:ELBO}": (
        "evaluation.headline.metric=sampled_elbo",
        "expected one of elbo, ess, eubo, jsd",
    ),
    "evaluation.headline.metric=jsd": (
        "evaluation.headline.metric: ",
        "as a whole, evaluation.headline={metric:...,direction:...,worst:...,words:...}",
    ),
    "evaluation.metrics=null": ("evaluation.metrics=None", "group of keys", "evaluation.metrics.NAME=null"),
    "evaluation.observers=null": ("evaluation.observers=None", "group of keys"),
    "evaluation.reports=null": ("evaluation.reports=None", "group of keys"),
    # parts that do not fit
    "+metric@evaluation.metrics.edges=graphs": (
        "evaluation.metrics.edges=GraphMetrics",
        "Hypergrid lacks adjacency, held_out_log_likelihood, ",
        "of GraphTarget",
        "use target=dag",
    ),
    "objective=detailed_balance sampler.flow=false": ("sampler.flow=False", "sampler.flow=null"),
    "objective=wake_sleep baseline@objective.baseline=leave_one_out": ("objective.baseline", "baseline=none"),
    "objective=chi_square baseline@objective.baseline=global_log_z": ("objective.baseline", "baseline=leave_one_out"),
    "objective=reverse_kl exploration=replay weighting@objective.weighting=unweighted": ("objective.baseline", "baseline=none"),
    "objective=forward_kl weighting@objective.weighting=unweighted": ("objective.baseline", "baseline=none"),
    "exploration=replay exploration.fraction=0.999": ("exploration.fraction=0.999", "expected some of both"),
    "objective=reverse_kl exploration=replay": ("exploration=Replay", "weighting@objective.weighting=unweighted"),
    "objective=modified_detailed_balance target=tiny_dag": (
        "objective=ModifiedDetailedBalance: ",
        "every state can stop",
        "detailed_balance",
    ),
    "sampler=tabular target.max_enumerated_states=10": ("sampler=tabular", "sampler=mlp"),
    "objective=reverse_kl baseline@objective.baseline=leave_one_out trainer.batch_size=1": ("trainer.batch_size=1", "at least 2"),
    "rate_schedule@optimizer.schedule=plateau_on_exact_jsd evaluation=sampled": ("optimizer.schedule", "evaluation=exact"),
}


def assert_refused(outcome: Outcome, *expected: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: "), outcome.err
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert outcome.out == ""
    for text in expected:
        assert text in outcome.err


@pytest.mark.parametrize("arguments", REFUSED)
def test_one_line_and_nothing_on_disk(arguments: str, tmp_path: Path) -> None:
    words = arguments.split()
    keys = {word.partition("=")[0].lstrip("~+") for word in words}
    # small where the argument under test says nothing, so that a refusal that is missing shows after a second
    small = [word for word in (*SMALL, "trainer.n_trajectories=16") if word.partition("=")[0] not in keys]
    if "tiny_dag" in arguments:
        small.remove("target.side=4")
    if "tabular" in arguments or "sampler=null" in arguments:
        small.remove("sampler.hidden=[16]")
    outcome = train([*words, *(small if "trainer=3" not in words else [])], tmp_path / "here")
    assert_refused(outcome, *REFUSED[arguments])
    assert files_below(tmp_path / "here") == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(tmp_path: Path) -> None:
    assert_refused(train(["device=cuda"], tmp_path / "here"), "device=cuda", "device=cpu")
    assert files_below(tmp_path / "here") == []


def test_the_way_out_that_the_message_names_works(tmp_path: Path) -> None:
    unweighted = ["weighting@objective.weighting=unweighted", "baseline@objective.baseline=none"]
    replay = ["objective=reverse_kl", "exploration=replay", *unweighted]
    assert train([*SMALL, "trainer.n_trajectories=32", *replay], tmp_path / "here").code == 0


@pytest.mark.parametrize("root", ["file", "file/below"])
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_output_folder_that_cannot_be_written(root: str, flags: list[str], tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "file").write_text("not a folder")
    outcome = train([*flags, *SMALL, "trainer.n_trajectories=16", f"output_root={root}"], here)
    assert_refused(outcome, "cannot write", "output_root")
    assert files_below(here) == ["file"]


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["-m"]])
def test_other_modes_answer_in_one_line_too(flags: list[str], tmp_path: Path) -> None:
    outcome = train([*flags, "target=hypergird"], tmp_path / "here")
    assert outcome.code == 2
    choices = ", ".join(sorted(path.stem for path in (ROOT / "configs" / "target").glob("*.yaml")))
    line = f"error: target=hypergird: no such choice; did you mean hypergrid?; choices: {choices}"
    assert outcome.err.splitlines() == [line]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "def broken(x: int) -> None: raise ValueError('x must be odd')",
            "target=my_code.broken: cannot be built: x must be odd",
        ),
        (
            "import no_such_module\ndef broken(x: int) -> None: ...",
            "my_code cannot be imported: No module named 'no_such_module'",
        ),
    ],
)
def test_a_user_class_that_refuses(body: str, expected: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "my_code.py").write_text(body)
    (here / "conf" / "target").mkdir(parents=True)
    (here / "conf" / "target" / "mine.yaml").write_text("_target_: my_code.broken\nx: 4\n")
    assert_refused(train(["--config-dir", "conf", "target=mine"], here), expected)
    assert not (here / "outputs").exists()


def test_a_mistake_inside_a_user_class_keeps_its_traceback(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "conf" / "target").mkdir(parents=True)
    (here / "my_code.py").write_text("def broken(x: int) -> None:\n    return [][x]\n")
    (here / "conf" / "target" / "mine.yaml").write_text("_target_: my_code.broken\nx: 4\n")
    outcome = train(["--config-dir", "conf", "target=mine"], here)
    assert outcome.code == 1
    assert "return [][x]" in outcome.err
    assert outcome.err.splitlines()[-1] == "IndexError: list index out of range"

"""Every key that a user writes is read by something, or refused in one line with the form to type, before work.

The command lines of a table run one after the other in one process, in an empty folder.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from gfn_vi.terminal.list_entries import list_of_choices
from system.command import ROOT, SMALL, _context, train

# command line -> what its line must say
REFUSED = {
    # keys that nothing reads
    "objective=reverse_kl baseline=none": ["baseline: ", "type baseline@objective.baseline=none"],
    "objective=reverse_kl +baseline=none": ["baseline=none: nothing reads this key; type baseline@objective.baseline=none"],
    "-m seed=0,1 objective=reverse_kl +baseline=none": ["type baseline@objective.baseline=none"],
    "+reward=cosine": ["type reward@target.reward=cosine"],
    "+penalty=huber": ["type penalty@objective.penalty=huber"],
    "+score=bde": ["score@target.score=bde goes with target=dag"],
    "exploration=stop_bias +schedule=cosine": ["type schedule@exploration.bias=cosine"],
    "+trainer.objective=reverse_kl": ["type objective=reverse_kl"],
    "+objective/penalty=huber": ["type penalty@objective.penalty=huber"],
    "+objective@foo=reverse_kl": ["objective@foo=reverse_kl: nothing reads what is put there; type objective=reverse_kl"],
    "+baseline@foo=none": ["baseline@foo=none: nothing reads what is put there; baseline@objective.baseline=none goes with"],
    "+seeds=3": ["seeds=3: nothing reads this key; did you mean seed?"],
    "seeds=3": ["seeds: no such key; did you mean seed?"],
    "+lr=0.1": ["did you mean optimizer.lr_forward, optimizer.lr_backward, optimizer.lr_flow or optimizer.lr_log_Z?"],
    "+trainer.n_traj=1": ["trainer.n_traj=1: nothing reads this key; did you mean trainer.n_trajectories?"],
    "++checkpoint.every=1": ["did you mean checkpoint.every_seconds?"],
    "+evaluation.n_sample=1": ["did you mean evaluation.n_samples?"],
    "trainer.batch-size=3": ["did you mean trainer.batch_size?"],
    "target/side=3": ["did you mean target.side?"],
    "-m +penalty=square,huber": ["penalty=square: ", "type penalty@objective.penalty=square"],
    "-m +repeat_num=range(3)": ["repeat_num=0: nothing reads this key"],
    "-m 'hydra.sweeper.grids=[{+seeds:3}]'": ["did you mean seed?"],
    "-m +optimizer.lr=0.1,0.2": ["optimizer.lr=0.1: Adam has no such key"],
    "-m hydra/sweeper=search ++objective.baseline=none optimizer.lr_log_Z=interval(0.1,1)": ["TrajectoryBalance has no such key"],
    "+width=16 +depth=2 'sampler.hidden=[${width}]'": ["depth=2: nothing reads this key"],
    "+my.width=16 +my.depth=2 'sampler.hidden=[${my.width}]'": ["my.depth=2: nothing reads this key"],
    "+a='${b}' +b=1": ["a=", "nothing reads this key"],
    "plateau_factor=0.5": ["plateau_factor=0.5: nothing reads this key here", "optimizer.schedule.gamma"],
    "+logger.project=x": ["logger.project=x: nothing reads this key", "logger=csv has none"],
    "+hydra.job.nam=x": ["did you mean hydra.job.name?"],
    "-m +hydra.sweeper.max_loses=1": ["hydra.sweeper.max_loses: no such key; did you mean hydra.sweeper.max_losses?"],
    "+seed=3": ["seed: this key is there already: type seed=3"],
    "+arm=paper/reverse_kl": ["+arm: a choice of this group is made already: type arm=paper/reverse_kl"],
    "+experiment=quickstart": ["type experiment=quickstart"],
    "presets=smoke": ["presets: no such key; did you mean preset?"],
    "+experiments=quickstart": ["nothing reads this key; did you mean experiment?"],
    "evaluation.reports.mine=graphs": ["one more: +report@evaluation.reports.NAME=CHOICE"],
    "hydra.job.env_set.A=1": ["type +hydra.job.env_set.A=1"],
    "-m hydra.sweeper.n_trials=5": ["goes with -m hydra/sweeper=search; keys of hydra.sweeper", "rates_in_replicas\n"],
    "-m 'hydra.sweeper.params={seed:\"0,1\"}'": ["an axis is a word of its own: -m seed=a,b"],
    "-m hydra.sweeper.params.seed=0,1": ["an axis is a word of its own: -m seed=0,1"],
    "-m hydra.launcher=null": ["hydra.launcher=null: expected keys"],
    "'evaluation.metrics={}'": ["evaluation.metrics={}: ", "{} changes nothing; one less is evaluation.metrics.NAME=null"],
    "checkpoint=null": ["checkpoint=None: expected keys", "checkpoint.KEY=..."],
    "logger=wandb +logger.name=x": ["logger.name=x: nothing reads this key: the program gives", "leave it out"],
    "-m +optimizer.n_replicas=3": ["optimizer.n_replicas=3: nothing reads this key: the program gives"],
    "n_jobs=two": ["n_jobs: no such key; hydra.launcher.n_jobs=two goes with -m hydra/launcher=local"],
    "hydra.run.dir=here": ["hydra.run.dir=here: ", "set output_root"],
    "hydra.sweeper.max_losses=3": ["add -m"],
    "hydra/launcher=basic": ["hydra/launcher=basic: a launcher is for several runs: add -m"],
    **{
        f"~{key}": [f"{key}=nothing: a run needs this key: leave out ~{key}"]
        for key in ("seed", "checkpoint", "objective", "trainer.batch_size", "evaluation.every", "output_root")
    },
    "~foo": ["~foo: there is no such key"],
    # a text where a part belongs
    "-m objective.penalty=huber,square": ["objective.penalty=huber: ", "penalty@objective.penalty=huber"],
    "objective.penalty=hubert": ["penalty@objective.penalty=huber", "choices: huber, log_cosh, square"],
    "-m seed=0,1 evaluation.metrics.exact=sampled": ["metric@evaluation.metrics.exact=sampled"],
    "+evaluation.metrics.more=sampled": ["+metric@evaluation.metrics.more=sampled"],
    "evaluation.metrics.more=sampled": ["one more: +metric@evaluation.metrics.NAME=CHOICE"],
    "evaluation.references=nuts": ["reference@evaluation.references=nuts"],
    "-m seed=0,1 evaluation.quadrature=fine": ["evaluation.quadrature=fine: expected a part", "evaluation.quadrature.KEY=..."],
    "objective=reverse_kl objective.baseline=null": ["baseline@objective.baseline=..."],
    # choices
    "arm=reverse_kl": ["arm=paper/reverse_kl", "arm=dag_posterior/reverse_kl", "arm=eight_gaussians/reverse_kl"],
    "arm=paper/revers_kl": ["arm=paper/revers_kl: no such choice; did you mean arm=paper/reverse_kl?"],
    "evaluation=null": ["evaluation=null: a group needs a choice", "both, exact, gradients"],
    "-m objective=null,reverse_kl": ["a group needs a choice"],
    "objective=3": ["objective=3: a group needs a choice"],
    "objective=[reverse_kl,forward_kl]": [
        "objective=[reverse_kl,forward_kl]: expected one",
        "-m objective=reverse_kl,forward_kl",
    ],
    "-m seed=0,1 exploration=[on_policy]": ["exploration=[on_policy]: expected one choice", "; type exploration=on_policy"],
    "-m 'hydra.sweeper.grids=[{arm:[paper/reverse_kl,paper/forward_kl]}]'": [
        "arm=[paper/reverse_kl,paper/forward_kl]: expected one"
    ],
    "'objective=[reverse_kl,' 'forward_kl]'": ["the spaces took it apart"],
    "-m exploration=[on_policy,replay],stop_bias": ["several runs are -m exploration=on_policy,replay,stop_bias"],
    "arm=[paper/reverse_kl,paper/forward_kl]": ["-m arm=paper/reverse_kl,paper/forward_kl"],
    "rate_schedule@optimizer.schedule=[cosine]": ["; type rate_schedule@optimizer.schedule=cosine"],
    "-m objective=trajectory_balance,reverse_kl penalty@objective.penalty=huber": [
        "'hydra.sweeper.grids=[{objective:trajectory_balance,penalty@objective.penalty:huber},{objective:reverse_kl}]'"
    ],
    "-m objective=reverse_kl,forward_kl baseline@objective.baseline=none": [
        "'hydra.sweeper.grids=[{baseline@objective.baseline:none}]'"
    ],
    "-m target=gaussian,hypergrid target.dim=2": ["'hydra.sweeper.grids=[{target:gaussian,target.dim:2},{target:hypergrid}]'"],
    "-m target=gaussian,gmm25 target.dim=2": ["in the place of this word: 'hydra.sweeper.grids=[{target.dim:2}]'"],
    "-m target=tiny_dag,hypergrid_3x3,hypergrid target.r0=0.1": [
        "target=tiny_dag: target.r0: no such key",
        "'hydra.sweeper.grids=[{target:\"hypergrid_3x3,hypergrid\",target.r0:0.1},{target:tiny_dag}]'",
    ],
    # the grammar of overrides
    "target=dag target.data.path=a=b.csv": ["target.data.path=a=b.csv: ", "type 'target.data.path=\"a=b.csv\"'"],
    "target=dag target.data.path=datén.csv": ["U+00E9", "type 'target.data.path=\"datén.csv\"'"],
    "target=dag 'target.data.path=a;b'": ["type 'target.data.path=\"a;b\"'"],
    "target=dag 'target.data.path=my data (1).csv'": ["type 'target.data.path=\"my data (1).csv\"'"],
    "seed:3": ["seed:3: no = in it: type seed=3"],
    "seed = 3": ["seed = 3: no space around the equal sign: type seed=3"],
    "'seed = 3'": ["type seed=3"],
    "seed==3": ["type seed=3"],
    "=3": ["a key is missing"],
    "--seed 3": ["--seed: a key has no dashes in front: type seed=3"],
    "seed=\u22121": ["U+2212", "type seed=-1"],
    "\u2013m seed=0,1": ["U+2013", "type -m"],
    "optimizer.lr_forward=\u201c0.1\u201d": ["U+201C", "type 'optimizer.lr_forward=\"0.1\"'"],
    "-m seed=0,1,": ["seed=0,1,: a comma too many: type seed=0,1"],
    "-m seed=0, 1": ["seed=0, 1: the spaces took it apart"],
    "'sampler.hidden=[64,' 64]": ["'sampler.hidden=[64, 64]'"],
    "'sampler.hidden=[64,64'": ["[ and ] come in unequal numbers"],
    "-m seed=choice()": ["seed=choice(): no values"],
    "seed=0,1": ["seed=0,1: several values are a sweep: add -m", "seed=[0,1]"],
    "seed=range(3)": ["seed=range(3): several values are a sweep: add -m"],
    "evaluation.headline=metric:jsd evaluation.headline=direction:minimize": [
        "type 'evaluation.headline={metric:jsd,direction:minimize}'"
    ],
    "-m hydra.sweeper.grids=[seed:1]": ["hydra.sweeper.grids=['seed:1']: expected {key: values}"],
    # values
    "'optimizer.lr_forward=\"1e-3\"'": ["optimizer.lr_forward=1e-3: expected a number", "in quotes, leave them out"],
    "'seed=\"5\"'": ["seed=5: expected a whole number", "${oc.decode:${oc.env:NAME}}"],
    "trainer.n_trajectories=1e4": ["type 10000"],
    "pictures=yes": ["pictures=yes: expected true, false or null"],
    "-m hydra/launcher=local hydra.launcher.n_jobs=two": ["hydra.launcher.n_jobs=two: expected a whole number"],
    "-m hydra/launcher=local hydra.launcher.n_jobs=0": ["hydra.launcher.n_jobs=0: expected a number of jobs"],
    "-m hydra/sweeper=search target.side=interval(8,64)": [
        "target.side=interval(8,64): a search compares settings on one target"
    ],
    "-m hydra/sweeper=search trainer.batch_size=interval(8,64)": ["type 'trainer.batch_size=int(interval(8,64))'"],
    # an experiment of several runs
    "experiment=quickstart": ["6 values of arm", "add -m", "experiment=quickstart arm=paper/trajectory_balance"],
    "experiment=dag_posterior preset=smoke arm=dag_posterior/reverse_kl seed=0": ["2 values of target.data.n_nodes", "add -m"],
    "sweep=reverse_kl_rates": ["an interval of optimizer.lr_forward", "add -m"],
}


def _answers(lines: Sequence[Sequence[str]], folder: str, answers: str) -> None:
    """Run scripts/train.py with each of the command lines in this process; write exit status and both streams of each."""
    os.chdir(folder)
    main = importlib.import_module("gfn_vi.commands.train").main
    found = []
    for words in lines:
        sys.argv = [str(ROOT / "scripts" / "train.py"), *words]
        code: object = 0
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                main()
            except SystemExit as error:
                code = error.code
        found.append((code, out.getvalue(), err.getvalue()))
    Path(answers).write_text(json.dumps(found), encoding="utf-8")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """Command line -> exit status, stdout, stderr; in the folder that they ran in no file is left."""
    folder = tmp_path_factory.mktemp("here")
    found = folder.with_name("answers.json")
    lines = [shlex.split(line) for line in REFUSED]
    process: BaseProcess = _context().Process(target=_answers, args=(lines, str(folder), str(found)))
    process.start()
    process.join()
    assert [path for path in folder.rglob("*") if path.is_file()] == []  # Hydra itself makes the folder of hydra.run.dir
    return dict(zip(REFUSED, json.loads(found.read_text(encoding="utf-8")), strict=True))


@pytest.mark.parametrize("line", REFUSED)
def test_one_line_with_the_form_to_type(line: str, answers: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = answers[line]
    err = re.sub(r"\Acomposing \d+ runs \.\.\.\n", "", err)  # a machine that does other work may need over two seconds for it
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1, err
    assert "To append" not in err
    for part in REFUSED[line]:
        assert part in err


@pytest.mark.parametrize(
    "word",
    [
        *("objective=glob([reverse_kl,forward_kl])", "objective=glob(*_balance,exclude=[sub*,mod*])", "sampler={hidden:[8]}"),
        *("target.means=[[0,0]]", "seed=[5,6]", "hydra.sweeper.grids=[{objective:a}]", "objective=a,b", "mine=[a,b]"),
    ],
)
def test_lists_that_are_no_choices_pass(word: str) -> None:
    """Functions of Hydra's grammar, keys of a choice, values of other keys, and groups of a user's own."""
    assert list_of_choices([word]) is None
    assert list_of_choices([word, "objective=[a,b]"]) is not None


USERS = {
    "experiment/unpacked.yaml": "trainer: {n_trajectories: 32}\n",
    "experiment/misspelt.yaml": "# @package _global_\ntrainer: {n_trajectory: 32}\n",
    "experiment/mine.yaml": "# @package _global_\nwidth: 8\nsampler: {hidden: ['${width}']}\n",
    "experiment/axes.yaml": "# @package _global_\nhydra: {sweeper: {params: {seed: '0,1', optimizer.lr_log_Z: 0.5}}}\n",
    "experiment/reports.yaml": (
        "# @package _global_\nevaluation: {reports: {mine: {_target_: gfn_vi.analysis.pictures.graphs.report, colour: 3}}}\n"
    ),
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("experiment=unpacked", "experiment=unpacked: nothing reads its keys (trainer.n_trajectories): the first line of"),
        ("experiment=misspelt", "trainer.n_trajectory=32: nothing reads this key; did you mean trainer.n_trajectories?"),
        ("-m seed=0,1 experiment=misspelt", "trainer.n_trajectory=32: nothing reads this key"),
        ("experiment=axes", "2 values of seed"),
        ("experiment=axes seed=0", "one run of it is experiment=axes optimizer.lr_log_Z=0.5"),
        ("experiment=reports", "evaluation.reports.mine.colour=3: report has no such key"),
        ("experiment=mine", ""),
        ("experiment=axes seed=0 optimizer.lr_log_Z=0.5", ""),
        ("+width=8 sampler.hidden=[${width}]", ""),
        ("-m +metric@evaluation.metrics.more=sampled evaluation.n_samples=10", ""),
    ],
)
def test_a_users_own_configuration(words: str, expected: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    for name, text in USERS.items():
        (folder / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "conf" / name).write_text(text)
    small = [word for word in SMALL if not word.startswith("sampler.hidden")]
    done = train([*words.split(), "--config-dir", "conf", *small, "trainer.batch_size=8", "trainer.n_trajectories=8"], folder)
    assert done.code == (2 if expected else 0), done.err
    assert expected in done.err
    assert (folder / "outputs").exists() == (not expected)

"""Runs over molecules from the command line: what is refused in one line, and a run whose proxy fails in its middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from system.command import train

RING = {"name": "phenyl", "smiles": "c1ccccc1", "attach": [0, 3]}
BLOCKS = {
    "good": [RING, {"smiles": "CO", "attach": [0, 1]}, {"smiles": "F", "attach": [0]}],
    "no_attachment": [RING, {"smiles": "CO", "attach": []}],
    "unreadable": [RING, {"name": "broken ring", "smiles": "c1ccccc", "attach": [0]}],
    "twice": [RING, {"smiles": "CO", "attach": [0, 1]}, {"smiles": "OC", "attach": [1, 0]}],
    "radical": [RING, {"smiles": "[CH3]", "attach": [0]}],
}
TREES = {
    "unknown": '{"blocks": [0, 1], "bonds": [[0, 1, 0, 0]]}\n{"blocks": [0, 3], "bonds": [[0, 1, 0, 0]]}\n',
    "no_tree": '{"blocks": [0, 1, 2], "bonds": [[0, 1, 0, 0]]}\n',
    "broken": '{"blocks": [0, 1], "bonds"',
}
SMALL = (
    "target=molecules",
    "target.max_blocks=3",
    "target.max_enumerated_states=0",
    "sampler=molecule_attention",
    "sampler.width=8",
    "pictures=false",
)
BUDGET = ("trainer.n_trajectories=64", "trainer.batch_size=16", "evaluation.n_samples=20", "evaluation.every=64")
FILE = "+metric@evaluation.metrics.correlation=correlation evaluation.metrics.correlation.held_out.path"
# arguments -> what the line must say
REFUSED = {
    "target.blocks=no_attachment.json": ("target.blocks=block 1 (CO)", "no attachment atoms"),
    "target.blocks=unreadable.json": ("target.blocks=block 1, broken ring (c1ccccc)", "RDKit reads no molecule"),
    "target.blocks=twice.json": ("target.blocks=block 2 (OC)", "block 1 (CO, attach [0, 1])", "drop one of them"),
    "target.blocks=radical.json": ("target.blocks=block 1 ([CH3])", "unpaired electrons"),
    "target.min_blocks=4": ("target.min_blocks=4", "target.max_blocks=3"),
    "target.beta=inf": ("target.beta=inf", "a finite number >= 0"),
    "proxy@target.proxy=seh": ("target.proxy.weights=None", "best_params.pkl.gz"),
    "proxy@target.proxy=seh target.proxy.weights=good.json": ("target.proxy.weights=good.json", "arrays and nothing else"),
    "proxy@target.proxy=user_function target.proxy.function=": ("target.proxy.function=", "my_module.my_function"),
    f"target.blocks=good.json {FILE}=unknown.jsonl": ("unknown.jsonl, line 2", "no block 3"),
    f"target.blocks=good.json {FILE}=no_tree.jsonl": ("no_tree.jsonl, line 1", "no tree"),
    f"target.blocks=good.json {FILE}=broken.jsonl": ("broken.jsonl, line 1", "no JSON"),
    "exploration=early_stop exploration.shortest=4": ("exploration.shortest=4", "at most 3 moves"),
    "exploration=replay exploration@exploration.source=early_stop exploration.source.shortest=4": ("at most 3 moves",),
    "exploration=local_search": ("exploration=LocalSearch", "exploration=backward_rollout"),
    "target=hypergrid sampler=molecule_attention": ("sampler=molecule_attention", "use target=molecules"),
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    for name, blocks in BLOCKS.items():
        (folder / f"{name}.json").write_text(json.dumps(blocks))
    for name, text in TREES.items():
        (folder / f"{name}.jsonl").write_text(text)
    return folder


@pytest.mark.parametrize("arguments", REFUSED)
def test_one_line_and_no_run(arguments: str, here: Path) -> None:
    words = arguments.split()
    replaced = {word.partition("=")[0] for word in words} & {"target", "sampler"}
    small = [word for word in SMALL if word.partition("=")[0].partition(".")[0] not in replaced]
    outcome = train([*small, *BUDGET, *words], here)
    assert outcome.code == 2, outcome
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert outcome.out == ""
    for text in REFUSED[arguments]:
        assert text in outcome.err
    assert not (here / "outputs").exists()


# Answers every molecule until it has been asked for that many, then one of them with no number.
LATE = """
asked = 0

def late(smiles):
    global asked
    asked += len(smiles)
    return [float("nan") if asked > {most} and i == 0 else 0.01 * len(text) for i, text in enumerate(smiles)]
"""


def test_a_value_that_is_no_number_in_the_middle_costs_one_interval(here: Path) -> None:
    """The molecule is named, and with a mended function the run goes on from its last checkpoint."""
    (here / "mine.py").write_text(LATE.format(most=50))
    mine = ["proxy@target.proxy=user_function", "target.proxy.function=mine.late"]
    arguments = [*SMALL, *BUDGET, *mine, "target.blocks=good.json", "target.proxy.cache_size=0", "checkpoint.every_seconds=0"]
    failed = train(arguments, here)
    assert failed.code == 2, failed
    assert "target.proxy.function=mine.late: is nan for " in failed.err.splitlines()[-1]
    (here / "mine.py").write_text(LATE.format(most=10**6))
    refused = train(arguments, here)
    assert refused.code == 2
    assert refused.err.startswith("error: mine.py has changed since outputs/default/")
    done = train([*arguments, "checkpoint.accept_changed_sources=true"], here)
    assert done.code == 0, done
    assert "resuming at " in (here / done.directory / "run.log").read_text()

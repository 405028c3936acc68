"""One spelling for each objective and each arm: figures and sentences take it from one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gfn_vi.analysis.pictures import arms
from gfn_vi.analysis.pictures.arms import in_sentence, label_of, parts

CLONE = Path(__file__).resolve().parents[2]
READ = [
    *(path for path in (CLONE / "gfn_vi/analysis").rglob("*.py") if path.name != "arms.py"),
    *(CLONE / "experiments").rglob("*.py"),
]


def test_every_shipped_objective_has_a_label_of_its_own() -> None:
    assert {path.stem for path in (CLONE / "configs/objective").glob("*.yaml")} <= set(arms.OBJECTIVES)
    assert len(set(arms.OBJECTIVES.values())) == len(arms.OBJECTIVES)


@pytest.mark.parametrize(
    ("arm", "label", "sentence"),
    [
        ("trajectory_balance", "TB", "on-policy TB"),
        ("reverse_kl_off_policy", "Reverse KL, off-policy", "off-policy reverse KL"),
        ("subtrajectory_balance_local_search", "SubTB, local search", "SubTB with local search"),
        ("log_variance_widened", "Log-variance, widened", "widened log-variance"),
        ("jensen_shannon_replay", "Jensen-Shannon, replay", "Jensen-Shannon with replay"),
        ("tsallis_alpha_off_policy", "Tsallis alpha, off-policy", "off-policy Tsallis alpha"),
        ("my_own_kl_off_policy", "My own KL, off-policy", "off-policy my own KL"),
    ],
)
def test_arms_in_legends_and_in_sentences(arm: str, label: str, sentence: str) -> None:
    assert label_of(arm) == label
    assert in_sentence(arm) == sentence


def test_the_parts_of_an_arm() -> None:
    assert parts("wake_sleep_off_policy") == ("wake_sleep", "_off_policy")
    assert parts("reverse_wake_sleep") == ("reverse_wake_sleep", "")


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(CLONE)))
def test_nobody_else_spells_them(path: Path) -> None:
    """A label that stands in another file, too, is spelled otherwise there sooner or later; "TB" and "DB" are also published."""
    labels = {label for label in arms.OBJECTIVES.values() if len(label) > 2} | {*arms.EXPLORATIONS.values()}
    texts = {node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)}
    assert not texts & labels

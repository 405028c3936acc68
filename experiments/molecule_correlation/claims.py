"""The conclusions of arXiv 2210.00580 on molecules (section 4.2, figure 2), against the table of runs.

They are about a grid of rates, so every seed at every rate counts as a replica of its arm: of two arms that do not differ at any
rate, these are distributed alike. Correlations are those at the end of training; higher is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from gfn_vi.experiments.molecule_correlation.settings import ARMS, Condition, Rates, conditions
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.pictures.arms import in_sentence
from gfn_vi.analysis.statistics.claims import FEWEST_REPLICAS, Claim, Groups, UnfinishedError, better, in_words, judged, together
from gfn_vi.analysis.statistics.estimates import interval

TB, KL = "trajectory_balance", "reverse_kl"
OFF_TB, OFF_KL = TB + OFF_POLICY, KL + OFF_POLICY
FIGURE = (TB, KL, OFF_TB, OFF_KL)  # what the paper's figure shows
NEVER_LEARN = ("forward_kl" + OFF_POLICY, "wake_sleep" + OFF_POLICY)
ABOUT_EQUAL = 0.05  # difference of two correlations
NO_CORRELATION = 0.1

Told = tuple[str, bool | None]
ByArm = Groups[str]  # arm -> Rates


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the conclusions at every beta, then which of them the published code would have led to, and what it changed."""
    found: Groups[Condition] = Groups(conditions(table))
    correct = [condition for condition in found if not condition.is_as_published]
    published = [condition for condition in found if condition.is_as_published]
    told = [claim for condition in (*correct, *published) for claim in _conclusions(condition, found[condition])]
    for beta, _ in published:
        told += _effects(beta, found.get(Condition(beta, False), Groups()), found[Condition(beta, True)])
    return told


def _conclusions(condition: Condition, by_arm: ByArm) -> list[Claim]:
    faults = "with the published faults, " if condition.is_as_published else ""
    beta = f"{faults}beta = {condition.beta:g}"
    judges: dict[str, Callable[[ByArm], Told]] = {
        "off-policy TB has the highest correlation": _highest,
        "off-policy TB varies least over rates and seeds": _least_variable,
        f"on-policy TB and reverse KL differ by at most {ABOUT_EQUAL}": _about_equal,
        "reverse KL has a lower correlation off-policy than on-policy": _worse_off_policy,
        f"off-policy forward KL and wake-sleep are never above {NO_CORRELATION}": _never_correlate,
    }
    of_paper = "(Not in the paper) " if condition.is_as_published else ""
    found = [judged(f"{of_paper}{beta}: {sentence}.", lambda judge=judge: judge(by_arm)) for sentence, judge in judges.items()]
    for arm in NEVER_LEARN:
        sentence = f"(Not in the paper) {beta}: {in_sentence(arm)} ends no higher than before training."
        found.append(judged(sentence, lambda arm=arm: _learns_nothing(by_arm[arm])))
    return found


def _effects(beta: float, correct: ByArm, published: ByArm) -> list[Claim]:
    return [
        judged(
            f"(Not in the paper) beta = {beta:g}: the correlation of {in_sentence(arm)} does not depend on the published faults.",
            lambda arm=arm: _effect(correct[arm], published[arm]),
        )
        for arm in published
    ]


def _effect(correct: Rates, as_published: Rates) -> Told:
    if set(correct) != set(as_published):
        raise UnfinishedError("the same rates with and without them")
    verdict = better(as_published.final, correct.final, lower_is_better=False)
    word = {True: "higher with them", False: "lower with them", None: "undecided"}[verdict]
    told = f"median correlation: without them {in_words(correct.final)}, with them {in_words(as_published.final)}: {word}"
    return told, None if verdict is None else False


def _highest(by_arm: ByArm) -> Told:
    values = {arm: by_arm[arm].final for arm in ARMS}
    verdicts = (better(values[OFF_TB], values[arm], lower_is_better=False) for arm in ARMS if arm != OFF_TB)
    return f"median correlation: {_several(values)}", together(verdicts)


def _least_variable(by_arm: ByArm) -> Told:
    """Compare distances of replicas from the median of their arm, of the arms of the paper's figure.

    An arm that never learns varies little, and is no rival.
    """
    distances = {arm: np.abs(by_arm[arm].final - np.median(by_arm[arm].final)) for arm in FIGURE}
    ranges = {in_sentence(arm): (by_arm[arm].final.min(), by_arm[arm].final.max()) for arm in FIGURE}
    told = ", ".join(f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in ranges.items())
    return f"range of correlations: {told}", together(
        better(distances[OFF_TB], distances[arm]) for arm in FIGURE if arm != OFF_TB
    )


def _about_equal(by_arm: ByArm) -> Told:
    """Judge by the differences at the same rate and seed: True within ABOUT_EQUAL, False outside, None if neither."""
    balance, divergence = by_arm[TB], by_arm[KL]
    if balance.seeds != divergence.seeds:
        raise UnfinishedError("on-policy TB and reverse KL with the same seeds")
    difference = divergence.final - balance.final
    told = f"median correlation: {_several({arm: by_arm[arm].final for arm in (TB, KL)})}; reverse KL - TB {in_words(difference)}"
    if len(difference) < FEWEST_REPLICAS:
        return told, None
    low, _, high = map(float, interval(difference))
    if low > ABOUT_EQUAL or high < -ABOUT_EQUAL:
        return told, False
    return told, True if low >= -ABOUT_EQUAL and high <= ABOUT_EQUAL else None


def _worse_off_policy(by_arm: ByArm) -> Told:
    values = {arm: by_arm[arm].final for arm in (OFF_KL, KL)}
    return f"median correlation: {_several(values)}", better(values[KL], values[OFF_KL], lower_is_better=False)


def _never_correlate(by_arm: ByArm) -> Told:
    """Judge by the end of training; undecided where samplers that have learned nothing are above the limit."""
    values = {arm: by_arm[arm].final for arm in NEVER_LEARN}
    told = ", ".join(
        f"{in_sentence(arm)} {in_words(of)}, {np.sum(of > NO_CORRELATION)} of {len(of)} above" for arm, of in values.items()
    )
    untrained = np.concatenate([by_arm[arm].initial for arm in NEVER_LEARN])
    if np.median(untrained) > NO_CORRELATION:
        return f"median correlation: {told}; but it is {in_words(untrained)} before training", None
    if any((of > NO_CORRELATION).any() for of in values.values()):
        return f"median correlation: {told}", False
    enough = min(map(len, values.values())) >= FEWEST_REPLICAS
    return f"median correlation: {told}", True if enough else None


def _learns_nothing(rates: Rates) -> Told:
    """Return whether an arm ends no higher than it began: False if it does, True if it ends lower, None if neither is decided."""
    verdict = better(rates.final, rates.initial, lower_is_better=False)
    return f"median correlation: {in_words(rates.final)}, before training {in_words(rates.initial)}", (
        None if verdict is None else not verdict
    )


def _several(values: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{in_sentence(arm)} {in_words(of)}" for arm, of in values.items())

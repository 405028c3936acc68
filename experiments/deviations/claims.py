"""Does the published comparison depend on what the published code did? The question of this experiment, as statements.

None of them is a claim of arXiv 2210.00580. With five replicas, a third of one of the 11 effects is expected to be decided by
chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from gfn_vi.experiments.deviations.conditions import NONE, conditions, published
from gfn_vi.experiments.deviations.ranking import kendall_tau, pairs, ranking
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.statistics.claims import Claim, UnfinishedError, better, in_words, judged
from gfn_vi.analysis.statistics.estimates import probability_of_improvement

Values = Mapping[str, np.ndarray]  # arm -> final JSD [R]


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the effect of each deviation on each setting that it touches, then the order of the settings and its winner."""
    by_deviation = conditions(table)
    as_published = published(table, by_deviation)
    correct = {arm: values for arm, values in by_deviation[NONE].items() if arm in as_published}
    off = {arm: values for arm, values in correct.items() if arm.endswith(OFF_POLICY)}
    return [
        *_effects(by_deviation),
        judged("The order of all settings is as published.", lambda: _order(correct, as_published)),
        judged("The order of the off-policy settings is as published.", lambda: _order(off, as_published)),
        judged("The best setting is the published one.", lambda: _winner(correct, as_published)),
    ]


def _effects(by_deviation: Mapping[str, Values]) -> list[Claim]:
    correct = by_deviation[NONE]
    return [
        _effect(deviation, arm, values, correct[arm])
        for deviation, arms in by_deviation.items()
        if deviation != NONE
        for arm, values in arms.items()
        if arm in correct
    ]


def _effect(deviation: str, arm: str, values: np.ndarray, correct: np.ndarray) -> Claim:
    low, estimate, high = map(float, probability_of_improvement(values, correct))
    verdict = better(values, correct)
    return Claim(
        f"{arm}: the JSD at the end does not depend on {deviation}.",
        f"as it should be {in_words(correct)}, deviating {in_words(values)}: "
        f"{ {True: 'better', False: 'worse', None: 'undecided'}[verdict] }; "
        f"P(deviating is better) {estimate:.2f} ({low:.2f} to {high:.2f})",
        None if verdict is None else False,
    )


def _order(correct: Values, as_published: Values) -> tuple[str, bool | None]:
    _require_two(correct)
    shared = {arm: as_published[arm] for arm in correct}
    tau, turned = kendall_tau(correct, shared), pairs(correct, shared).turned
    told = "; ".join(f"{x} before {y}" for x, y in turned) or "no pair"
    bounds = "" if np.isnan(tau.low) else f" ({tau.low:.2f} to {tau.high:.2f})"
    agrees = False if turned else True if math.isclose(tau.low, 1) else None  # equal orders have a tau one rounding below 1
    return f"Kendall's tau {tau.estimate:.2f}{bounds}; decided as it should be and turned over: {told}", agrees


def _require_two(settings: Values) -> None:
    """Raise UnfinishedError where there is no order, since fewer than two settings are finished in both conditions."""
    if len(settings) < 2:
        raise UnfinishedError("two settings, each as it should be and as published")


def _winner(correct: Values, as_published: Values) -> tuple[str, bool | None]:
    _require_two(correct)
    first, then = ranking(correct)[0], ranking({arm: as_published[arm] for arm in correct})[0]
    winners = f"as it should be {first} {in_words(correct[first])}, as published {then} {in_words(as_published[then])}"
    told = f"lowest median JSD: {winners}"
    if first != then:
        return told, False if better(correct[first], correct[then]) and better(as_published[then], as_published[first]) else None
    ahead = all(better(v[first], v[arm]) for v in (correct, as_published) for arm in correct if arm != first)
    return told, True if ahead else None

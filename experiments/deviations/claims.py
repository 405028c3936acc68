"""Does the published comparison depend on what the published code did? The question of this experiment, as statements."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from gfn_vi.analysis.claims import Claim, better, in_words
from gfn_vi.analysis.curves import curves
from gfn_vi.analysis.ranking import conditions, kendall_tau, ranking, turned_over
from gfn_vi.analysis.statistics import probability_of_improvement

DEVIATION = "config.deviation_name"
OFF = "_off_policy"

Values = Mapping[str, np.ndarray]


def claims(table: pd.DataFrame) -> list[Claim]:
    """The effect of each deviation on each setting that it touches, then the order of all settings and its winner."""
    final = {key: curve.final for key, curve in curves(table, "jsd", ["arm", DEVIATION], worst=math.log(2)).items()}
    by_deviation, published = conditions(final)
    correct = by_deviation.pop("none")
    found = [
        _effect(deviation, arm, values, correct[arm]) for deviation, arms in by_deviation.items() for arm, values in arms.items()
    ]
    on, off = ({arm: v for arm, v in correct.items() if arm.endswith(OFF) == wanted} for wanted in (False, True))
    return [
        *found,
        _order("The order of the settings, on- and off-policy together, is as published.", correct, published),
        _order("The order of the off-policy settings is as published.", off, {arm: published[arm] for arm in off}),
        _order("The order of the on-policy settings is as published.", on, {arm: published[arm] for arm in on}),
        _winner(correct, published),
    ]


def _effect(deviation: str, arm: str, values: np.ndarray, correct: np.ndarray) -> Claim:
    low, estimate, high = map(float, probability_of_improvement(values, correct))
    decided = better(values, correct) is not None
    return Claim(
        f"{arm}: the JSD at the end does not depend on {deviation}.",
        f"as it should be {in_words(correct)}, deviating {in_words(values)}; "
        f"P(deviating is better) {estimate:.2f} ({low:.2f} to {high:.2f})",
        False if decided else None,
    )


def _order(claim: str, correct: Values, published: Values) -> Claim:
    tau = kendall_tau(correct, published)
    turned = turned_over(correct, published)
    told = "; ".join(f"{x} before {y}" for x, y in turned) or "no pair"
    return Claim(
        claim,
        f"Kendall's tau {tau.estimate:.2f} ({tau.low:.2f} to {tau.high:.2f}); decided as it should be and turned over: {told}",
        False if turned else None,
    )


def _winner(correct: Values, published: Values) -> Claim:
    first, then = ranking(correct)[0], ranking(published)[0]
    return Claim(
        "The best setting is the published one.",
        f"lowest median JSD: as it should be {first} {in_words(correct[first])}, as published {then} {in_words(published[then])}",
        first == then,
    )

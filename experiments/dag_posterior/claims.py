"""The conclusions of arXiv 2210.00580 from its Table 2, against the table of runs, and the same at equal reward evaluations.

Replicas are graphs. "Orders of magnitude" is a factor of 100: a hundred times the lower JSD is still below the higher one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from gfn_vi.experiments.dag_posterior.budgets import Standing, smallest_totals
from gfn_vi.experiments.dag_posterior.table2 import REWARD_EVALUATIONS, ROUNDING, UPDATES, settings, standings
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.pictures.arms import in_sentence
from gfn_vi.analysis.statistics.claims import FEWEST_REPLICAS, Claim, Groups, UnfinishedError, better, in_words, judged, together
from gfn_vi.analysis.statistics.estimates import interval

TB, MDB, KL = "trajectory_balance", "modified_detailed_balance", "reverse_kl"
OFF_TB, OFF_MDB, OFF_KL = (name + OFF_POLICY for name in (TB, MDB, KL))
ON = (TB, KL)  # on-policy
ORDERS = 100.0
ABOUT_EQUAL = 2.0  # ratio of two JSDs
THRESHOLDS = {3: 1e-5, 4: 1e-4, 5: 5e-3}

Told = tuple[str, bool | None]


class Posterior(NamedTuple):
    """Results of the arms at one number of nodes: after all updates (end), and within `budget` reward evaluations (equal)."""

    size: int
    end: Mapping[str, Standing]
    equal: Mapping[str, Standing]
    budget: float


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the conclusions of section 4.3 at every size that has finished runs, then what the paper does not say."""
    posteriors = _posteriors(table)
    found = [claim for p in posteriors for claim in _of_paper(p)]
    return [*found, *(claim for p in posteriors for claim in _besides(p))]


def _posteriors(table: pd.DataFrame) -> list[Posterior]:
    found = settings(table)
    by_budget = standings(found)

    def of_size(budget: str, size: int) -> Groups[str]:
        return Groups({arm: standing for (arm, of), standing in by_budget[budget].items() if of == size})

    return [Posterior(d, of_size(UPDATES, d), of_size(REWARD_EVALUATIONS, d), b) for d, b in smallest_totals(found).items()]


def _of_paper(p: Posterior) -> list[Claim]:
    worse = "not worse" if p.size == 3 else "worse"
    far_below = [
        _claim(
            p,
            f"{in_sentence(arm)} is orders of magnitude below {words}",
            lambda arm=arm, others=others: _far_below(p, arm, others),
        )
        for arm in (OFF_TB, OFF_MDB)
        for words, others in {"on-policy TB and reverse KL": ON, "off-policy reverse KL": (OFF_KL,)}.items()
    ]
    return [
        *far_below,
        _claim(p, "on-policy TB and on-policy reverse KL are about equal", lambda: _equal(p)),
        _claim(p, f"reverse KL is {worse} off-policy than on-policy", lambda: _off_policy_kl(p)),
    ]


def _besides(p: Posterior) -> list[Claim]:
    found = [
        _claim(
            p,
            "at equal reward evaluations, too, off-policy TB is below TB and reverse KL on-policy and reverse KL off-policy",
            lambda: _at_budget(p),
            False,
        ),
        _claim(
            p,
            "at equal reward evaluations (of modified DB every visited state), off-policy TB is below off-policy modified DB",
            lambda: _steps_count(p),
            False,
        ),
    ]
    if p.size in THRESHOLDS:
        limit = THRESHOLDS[p.size]
        found.append(_claim(p, f"the JSD of off-policy TB is below {limit:g} on every graph", lambda: _below(p, limit), False))
    return found


def _claim(p: Posterior, sentence: str, judge: Callable[[], Told], in_paper: bool = True) -> Claim:
    return judged(f"{'' if in_paper else '(Not in the paper) '}d = {p.size}: {sentence}.", judge)


def _far_below(p: Posterior, arm: str, than: Sequence[str]) -> Told:
    best, others = p.end[arm].values, {name: p.end[name].values for name in than}
    told = f"median JSD at the end: {in_words(best)}; {_several(others)}"
    return told, together(better(ORDERS * best, values) for values in others.values())


def _equal(p: Posterior) -> Told:
    """Return text and verdict from the ratios on the same graph: True within a factor of two, False outside, None if neither."""
    tb, kl = p.end[TB], p.end[KL]
    _, of_tb, of_kl = np.intersect1d(tb.seeds, kl.seeds, return_indices=True)
    if not len(of_tb):
        raise UnfinishedError("on-policy TB and reverse KL on the same graph")
    ratio = np.log(np.maximum(kl.values[of_kl], ROUNDING) / np.maximum(tb.values[of_tb], ROUNDING))
    low, estimate, high = map(float, interval(ratio))
    told = f"median JSD at the end: {_several({TB: tb.values, KL: kl.values})}"
    told += f"; reverse KL / TB on the same graph {math.exp(estimate):.2g}"
    if len(ratio) < FEWEST_REPLICAS:
        return told, None
    told += f" ({math.exp(low):.2g} to {math.exp(high):.2g})"
    width = math.log(ABOUT_EQUAL)
    if low > width or high < -width:
        return told, False
    return told, True if -width <= low and high <= width else None


def _off_policy_kl(p: Posterior) -> Told:
    off, on = p.end[OFF_KL].values, p.end[KL].values
    verdict = better(on, off)
    told = f"median JSD at the end: {_several({OFF_KL: off, KL: on})}"
    return told, verdict if p.size != 3 or verdict is None else not verdict


def _at_budget(p: Posterior) -> Told:
    best = _trained(p, OFF_TB)
    others = {name: _trained(p, name) for name in (*ON, OFF_KL)}
    told = f"median JSD after {p.budget:,.0f} evaluations: off-policy TB {in_words(best)}; {_several(others)}"
    return told, together(better(best, values) for values in others.values())


def _steps_count(p: Posterior) -> Told:
    """Compare at equal reward evaluations: modified DB evaluates the reward of every state that it visits."""
    both = {name: _trained(p, name) for name in (OFF_TB, OFF_MDB)}
    return f"median JSD after {p.budget:,.0f} evaluations: {_several(both)}", better(*both.values())


def _trained(p: Posterior, arm: str) -> np.ndarray:
    if not p.equal[arm].is_trained:
        raise UnfinishedError(f"{in_sentence(arm)} with an evaluation within {p.budget:,.0f} reward evaluations")
    return p.equal[arm].values


def _below(p: Posterior, limit: float) -> Told:
    values = p.end[OFF_TB].values
    below = values < limit
    told = f"{below.sum()} of {len(values)} graphs; median {in_words(values)}, mean {values.mean():.3g}"
    return f"{told}, highest {values.max():.3g}", None if below.all() and len(values) < FEWEST_REPLICAS else bool(below.all())


def _several(values: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{in_sentence(arm)} {in_words(found)}" for arm, found in values.items())

"""What theory says of the noise of gradients, against the table of runs; none of it is in arXiv 2210.00580.

Slopes are those of a straight line through log10 of noise / gradient, one for each seed. One counts as that of theory within 0.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from gfn_vi.experiments.pathwise_variance.noise import ESTIMATORS, MIXTURE, SAMPLERS, by_setting, noises, varied

from gfn_vi.analysis.statistics.claims import FEWEST_REPLICAS, Claim, UnfinishedError, better, in_words, judged, together

PATHWISE, LANDING, SCORE, TB, LOG_VARIANCE = ESTIMATORS
OTHERS = (LANDING, SCORE, TB, LOG_VARIANCE)
BY_SCORES = (SCORE, TB, LOG_VARIANCE)
ROUNDING = 1e-6  # of the pathwise noise: what is below is none
NEAR = 0.03  # largest mean that counts as close to the optimum
TOLERANCE = 0.1

Told = tuple[str, bool | None]


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the statements on linear steps, on a network, and on a network in training."""
    rows = noises(table)
    return [claim for arm, words in SAMPLERS.items() for claim in _of(arm, words, rows)] + _along_training(rows)


def _of(arm: str, words: str, rows: pd.DataFrame) -> list[Claim]:
    def said(text: str, judge: Callable[[pd.DataFrame], Told], what: str) -> Claim:
        return judged(f"{words}: {text}", lambda: judge(_needed(varied(rows, arm, what), arm, what)))

    return [
        said("at the optimum only the pathwise gradient has noise.", _at_the_optimum, "mean"),
        said(
            "towards the optimum noise / gradient of the pathwise gradient grows as 1 / sqrt(KL), that of the others stays.",
            lambda own: _slopes(_near(own), "kl", {PATHWISE: -0.5} | dict.fromkeys(OTHERS, 0.0)),
            "mean",
        ),
        said(
            "at every distance sticking the landing is less noisy than the score with leave-one-out.",
            lambda own: _less_noisy(own, LANDING, SCORE),
            "mean",
        ),
        said("far away the pathwise gradient is less noisy than the score with leave-one-out.", _far_away, "mean"),
        said(
            "log-variance is no noisier than leave-one-out, with which it agrees; TB with the true log Z is, far away.",
            _by_scores,
            "mean",
        ),
        said(
            "with the dimension noise / gradient grows as sqrt(d) by scores, and not along the noise.",
            lambda own: _slopes(own, "dim", dict.fromkeys(BY_SCORES, 0.5) | {PATHWISE: 0.0, LANDING: 0.0}),
            "dim",
        ),
        said(
            "with the number of steps noise / gradient grows as sqrt(T) by scores and pathwise, and not sticking the landing.",
            lambda own: _slopes(own, "n_steps", dict.fromkeys((*BY_SCORES, PATHWISE), 0.5) | {LANDING: 0.0}),
            "n_steps",
        ),
    ]


def _needed(rows: pd.DataFrame, arm: str, what: str) -> pd.DataFrame:
    if rows[what].nunique() < 2:
        raise UnfinishedError(f"{arm} at several values of {what}")
    return rows


def _values(rows: pd.DataFrame, estimator: str, name: str = "relative") -> np.ndarray:
    return rows.loc[rows["estimator"] == estimator, name].to_numpy(dtype=np.float64)


def _at_the_optimum(rows: pd.DataFrame) -> Told:
    own = rows[rows["kl"] == 0]
    if own.empty:
        raise UnfinishedError("a target of mean 0 and covariance 1")
    noise = _values(own, PATHWISE, "noise")
    shares = {name: _values(own, name, "noise") / noise for name in OTHERS}
    told = f"noise: pathwise {in_words(noise)}; largest share of it of another {max(map(np.max, shares.values())):.1e}"
    if len(noise) < FEWEST_REPLICAS:
        return told, None
    return told, all(bool((share < ROUNDING).all()) for share in shares.values())


def _near(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["mean"] > 0) & (rows["mean"] <= NEAR)]


def _slopes(rows: pd.DataFrame, what: str, expected: Mapping[str, float]) -> Told:
    """Judge whether the slopes in log10 of `what` are those expected, of every seed."""
    if rows[what].nunique() < 2:
        raise UnfinishedError(f"several values of {what}")
    told, verdicts = [], []
    for estimator, slope in expected.items():
        values = by_setting(rows, what, estimator, "relative")
        found = np.polyfit(np.log10(values.index.to_numpy(dtype=np.float64)), np.log10(values.to_numpy()), 1)[0]
        told.append(f"{ESTIMATORS[estimator]} {in_words(found)}, expected {slope:g}")
        inside = np.abs(found - slope) < TOLERANCE
        verdicts.append(bool(inside.all()) if len(found) >= FEWEST_REPLICAS and inside.all() == inside.any() else None)
    return f"slopes: {'; '.join(told)}", together(verdicts)


def _less_noisy(rows: pd.DataFrame, first: str, second: str) -> Told:
    told, verdicts = [], []
    for kl, own in rows[rows["kl"] > 0].groupby("kl"):
        one, other = _values(own, first), _values(own, second)
        told.append(f"KL {kl:.2g}: {np.median(one):.3g} and {np.median(other):.3g}")
        verdicts.append(better(one, other))
    return f"noise / gradient, medians: {', '.join(told)}", together(verdicts)


def _far_away(rows: pd.DataFrame) -> Told:
    own = rows[rows["kl"] == rows["kl"].max()]
    one, other = _values(own, PATHWISE), _values(own, SCORE)
    return f"noise / gradient: pathwise {in_words(one)}, score {in_words(other)}", better(one, other)


def _by_scores(rows: pd.DataFrame) -> Told:
    own = rows[rows["kl"] == rows["kl"].max()]
    score, balance, variance = (_values(own, name) for name in BY_SCORES)
    apart = float(np.max(np.abs(variance / score - 1)))
    told = (
        f"noise / gradient: leave-one-out {in_words(score)}, TB {in_words(balance)}; log-variance differs by {apart:.1e} at most"
    )
    return told, together([apart < ROUNDING, better(score, balance)])


def _along_training(rows: pd.DataFrame) -> list[Claim]:
    def judge() -> Told:
        own = rows[rows["arm"] == MIXTURE]
        last = own[own["trajectories"] == own["trajectories"].max()]
        if last.empty:
            raise UnfinishedError(MIXTURE)
        # of the same gradient for all estimators, which differs between replicas
        noise = {name: _values(last, name, "noise") for name in ESTIMATORS}
        told = "; ".join(f"{ESTIMATORS[name]} {in_words(values)}" for name, values in noise.items())
        verdict = together(better(noise[LANDING], noise[name]) for name in ESTIMATORS if name != LANDING)
        return f"noise at KL {in_words(_values(last, LANDING, 'kl'))}: {told}", verdict

    text = "A network in training on a mixture: at the end sticking the landing is the least noisy of all."
    return [judged(text, judge)]

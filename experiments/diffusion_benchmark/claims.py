"""What the published table of diffusion samplers says (published.py), against the table of runs, and what it does not say.

The published runs see 7,500,000 trajectories; a statement is about the order of methods, which another budget may change.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from gfn_vi.experiments.diffusion_benchmark.settings import GAP, Setting, settings

from gfn_vi.analysis.pictures.arms import in_sentence
from gfn_vi.analysis.statistics.claims import FEWEST_REPLICAS, Claim, Groups, better, in_words, judged

TB, LV, SUBTB, PATHWISE = "trajectory_balance", "log_variance", "subtrajectory_balance", "pathwise"
WIDENED, REPLAY, SEARCH = "_widened", "_replay", "_local_search"
LOG_Z_ERROR, BOUND_ERROR = "reweighted |log Z error|", "|log Z - ELBO|"
MEASURES: dict[str, Callable[[Setting], np.ndarray]] = {
    LOG_Z_ERROR: lambda setting: setting.reweighted_error,
    BOUND_ERROR: lambda setting: setting.bound_error,
    "W2": lambda setting: setting.final("w2"),
    "EUBO - ELBO": lambda setting: setting.final(GAP.metric),
    "error of a well's mass": lambda setting: setting.final("well_error"),
}
ABOUT_EQUAL = 2.0  # ratio of two errors, which the statements name
WELL_AIM = 0.02  # of the share of the left well of each pair

Told = tuple[str, bool | None]


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the statements; those whose runs are not done are undecided."""
    found = Groups(settings(table))

    def lower(claim: str, density: str, arm: str, than: str, measure: str = LOG_Z_ERROR) -> Claim:
        return judged(claim, lambda: _lower(found, density, arm, than, measure))

    return [
        lower("25 Gaussians: wider steps lower the reweighted log Z error of TB.", "gmm25", TB + WIDENED, TB),
        lower("25 Gaussians: wider steps lower the W2 of TB.", "gmm25", TB + WIDENED, TB, "W2"),
        lower(
            "25 Gaussians: local search lowers the reweighted log Z error of TB below that of wider steps.",
            "gmm25",
            TB + SEARCH,
            TB + WIDENED,
        ),
        lower(
            "25 Gaussians: local search lowers the W2 of TB below that of wider steps.", "gmm25", TB + SEARCH, TB + WIDENED, "W2"
        ),
        lower("25 Gaussians: pathwise reverse KL has a larger reweighted error than on-policy TB.", "gmm25", TB, PATHWISE),
        lower("25 Gaussians: forward-looking SubTB has a smaller reweighted error than TB.", "gmm25", SUBTB, TB),
        lower("Many wells: local search lowers the reweighted log Z error of TB.", "many_well", TB + SEARCH, TB),
        lower("Many wells: local search raises the |log Z - ELBO| of TB.", "many_well", TB, TB + SEARCH, BOUND_ERROR),
        lower("Funnel, s = 3: pathwise reverse KL has a smaller |log Z - ELBO| than TB.", "funnel_3", PATHWISE, TB, BOUND_ERROR),
        lower("Funnel, s = 3: forward-looking SubTB has a smaller reweighted error than TB.", "funnel_3", SUBTB, TB),
        lower("Funnel, s = 3: local search does not help, it raises the error of TB.", "funnel_3", TB + WIDENED, TB + SEARCH),
        *(
            judged(
                f"{name}: with wider steps |log Z - ELBO| of log-variance and TB differ by less than a factor of 2.",
                lambda density=density: _about_equal(found, density, LV + WIDENED, TB + WIDENED),  # type: ignore[misc]
            )
            for density, name in {"gmm25": "25 Gaussians", "funnel_3": "Funnel, s = 3", "many_well": "Many wells"}.items()
        ),
        *(
            lower(
                f"(Not in the paper) {name}: replay alone lowers the EUBO - ELBO of TB.", density, TB + REPLAY, TB, "EUBO - ELBO"
            )
            for density, name in {"gmm25": "25 Gaussians", "many_well": "Many wells"}.items()
        ),
        lower(
            "(Not in the paper) Many wells: local search brings the masses of wells closer to the truth.",
            *("many_well", TB + SEARCH, TB, "error of a well's mass"),
        ),
        judged(
            f"(An aim of ours) Many wells: TB with local search has every left well within {WELL_AIM} of its mass.",
            lambda: _every_well(found),
        ),
    ]


def _lower(found: Groups[tuple[str, str]], density: str, arm: str, than: str, measure: str) -> Told:
    """Judge that `arm` ends lower than `than` on a density, both arms of the experiment."""
    mine, theirs = (MEASURES[measure](found[name, density]) for name in (arm, than))
    told = f"median {measure} at the end: {in_sentence(arm)} {_words(mine)}, {in_sentence(than)} {_words(theirs)}"
    weak = {name: found[name, density].n_weak for name in (arm, than)} if measure == LOG_Z_ERROR else {}
    doubts = ", ".join(f"{in_sentence(name)} {n}" for name, n in weak.items() if n)
    return f"{told}; replicas with weights too weak for it: {doubts}" if doubts else told, better(mine, theirs)


def _about_equal(found: Groups[tuple[str, str]], density: str, one: str, other: str) -> Told:
    """Yes where no pair of replicas differs by more, no where the medians do and the test tells the arms apart."""
    x, y = (found[name, density].bound_error for name in (one, other))
    told = f"median {BOUND_ERROR} at the end: {in_sentence(one)} {_words(x)}, {in_sentence(other)} {_words(y)}"
    both = np.concatenate([x, y])
    if min(len(x), len(y)) >= FEWEST_REPLICAS and both.max() <= ABOUT_EQUAL * both.min():
        return told, True
    low, high = sorted([float(np.median(x)), float(np.median(y))])
    return told, False if high > ABOUT_EQUAL * low and better(x, y) is not None else None


def _every_well(found: Groups[tuple[str, str]]) -> Told:
    """Yes or no where it is true or false of every replica."""
    error = found[TB + SEARCH, "many_well"].final("well_error")
    within = error <= WELL_AIM
    told = f"largest error of a share: {_words(error)}; replicas within: {within.sum()} of {len(within)}"
    return told, None if len(error) < FEWEST_REPLICAS or within.any() != within.all() else bool(within.all())


def _words(values: np.ndarray) -> str:
    """Return the median and its interval; of replicas that failed (infinite) how many there are."""
    failed = int((~np.isfinite(values)).sum())
    return f"{np.median(values):.3g}, {failed} of {len(values)} failed" if failed else in_words(values)

"""The conclusions of arXiv 2210.00580 (section 4.1) on global and local baselines, against the table of runs.

All baselines of a setting have the rates that were published for the global one. Verdicts are those of the test of all claims
(Mann and Whitney at 5%), which does not use that replicas have seeds in common; the figure shows them by pairs of one seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from gfn_vi.experiments.hypergrid_baselines.comparisons import (
    AREA,
    FINAL,
    SETTINGS,
    Key,
    curves_of,
    heights,
)

from gfn_vi.analysis.pictures.arms import in_sentence
from gfn_vi.analysis.statistics.claims import Claim, Groups, better, in_words, judged


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the published conclusion at the end of training and along it, and what theory says of the other baselines."""
    found = curves_of(table)
    return [
        _mostly("A global baseline mostly beats a local one: JSD at the end.", found, "GlobalLogZ", "BatchMean", FINAL),
        _mostly("A global baseline mostly beats a local one: area under the JSD curve.", found, "GlobalLogZ", "BatchMean", AREA),
        _mostly("(Not in the paper) log Z as a baseline mostly beats none: area.", found, "GlobalLogZ", "NoBaseline", AREA),
        _mostly("(Not in the paper) Leaving the sample itself out mostly helps: area.", found, "LeaveOneOut", "BatchMean", AREA),
        judged(
            "(Not in the paper) The optimal constant improves on-policy reverse KL over log Z: area.", lambda: _optimal(found)
        ),
    ]


def _mostly(claim: str, found: Groups[Key], winner: str, loser: str, measure: str) -> Claim:
    def judge() -> tuple[str, bool | None]:
        verdicts = {arm: better(*(_jsd(found, arm, baseline, measure) for baseline in (winner, loser))) for arm in SETTINGS}
        won, lost = ([in_sentence(arm) for arm, verdict in verdicts.items() if verdict is wanted] for wanted in (True, False))
        told = (
            f"of {len(verdicts)} settings, {len(won)} for it ({', '.join(won) or 'none'}), "
            f"{len(lost)} against ({', '.join(lost) or 'none'}), the rest undecided"
        )
        half = len(verdicts) / 2
        return told, True if len(won) > half else False if len(lost) > half else None

    return judged(claim, judge)


def _optimal(found: Groups[Key]) -> tuple[str, bool | None]:
    best, log_z = (_jsd(found, "reverse_kl", baseline, AREA) for baseline in ("Optimal", "GlobalLogZ"))
    return f"mean JSD over training, median: optimal {in_words(best)}, log Z {in_words(log_z)}", better(best, log_z)


def _jsd(found: Groups[Key], arm: str, baseline: str, measure: str) -> np.ndarray:
    """Return the measure of each replica: [R]. Raises UnfinishedError where there is no finished run."""
    curve = found[arm, baseline]
    return heights(measure, curve.x, curve.values)

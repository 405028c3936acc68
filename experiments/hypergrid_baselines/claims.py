"""The conclusions of arXiv 2210.00580 (section 4.1) on global and local baselines, against the table of runs.

All baselines of a setting have the rates that were published for the global one.
"""

from __future__ import annotations

import pandas as pd
from gfn_vi.experiments.measures import WORST_JSD

from gfn_vi.analysis.reading.curves import curves
from gfn_vi.analysis.statistics.claims import Claim, Groups, better, in_words, judged
from gfn_vi.analysis.statistics.estimates import area_under_curve

NAMES = {"reverse_kl": "reverse KL", "forward_kl": "forward KL", "reverse_wake_sleep": "reverse wake-sleep"}
SIDES = {"": "on-policy", "_off_policy": "off-policy"}
BASELINE = "config.objective.baseline._target_"

Values = Groups[tuple[str, str]]  # (arm, class of the baseline) -> [R]


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the published conclusion at the end of training and along it, and what theory says of the other baselines."""
    found = {
        (arm, path.rsplit(".")[-1]): c for (arm, path), c in curves(table, "jsd", ["arm", BASELINE], worst=WORST_JSD).items()
    }
    final: Values = Groups({key: curve.final for key, curve in found.items()})
    area: Values = Groups({key: area_under_curve(curve.x, curve.values) for key, curve in found.items()})
    return [
        _mostly("A global baseline mostly beats a local one: JSD at the end.", final, "GlobalLogZ", "BatchMean"),
        _mostly("A global baseline mostly beats a local one: area under the JSD curve.", area, "GlobalLogZ", "BatchMean"),
        _mostly("(Not in the paper) log Z as a baseline mostly beats none: area.", area, "GlobalLogZ", "NoBaseline"),
        _mostly("(Not in the paper) Leaving the sample itself out mostly helps: area.", area, "LeaveOneOut", "BatchMean"),
        judged("(Not in the paper) The optimal constant improves on-policy reverse KL over log Z: area.", lambda: _optimal(area)),
    ]


def _mostly(claim: str, values: Values, winner: str, loser: str) -> Claim:
    settings = [(name + side, f"{NAMES[name]} {when}") for name in NAMES for side, when in SIDES.items()]

    def judge() -> tuple[str, bool | None]:
        verdicts = {words: better(values[arm, winner], values[arm, loser]) for arm, words in settings}
        won, lost = ([words for words, verdict in verdicts.items() if verdict is wanted] for wanted in (True, False))
        told = (
            f"of {len(verdicts)} settings, {len(won)} for it ({', '.join(won) or 'none'}), "
            f"{len(lost)} against ({', '.join(lost) or 'none'}), the rest undecided"
        )
        half = len(verdicts) / 2
        return told, True if len(won) > half else False if len(lost) > half else None

    return judged(claim, judge)


def _optimal(values: Values) -> tuple[str, bool | None]:
    best, log_z = values["reverse_kl", "Optimal"], values["reverse_kl", "GlobalLogZ"]
    return f"mean JSD over training, median: optimal {in_words(best)}, log Z {in_words(log_z)}", better(best, log_z)

"""Verdicts on the claims about Table 2, and numbers that turn them."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.dag_posterior.table2 import SIZE


def test_claims_of_the_paper_hold_for_its_own_numbers(judging: ModuleType, table: pd.DataFrame) -> None:
    """With graphs that differ by a factor of 1.5, every verdict is known."""
    found = {claim.claim: claim for claim in judging.claims(table)}
    assert len(found) == 27
    verdicts = {d: [claim.verdict for text, claim in found.items() if f"d = {d}:" in text] for d in (3, 4, 5)}
    # two far below two, TB equals reverse KL, off-policy reverse KL; then two at equal reward evaluations, and the limit
    assert verdicts[3] == [*["yes"] * 5, "undecided", *["yes"] * 3]
    assert verdicts[4] == ["yes"] * 9
    assert verdicts[5] == ["yes"] * 9
    assert [text.startswith("(Not in the paper)") for text in found] == [False] * 18 + [True] * 9
    told = found["d = 4: on-policy TB and on-policy reverse KL are about equal."].measured
    assert "on the same graph 1 (1 to 1)" in told
    told = found["(Not in the paper) d = 5: the JSD of off-policy TB is below 0.005 on every graph."].measured
    assert told.startswith("5 of 5 graphs; median 0.000544 (")


def altered(table: pd.DataFrame, arm: str, d: int, factor: float) -> pd.DataFrame:
    """With the JSD of one arm at one size times `factor`."""
    chosen = (table["arm"] == arm) & (table[SIZE] == d) & (table["metric"] == "jsd")
    return table.assign(value=np.where(chosen, factor * table["value"], table["value"]))


@pytest.mark.parametrize(
    ("arm", "d", "factor", "sentence", "verdict"),
    [
        ("trajectory_balance_off_policy", 5, 5, "off-policy TB is orders of magnitude below", "undecided"),
        ("trajectory_balance_off_policy", 5, 50, "off-policy TB is orders of magnitude below", "no"),
        ("reverse_kl", 5, 2.5, "about equal", "no"),
        ("reverse_kl", 5, 1.5, "about equal", "yes"),
        ("reverse_kl", 4, 0.3, "reverse KL is worse off-policy", "yes"),
        ("reverse_kl", 4, 10, "reverse KL is worse off-policy", "no"),
        ("reverse_kl_off_policy", 3, 0.1, "reverse KL is not worse off-policy", "yes"),
        ("reverse_kl_off_policy", 3, 10, "reverse KL is not worse off-policy", "no"),
        ("trajectory_balance_off_policy", 4, 1e6, "at equal reward evaluations, too", "no"),
        ("trajectory_balance_off_policy", 4, 1e6, "modified DB every visited state", "no"),
        ("trajectory_balance_off_policy", 4, 10, "is below 0.0001 on every graph", "no"),
    ],
)
def test_claims_can_fail(
    judging: ModuleType, table: pd.DataFrame, arm: str, d: int, factor: float, sentence: str, verdict: str
) -> None:
    claims = judging.claims(altered(table, arm, d, factor))
    claim = next(claim for claim in claims if f"d = {d}:" in claim.claim and sentence in claim.claim)
    assert claim.verdict == verdict, claim


def test_a_jsd_that_is_only_rounding_is_equal_to_another(judging: ModuleType, table: pd.DataFrame) -> None:
    """Exactly 0 too, which has no logarithm."""
    rounded = altered(altered(table, "trajectory_balance", 3, 0.0), "reverse_kl", 3, 1e-14)
    claim = next(
        claim for claim in judging.claims(rounded) if claim.claim.startswith("d = 3: on-policy TB and on-policy reverse")
    )
    assert claim.verdict == "yes"
    assert claim.measured.endswith("on the same graph 1 (1 to 1)")


def test_equal_on_most_graphs_is_not_decided(judging: ModuleType, table: pd.DataFrame) -> None:
    """On one of five the ratio is 5.5; of two graphs alone nothing is decided either."""
    other = table["value"].where(table["seed"] != 4, altered(table, "reverse_kl", 5, 5)["value"])
    for rows, interval in ((table.assign(value=other), "1.1 (1.1 to 5.5)"), (table[table["seed"] < 2], "on the same graph 1.1")):
        claim = next(
            claim for claim in judging.claims(rows) if claim.claim.startswith("d = 5: on-policy TB and on-policy reverse")
        )
        assert claim.verdict == "undecided"
        assert claim.measured.endswith(interval)

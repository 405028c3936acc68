"""Which molecules count as modes: those above a threshold that differ from one another (Bengio et al. 2021, arXiv 2106.04399)."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import MoleculeTarget

# Of the proxy's scale: 7 of the 8 that the sEH proxy is divided by.
DEFAULT_SHARE = 7 / 8


@runtime_checkable
class RewardedMolecules(MoleculeTarget, Protocol):
    """Molecules whose reward is (value / proxy.scale)^beta, the proxy's value being kept within its floor and ceiling."""

    beta: float
    proxy: Any


def check_modes(threshold: float | None, similarity: float, key: str) -> None:
    """Refuse a threshold or a similarity that no molecules could be told apart by. key: that holds both."""
    is_number = threshold is None or threshold > 0
    require(
        is_number, f"{key}.mode_threshold", threshold, "expected a number > 0 in the proxy's units, or null: 7/8 of its scale"
    )
    require(0 < similarity <= 1, f"{key}.mode_similarity", similarity, "expected a Tanimoto similarity in (0, 1]")


def least_log_reward(target: RewardedMolecules, threshold: float | None) -> float:
    """Return the log-reward of a value of the proxy at the threshold; None stands for DEFAULT_SHARE of the proxy's scale."""
    share = DEFAULT_SHARE if threshold is None else threshold / target.proxy.scale
    return target.beta * math.log(share)

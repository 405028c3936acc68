"""gfn_vi: GFlowNets and hierarchical variational inference side by side, exactly measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gfn_vi.verification.targets.findings import Report

__version__ = "0.1.0"


def check_target(target: Any, most_states: int = 50_000, n_walks: int = 64, seed: int = 0) -> Report:
    """Ask a target on the CPU everything that it owes (gfn_vi/core/protocols.py), and return what was found: print it to read it.

    most_states: a larger space is not listed but walked through; n_walks: random walks then; seed: of the walks, or of the points
    of a density. `report.faults` is empty where nothing is wrong.
    """
    from gfn_vi.verification.targets.report import check_target as checked

    return checked(target, most_states, n_walks, seed)

"""The objectives of the hypergrid settings of arXiv 2210.00580, section 4.1 (configs/arm/paper), and their names in figures.

An off-policy setting is the name of an objective with a suffix.
"""

from __future__ import annotations

from gfn_vi.analysis.pictures import arms

OFF_POLICY = arms.OFF_POLICY
OBJECTIVES = {
    name: arms.OBJECTIVES[name]
    for name in (
        "trajectory_balance",
        "modified_detailed_balance",
        "reverse_kl",
        "forward_kl",
        "wake_sleep",
        "reverse_wake_sleep",
    )
}

"""Names in figures of the hypergrid settings of arXiv 2210.00580, section 4.1 (configs/arm/paper).

An off-policy setting is the name of an objective with a suffix.
"""

from __future__ import annotations

OFF_POLICY = "_off_policy"
OBJECTIVES = {
    "trajectory_balance": "TB",
    "modified_detailed_balance": "Modified DB",
    "reverse_kl": "Reverse KL",
    "forward_kl": "Forward KL",
    "wake_sleep": "Wake-sleep",
    "reverse_wake_sleep": "Reverse wake-sleep",
}

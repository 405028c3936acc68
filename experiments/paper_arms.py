"""Names of the paper's hypergrid settings (configs/arm/paper) in figures; off-policy ones are an objective with a suffix."""

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

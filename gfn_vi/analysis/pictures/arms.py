"""What people read for objectives and arms: one spelling each, in figures, tables and sentences.

What is typed stays as it is typed: command lines, reports and columns of tables say trajectory_balance_off_policy. A legend says
"TB, off-policy", and a sentence "off-policy TB". An arm is the name of an objective with a suffix for where its trajectories come
from; without one they are the sampler's own.
"""

from __future__ import annotations

from gfn_vi.analysis.pictures.words import in_words

OBJECTIVES = {
    "trajectory_balance": "TB",
    "detailed_balance": "DB",
    "modified_detailed_balance": "Modified DB",
    "subtrajectory_balance": "SubTB",
    "flow_matching": "Flow matching",
    "log_variance": "Log-variance",
    "reverse_kl": "Reverse KL",
    "forward_kl": "Forward KL",
    "wake_sleep": "Wake-sleep",
    "reverse_wake_sleep": "Reverse wake-sleep",
    "symmetric_kl": "Symmetric KL",
    "jensen_shannon": "Jensen-Shannon",
    "chi_square": "Chi-square",
    "renyi_alpha": "Rényi alpha",
    "tsallis_alpha": "Tsallis alpha",
    # one objective by several estimators
    "reverse_kl_score": "Reverse KL, score",
    "reverse_kl_none": "Reverse KL, no baseline",
    "reverse_kl_batch_mean": "Reverse KL, batch mean",
    "reverse_kl_leave_one_out": "Reverse KL, leave-one-out",
    "reverse_kl_log_Z": "Reverse KL, log Z",
    "reverse_kl_optimal": "Reverse KL, optimal",
    "reverse_kl_plain": "Reverse KL, plain weights",
    "forward_kl_plain": "Forward KL, plain weights",
    "pathwise": "Reverse KL, pathwise",
    "sticking_the_landing": "Sticking the landing",
}
# For ticks and legends that have no room.
SHORT = {
    "trajectory_balance": "TB",
    "modified_detailed_balance": "MDB",
    "log_variance": "LV",
    "reverse_kl": "RKL",
    "forward_kl": "FKL",
    "wake_sleep": "WS",
    "reverse_wake_sleep": "RWS",
}
PEOPLE = frozenset({"Rényi", "Tsallis"})
OFF_POLICY = "_off_policy"
SIDES = {"": "On-policy", OFF_POLICY: "Off-policy"}
# Suffix of an arm -> what a panel or a row of such arms is called.
EXPLORATIONS = SIDES | {"_widened": "Widened", "_replay": "Replay", "_local_search": "Local search"}
# Suffix -> how a sentence says it of an objective.
_SAID = {
    "": "on-policy {}",
    OFF_POLICY: "off-policy {}",
    "_widened": "widened {}",
    "_replay": "{} with replay",
    "_local_search": "{} with local search",
}


def parts(arm: str) -> tuple[str, str]:
    """Return the name of the objective of an arm, and its suffix; the arm itself and "" where it has none of them."""
    suffix = next((end for end in EXPLORATIONS if end and arm.endswith(end)), "")
    return arm.removesuffix(suffix), suffix


def label_of(arm: str) -> str:
    """Return what a legend calls an arm or an objective, also one that is not shipped: "TB, off-policy", "My objective"."""
    objective, suffix = parts(arm)
    label = OBJECTIVES.get(objective) or in_words(objective)
    return f"{label}, {EXPLORATIONS[suffix].lower()}" if suffix else label


def in_sentence(arm: str) -> str:
    """Return how a sentence calls an arm: "off-policy forward KL", "TB with replay"."""
    objective, suffix = parts(arm)
    return _SAID[suffix].format(uncapitalized(label_of(objective)))


def uncapitalized(label: str) -> str:
    """Return a label as it stands inside of a sentence: "Reverse KL" is "reverse KL"; "TB", "SubTB" and people's names stay."""
    first = label.partition(" ")[0]
    stays = first in PEOPLE or any(letter.isupper() for letter in first[1:])
    return label if stays else label[:1].lower() + label[1:]

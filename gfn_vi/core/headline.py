"""The metric that a run is judged by: declared by what is measured, never known by who shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from gfn_vi.core.errors import require

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Headline:
    """The metric that a run is judged by, its direction, and how people call it.

    metric: its name in metrics.csv; direction: "minimize" or "maximize"; worst: the value that counts for a replica that became
    non-finite (in units of the metric; inf and -inf are allowed); words: the name for people, as in "exact JSD".
    """

    metric: str
    direction: Direction
    worst: float
    words: str

    @property
    def sign(self) -> int:
        """Return 1 where smaller is better and -1 where larger is better: sign * value is to be minimized."""
        return 1 if self.direction == "minimize" else -1

    @property
    def better_is(self) -> str:
        """Return "lower" or "higher", as in "lower is better"."""
        return "lower" if self.direction == "minimize" else "higher"

    def better(self, value: float, other: float) -> bool:
        """Return whether `value` is strictly better than `other`; a number is better than NaN."""
        return not math.isnan(value) and (math.isnan(other) or self.sign * value < self.sign * other)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, as they are written to status.json.

        An infinite `worst` is a text there, since JSON has no infinity.
        """
        return asdict(self) | {"worst": self.worst if math.isfinite(self.worst) else repr(self.worst)}


def headline_from(entry: object, key: str) -> Headline:
    """Return the headline that a mapping with the four fields describes.

    Raises ConfigError below `key` for a missing, unknown or wrong field.
    """
    fields = ("metric", "direction", "worst", "words")
    require(isinstance(entry, Mapping) and set(entry) == set(fields), key, entry, f"expected the keys {', '.join(fields)}")
    assert isinstance(entry, Mapping)
    for name in ("metric", "words"):
        require(isinstance(entry[name], str) and entry[name] != "", f"{key}.{name}", entry[name], "expected a name")
    require(entry["direction"] in get_args(Direction), f"{key}.direction", entry["direction"], "expected minimize or maximize")
    try:
        worst = float(entry["worst"])
    except (TypeError, ValueError):
        worst = math.nan
    require(not math.isnan(worst), f"{key}.worst", entry["worst"], "expected a number, inf or -inf")
    return Headline(entry["metric"], entry["direction"], worst, entry["words"])

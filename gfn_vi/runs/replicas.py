"""Which replicas a run holds: one is what its configuration says of it, and its seed. No two runs should hold the same one.

Replicas of equal settings and equal seeds draw equal random numbers (core/seeds.py): they are one measurement, in however many
folders it lies. A sweep refuses to train one twice; tables, figures, reports and status count it once and say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gfn_vi.core.errors import ConfigError, listed
from gfn_vi.core.seeds import RATES, replica_seeds
from gfn_vi.runs.directory import identity_digest
from gfn_vi.runs.identity import INFRASTRUCTURE_KEYS
from gfn_vi.runs.stored_config import items_of

TUNING = "tuning_seeds"
# Top-level keys that say which and how many replicas a run has, and where it was meant to lie.
NOT_OF_A_REPLICA = INFRASTRUCTURE_KEYS | {"experiment_name", "preset_name", "replicas", "seed", TUNING}
RATE_KEYS = tuple(f"optimizer.{name}" for name in RATES)
DIGITS = 16
MOST_SEEDS, MOST_HOLDERS = 8, 2  # in a message
HASHED = re.compile(r"-[0-9a-f]{8}$")  # the name of a run


class Replica(NamedTuple):
    """Digest of a replica's configuration without its seed, and the seed: equal ones are the same replica."""

    settings: str
    seed: int


@dataclass(frozen=True)
class Repeat:
    """The replicas of a run that runs before it hold, too: their places in it, and their seeds.

    is_whole: whether these are all of the run's; is_copy: whether one run holds them and no other.
    """

    run: str
    firsts: tuple[str, ...]
    places: tuple[int, ...]
    seeds: tuple[int, ...]
    is_whole: bool
    is_copy: bool

    @property
    def line(self) -> str:
        """Return in words what is left out of a count, and why."""
        seeds, holders = seeds_in_words(self.seeds), listed(self.firsts, MOST_HOLDERS, " and ")
        if self.is_whole:
            return f"left out: {self.run}, which repeats {holders} (seed {seeds})"
        return f"left out: seed {seeds} of {self.run}, which repeats {holders}"


def replicas_of(config: Mapping[str, Any]) -> list[Replica]:
    """Return the replicas of a run in their order, [R]; none where the configuration does not tell its seeds.

    config: flat, as stored_config.flatten makes it. Rates that are lists are those of each replica.
    """
    own = {key: value for key, value in config.items() if key.partition(".")[0] not in NOT_OF_A_REPLICA}
    n, seed = config.get("replicas"), config.get("seed")
    rates = {key: items for key in RATE_KEYS if len(items := items_of(own.get(key))) == n}
    try:
        seeds = replica_seeds(items_of(seed) or seed, n)  # type: ignore[arg-type]
        if not rates:
            settings = identity_digest(own, DIGITS)
            return [Replica(settings, seed) for seed in seeds]
        of_each = [own | dict(zip(rates, values, strict=True)) for values in zip(*rates.values(), strict=True)]
        return [Replica(identity_digest(each, DIGITS), seed) for each, seed in zip(of_each, seeds, strict=True)]
    except (ConfigError, TypeError):  # a damaged configuration
        return []


def repeats(runs: Mapping[str, Sequence[Replica]]) -> list[Repeat]:
    """Return the runs that hold replicas which runs before them hold.

    runs: name -> its replicas, in the order in which they count.
    """
    holder: dict[Replica, str] = {}
    found = []
    for name, replicas in runs.items():
        firsts = [holder.setdefault(replica, name) for replica in replicas]
        places = tuple(place for place, first in enumerate(firsts) if first != name)
        if places:
            others = tuple(dict.fromkeys(firsts[place] for place in places))
            seeds = tuple(replicas[place].seed for place in places)
            is_copy = len(others) == 1 and set(replicas) == set(runs[others[0]])
            found.append(Repeat(name, others, places, seeds, len(places) == len(replicas), is_copy))
    return found


def in_their_right(runs: Mapping[str, tuple[bool, Mapping[str, Any]]]) -> list[str]:
    """Return the names of runs in the order in which they count, where they hold the same replicas.

    What is done goes first, then what says on which seeds it was tuned (nobody may miss that), then a name that ends in a hash,
    then the shorter name: copies are called run_backup. runs: name -> (whether it is done, its flat configuration).
    """

    def rank(name: str) -> tuple[bool, bool, bool, int, str]:
        is_done, config = runs[name]
        return not is_done, not items_of(config.get(TUNING)), HASHED.search(name) is None, len(name), name

    return sorted(runs, key=rank)


def seeds_in_words(seeds: Iterable[int]) -> str:
    """Return seeds in order, as `0-4`, or `3, 4, 9` where they do not follow each other; of many the first ones."""
    found = sorted(set(seeds))
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]}-{found[-1]}"
    return listed(found, MOST_SEEDS)

"""The seed of each replica: of a run with seed s, replica r has s + r; of a run with a list of seeds, the r-th of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gfn_vi.core.errors import as_number, require

END_OF_SEEDS = 2**53
RATES = ("lr_forward", "lr_backward", "lr_flow", "lr_log_Z")


def is_whole(value: object) -> bool:
    """Return whether a value is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def replica_seeds(seed: int | Sequence[int], replicas: int) -> list[int]:
    """Return the seeds of R replicas: [R]. Raises ConfigError for anything but a whole number >= 0 or a list of R of them."""
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        expected = f"expected one whole number >= 0 or a list of replicas={replicas} of them, one each"
        require(len(seed) == replicas and all(is_whole(s) and s >= 0 for s in seed), "seed", seed, expected)
        seeds = list(seed)
    else:
        expected = f"expected a whole number >= 0, or a list of them, one per replica{as_number(seed)}"
        require(is_whole(seed) and seed >= 0, "seed", seed, expected)
        seeds = [seed + r for r in range(replicas)]
    require(max(seeds) < END_OF_SEEDS, "seed", seed, "expected seeds below 2^53: tables hold these to the last digit")
    return seeds


def check_seeds(seed: int | Sequence[int], replicas: int, optimizer: Mapping[str, object]) -> None:
    """Raise ConfigError for what is no seed, and where two replicas have the same seed and the same rates.

    optimizer: its keys, of which lr_* may be lists of R.
    """
    seeds = replica_seeds(seed, replicas)
    lists = [value for key in RATES if _has_length(value := optimizer.get(key), replicas)]
    seen: dict[tuple[object, ...], int] = {}
    for r, own in enumerate(zip(seeds, *lists, strict=True)):
        first = seen.setdefault(own, r)
        expected = (
            f"replicas {first} and {r} have the same seed and the same rates; give them other seeds, or lists of optimizer.lr_*"
        )
        require(first == r, "seed", seed, expected)


def _has_length(value: object, replicas: int) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == replicas

"""Objects that a sampler is judged on: read from a file, or drawn from the uniform policy, the same in every run."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core import user_files
from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.evaluation.exact.ancestors import distinct_states

KEY = "evaluation.metrics.correlation.held_out"
FEWEST = 10  # objects: a correlation of fewer says nothing, and their resamples may be all alike


class HeldOutObjects:
    """Objects of a file, repetitions included, or else those that differ among `n_objects` draws from the uniform policy."""

    def __init__(self, path: str | None, digest: str | None, n_objects: int, seed: int) -> None:
        """path: a file that the target can read; digest: of its content when the run was named, or null.

        n_objects, seed: of the draw where there is no file. The seed is not the run's, so that all runs share the objects.
        """
        enough = is_whole(n_objects) and n_objects >= FEWEST
        require(enough, f"{KEY}.n_objects", n_objects, f"expected a whole number >= {FEWEST}")
        require(is_whole(seed) and seed >= 0, f"{KEY}.seed", seed, "expected a whole number >= 0")
        self.path, self.digest, self.n_objects, self.seed = path, digest, n_objects, seed

    def of(self, target: DiscreteTarget) -> Tensor:
        """Return the objects of a target: [M, *state], M >= 10. Raises ConfigError for fewer, and for one that cannot stop."""
        objects = self._drawn(target) if self.path is None else self._read(target, self.path)
        objects = objects.to(target.initial(1).device)
        key, found = ("n_objects", self.n_objects) if self.path is None else ("path", self.path)
        unable = (~target.forward_mask(objects)[..., -1]).nonzero()[:, 0].tolist()
        expected = f"object number {unable[0] if unable else 0} cannot be an end of a trajectory: leave it out"
        require(not unable, f"{KEY}.{key}", found, expected)
        differ = len(distinct_states(objects)[0])
        among = "" if differ == len(objects) else f" that differ, among {len(objects)},"
        few = f"{differ} objects{among} are too few for a correlation, expected {FEWEST} or more"
        require(differ >= FEWEST, f"{KEY}.{key}", found, f"{few}; use more, or an evaluation without this metric")
        return objects

    def _read(self, target: DiscreteTarget, path: str) -> Tensor:
        read_objects = getattr(target, "read_objects", None)
        unable = f"{type(target).__name__} reads no objects from files; use {KEY}.path=null, which draws them"
        require(read_objects is not None, f"{KEY}.path", path, unable)
        user_files.read_known(path, self.digest, f"{KEY}.path", "objects")
        assert read_objects is not None
        objects: Tensor = read_objects(path)
        return objects

    def _drawn(self, target: DiscreteTarget) -> Tensor:
        """Return what differs among the ends of walks that take each legal action with the same probability."""
        on_cpu = target.to("cpu")  # whose random numbers are the same on every machine
        rng = ReplicaGenerators(self.seed, 1, "held_out", "cpu", torch.float64)
        states, stop = on_cpu.initial(self.n_objects), on_cpu.n_actions - 1
        alive = torch.ones(self.n_objects, dtype=torch.bool)
        for _ in range(on_cpu.horizon):
            legal = on_cpu.forward_mask(states).cumsum(-1)  # [M, A]
            chosen = (rng.uniform(self.n_objects)[0] * legal[:, -1]).long()
            action = (legal <= chosen[:, None]).sum(-1).where(alive, stop)
            states, alive = on_cpu.step(states, action), alive & (action != stop)
        first, _ = distinct_states(states)
        return states[first]

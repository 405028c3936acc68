"""A run on disk as an object: what was measured, what it was made of, what it has learned, and samples of that.

Everything is read when it is first asked for: metrics cost no torch, and only `target`, `sampler` and `sample` build anything.
"""

from __future__ import annotations

import logging
import math
import operator
import os
import statistics
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.core.errors import RunError, require
from gfn_vi.core.headline import Headline
from gfn_vi.core.patience import told_if_slow
from gfn_vi.core.seeds import is_whole, replica_seeds
from gfn_vi.interface.apart import user_modules
from gfn_vi.interface.stored import StoredRun, find_stored

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from gfn_vi.interface.samples import Samples
    from gfn_vi.training.trainer import Trainer

log = logging.getLogger("gfn_vi")

ALL = "all"


class Run:
    """A run that was trained, R replicas; made by gfn_vi.train and gfn_vi.load_run."""

    def __init__(self, stored: StoredRun, device: str) -> None:
        """device: where the modules are put, "cpu", "cuda" or "cuda:N". Raises ConfigError for one that is not there."""
        self._stored, self._device = stored, str(device)
        if self._device != "cpu":  # torch takes seconds to import, and numbers of a run do without
            from gfn_vi.build import resolve_device

            resolve_device(self._device)

    def __repr__(self) -> str:
        headline = self.headline
        reached = "" if headline is None else f", {headline[0].words} {headline[1]:.4g}"
        return f"<gfn_vi run {self.path}: {self.state}{reached}>"

    # -- what is on disk ----------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The directory of the run."""
        return self._stored.path

    @property
    def state(self) -> str:
        """Return the state that it had when it was loaded: done, diverged (a replica became non-finite), interrupted, running."""
        return self._stored.state.state

    @cached_property
    def config(self) -> DictConfig:
        """The configuration that the run stores, resolved and read-only: run.config.target.side."""
        from omegaconf import DictConfig, OmegaConf

        config = OmegaConf.create(self._stored.config)
        assert isinstance(config, DictConfig)
        OmegaConf.set_readonly(config, True)
        return config

    @cached_property
    def seeds(self) -> list[int]:
        """The seed of each replica: [R]."""
        return replica_seeds(self._stored.config["seed"], self._stored.config["replicas"])

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Every recorded number, one row each: replica, seed, step, trajectories, reward_calls, wall_seconds, metric, value.

        docs/metrics.md says what each metric is. Raises RunError where the file is missing or damaged.
        """
        import numpy as np

        from gfn_vi.runs.files import COLUMNS
        from gfn_vi.runs.reading import read_run

        read = read_run(self.path)
        if read.metrics is None:
            raise RunError(f"{self.path} gives no numbers, it is a run {read.label}: train it again")
        table = read.metrics.to_pandas()
        table.insert(0, "seed", np.array(self.seeds)[table["replica"]])
        return table[["replica", "seed", *(name for name in COLUMNS if name != "replica")]]

    @property
    def headline(self) -> tuple[Headline, float] | None:
        """Return the metric that judges the run, with the median over replicas of its last value; None where there is none yet.

        The median is that of the line at the end of training. Where a replica became non-finite, the value is the metric's worst.
        """
        from gfn_vi.runs.last_values import last_values

        headline = self._stored.state.headline
        if headline is None:
            return None
        values = last_values(self.path, headline.metric).values()
        if not values:
            return None
        return headline, statistics.median(values) if all(map(math.isfinite, values)) else headline.worst

    # -- what was learned ---------------------------------------------------------------------------------------------

    @cached_property
    def _built(self) -> tuple[Any, Any]:
        from gfn_vi.interface.rebuilt import rebuilt

        return rebuilt(self._stored, self._device)

    @property
    def target(self) -> Any:
        """The target, on the run's device: a DiscreteTarget or a DensityTarget of gfn_vi/core/protocols.py."""
        return self._built[0]

    @property
    def sampler(self) -> Any:
        """The sampler with the parameters that were learned, an nn.Module on the run's device; the replica axis is the first."""
        return self._built[1]

    def to(self, device: str) -> Run:
        """Return the run with its modules on another device; they are built there from the checkpoint.

        Raises ConfigError in one line for what is no device of this machine.
        """
        return Run(self._stored, device)

    @cached_property
    def _diverged(self) -> dict[int, str]:
        """Replica -> why it became non-finite."""
        from gfn_vi.interface.rebuilt import checkpoint_of

        return {} if self.state == "done" else dict(checkpoint_of(self._stored)["trainer"].get("divergences", {}))

    def sample(self, n: int, seed: int = 0, replica: int | str = 0) -> Samples:
        """Return n objects drawn from P_F, each with log_reward, log_pf, log_pb, log_weight, and log_pt where it is exact.

        seed: of the draw; the same seed draws the same objects in any process, and replica r draws from seed + r. replica: whose
        sampler, or "all" for n objects of each. Raises ConfigError for what is no such number, RunError for a replica that became
        non-finite.
        """
        n, seed = _plain(n), _plain(seed)
        require(is_whole(n) and n >= 1, "n", n, "expected a whole number >= 1")
        replica_seeds(seed, len(self.seeds))
        chosen = self._chosen(_plain(replica))

        import torch

        from gfn_vi.interface.drawing import draw, exact_log_pt, require_room
        from gfn_vi.interface.samples import Samples, replicas_in_words
        from gfn_vi.training.threads import torch_threads

        # one thread: sums over many would differ in their last bits from machine to machine
        drawing = f"drawing n={n} objects of {replicas_in_words(chosen)}, and the exact log P_T of each"
        with user_modules(), torch_threads(1):
            require_room(self.sampler, self.target, n)
            with told_if_slow(drawing):
                drawn = draw(self.sampler, n, seed)
                places = torch.tensor(chosen, device=drawn["log_pf"].device)
                flat = {name: values[places].flatten(0, 1) for name, values in drawn.items()}
                whose = places.repeat_interleave(n)
                log_pt = exact_log_pt(self.sampler, self.target, flat["states"], flat["log_pf"], whose)
        return Samples(self.target, replica=whose, log_pt=log_pt, **flat)

    def _chosen(self, replica: int | str) -> list[int]:
        n_replicas, diverged = len(self.seeds), self._diverged
        sound = [r for r in range(n_replicas) if r not in diverged]
        if not sound:
            raise RunError(f"{self.path}: every replica became non-finite, nothing can be drawn: {next(iter(diverged.values()))}")
        if replica == ALL:
            if diverged:
                log.warning("%s: left out, since they became non-finite: replicas %s", self.path, sorted(diverged))
            return sound
        is_one = is_whole(replica) and isinstance(replica, int) and 0 <= replica < n_replicas
        require(
            is_one, "replica", replica, f"expected all, or a whole number from 0 to {n_replicas - 1}: the run has {n_replicas}"
        )
        if replica in diverged:
            others = ", ".join(map(str, sound))
            raise RunError(f"{diverged[int(replica)]}; draw from another replica of {self.path}: {others}")
        return [int(replica)]

    def plot(self) -> Figure:
        """Return the picture that fits the target, drawn from what the finished run has left; savefig writes it.

        Graphs: probabilities of edges. Densities: samples beside the target. Molecules: the best ones. Other targets: the
        learned distribution beside the target's. Raises TableError for a run that has left nothing to draw.
        """
        from gfn_vi.analysis.pictures.of_run import picture_of_run

        return picture_of_run(self.path)

    def trainer(self) -> Trainer:
        """Return a trainer that stands where the run's training ended, for a loop of one's own: it writes nothing."""
        from gfn_vi.interface.rebuilt import trainer_of

        return trainer_of(self._stored, self._device)


def _plain(value: Any) -> Any:
    """Return a whole number of another library, such as numpy's, as one of Python; anything else as it is."""
    return operator.index(value) if hasattr(value, "__index__") and not isinstance(value, bool) else value


def load_run(path: str | os.PathLike[str], device: str, unfinished: bool, accept_changed_sources: bool) -> Run:
    """Return the run in a directory; see gfn_vi.load_run."""
    with user_modules():
        stored = find_stored(path, unfinished, accept_changed_sources)
    if stored.is_of_another_release:
        log.warning("%s: what it draws may differ from what it did", stored.made_by)
    if stored.state.state == "diverged":
        log.warning("%s: %s", stored.path, stored.state.error_line)
    return Run(stored, device)

"""The sweeper of `-m`: runs what is missing of a product, or of a union of products, with any launcher, and loses nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gfn_vi.core.errors import require
from gfn_vi.runs.manifest import forget, plan
from gfn_vi.runs.state import look
from gfn_vi.sweeps.fused_rates import fused
from gfn_vi.sweeps.jobs import Job, jobs_of, parsed, written
from gfn_vi.sweeps.launcher_checks import check_launcher
from gfn_vi.sweeps.launching import Launches, Outcome, make_launcher, say
from gfn_vi.sweeps.summary import announce, conclude, counted
from gfn_vi.terminal.exit_status import EXIT_INTERRUPTED


class ResumeSweeper(Sweeper):
    """Composes every job once, launches what is not done, reports from disk; the arguments are explained in resume.yaml."""

    def __init__(
        self,
        params: Mapping[str, Any] | None,
        grids: Sequence[Mapping[str, Any]] | None,
        max_batch_size: int | None,
        max_losses: int,
        rates_in_replicas: bool,
    ) -> None:
        self.params, self.grids = params or {}, grids or [{}]
        self.max_batch_size, self.max_losses = max_batch_size, max_losses
        self.rates_in_replicas = rates_in_replicas
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = make_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> list[Outcome]:
        """Called by Hydra with the overrides of the command line; leaves with the exit status unless all is well."""
        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        require_count("max_losses", self.max_losses)
        is_flag = isinstance(self.rates_in_replicas, bool)
        require(is_flag, "hydra.sweeper.rates_in_replicas", self.rates_in_replicas, "expected true or false")
        if self.max_batch_size is not None:
            require_count("max_batch_size", self.max_batch_size)
        loader = self.hydra_context.config_loader
        jobs = jobs_of(loader, self.config, self._products(arguments))
        if self.rates_in_replicas:
            jobs = fused(loader, self.config, jobs)
        standings = [look(job.directory) for job in jobs]
        if not all(standing.is_finished for standing in standings):
            check_launcher(self.config.hydra.launcher)
        plan(jobs)
        announce(standings)
        launches = Launches(self.launcher, self.max_batch_size, self.max_losses)
        try:
            outcomes = launches.run(jobs)
        except (KeyboardInterrupt, SystemExit):
            _say_where_it_stopped(jobs)
            sys.exit(EXIT_INTERRUPTED)
        forget(o.job for o in outcomes if o.is_input and not o.job.directory.exists())
        status = conclude(outcomes, loader)
        if status:
            sys.exit(status)
        return outcomes

    def _products(self, arguments: Sequence[str]) -> list[list[Override]]:
        """A product for each grid: params, in their place what the grid says, in its place what the command line says."""
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        return [parsed(loader, [*written(self.params), *written(grid), *arguments]) for grid in self.grids]


def require_count(key: str, value: object) -> None:
    """Raise ConfigError unless the value of hydra.sweeper.<key> is a whole number above 0."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(is_count, f"hydra.sweeper.{key}", value, "expected a whole number >= 1")


def _say_where_it_stopped(jobs: Sequence[Job]) -> None:
    say(f"stopped; {counted(look(job.directory).state for job in jobs)}; the same command goes on")

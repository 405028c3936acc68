"""The sweeper of `-m`: runs what is missing of a product, or of a union of products, with any launcher, and loses nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from gfn_vi.core.errors import require
from gfn_vi.runs.manifest import plan
from gfn_vi.runs.state import look
from gfn_vi.sweeps.distinct_seeds import require_distinct, require_new
from gfn_vi.sweeps.fused_rates import fused
from gfn_vi.sweeps.jobs import Job, jobs_of, parsed, written
from gfn_vi.sweeps.launcher_checks import check_launcher
from gfn_vi.sweeps.launching import Launches, Outcome, say
from gfn_vi.sweeps.remembered import Remembered
from gfn_vi.sweeps.summary import conclude, counted
from gfn_vi.sweeps.sweeper import JobSweeper
from gfn_vi.terminal.exit_status import EXIT_INTERRUPTED


class ResumeSweeper(JobSweeper):
    """Composes the jobs, launches what is not done, reports from disk; the arguments are explained in resume.yaml."""

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

    def sweep(self, arguments: list[str]) -> list[Outcome]:
        """Called by Hydra with the overrides of the command line; leaves with the exit status unless all is well."""
        remembered = Remembered(self.config, arguments)
        jobs = self.jobs(arguments, remembered)
        standings = [look(job.directory) for job in jobs]
        is_finished = all(standing.is_finished for standing in standings)
        if not is_finished:
            check_launcher(self.config.hydra.launcher)
            todo = [job for job, standing in zip(jobs, standings, strict=True) if standing.state == "missing"]
            require_new(todo, jobs)
        self.check(jobs)
        plan(jobs, remembered.composing())
        if not is_finished:  # else the end says it
            say(counted(standing.state for standing in standings))
        try:
            outcomes = Launches(self.launcher, self.max_batch_size, self.max_losses).run(jobs)
        except (KeyboardInterrupt, SystemExit):
            say(f"stopped; {counted(look(job.directory).state for job in jobs)}; the same command goes on")
            sys.exit(EXIT_INTERRUPTED)
        self.warn_of_other_sources(jobs)
        status = conclude(outcomes, self.loader)
        if status:
            sys.exit(status)
        return outcomes

    def jobs(self, arguments: Sequence[str], remembered: Remembered) -> list[Job]:
        """Return the runs that the sweep asks for. Raises ConfigError or RunError for jobs that cannot be composed or collide."""
        self.require_counts(max_losses=1, **({} if self.max_batch_size is None else {"max_batch_size": 1}))
        is_flag = isinstance(self.rates_in_replicas, bool)
        require(is_flag, "hydra.sweeper.rates_in_replicas", self.rates_in_replicas, "expected true or false")
        for name, found in (("params", [self.params]), ("grids", self.grids)):
            is_mapping = isinstance(found, Sequence) and all(isinstance(each, Mapping) for each in found)
            expected = "expected {key: values}, " + ("a list of such, " if name == "grids" else "") + "in quotes for the shell"
            require(is_mapping, f"hydra.sweeper.{name}", found, expected)
        with remembered.noting():
            jobs = jobs_of(self.loader, self.config, self._products(arguments), remembered.job)
            require_distinct(jobs)
            return fused(self.loader, self.config, jobs) if self.rates_in_replicas else jobs

    def _products(self, arguments: Sequence[str]) -> list[list[Override]]:
        """A product for each grid: params, in their place what the grid says, in its place what the command line says."""
        return [parsed(self.loader, [*written(self.params), *written(grid), *arguments]) for grid in self.grids]

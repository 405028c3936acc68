"""What every sweeper of -m is: Hydra sets it up with a launcher, whose workers save when the sweep is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from gfn_vi.core.errors import require
from gfn_vi.core.seeds import is_whole
from gfn_vi.runs.sources import ACCEPT, doubt_about_table, require_unchanged, settle_changes, sources_of
from gfn_vi.runs.state import look
from gfn_vi.sweeps.jobs import Job, check_jobs
from gfn_vi.sweeps.launching import say
from gfn_vi.sweeps.worker import InWorker, require_no_chdir


class JobSweeper(Sweeper):
    """loader composes jobs from `config`, the sweep's own configuration; what is launched is left to subclasses."""

    loader: ConfigLoader
    config: DictConfig
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        require_no_chdir(config.hydra.job.chdir)
        self.loader, self.config = hydra_context.config_loader, config
        self._task, self._said = InWorker(task_function), set[str]()
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=self._task, config=config
        )

    def check(self, jobs: Sequence[Job], others: Sequence[Path] = ()) -> None:
        """Refuse jobs with an argument that nothing takes, and those of which the user's source has changed; before each launch.

        others: further runs that are compared with them. Workers refuse what changes after the first call. Raises RunError in one
        line for all of them.
        """
        directories = list(dict.fromkeys([*(job.directory for job in jobs), *others]))
        settle_changes(directories, OmegaConf.select(self.config, ACCEPT))
        require_unchanged(self._task.sources, "this sweep began")
        todo = [job for job in jobs if not look(job.directory).is_finished]
        check_jobs(todo)
        self._task.sources = sources_of(*(job.config for job in todo)) | self._task.sources
        self.warn_of_other_sources(todo)

    def warn_of_other_sources(self, jobs: Sequence[Job]) -> None:
        """Say which runs of the folders have other versions of the files, as an earlier sweep or another process left them."""
        for folder in dict.fromkeys(job.directory.parent for job in jobs):
            doubt = doubt_about_table(folder, self._task.sources)
            if doubt is not None and doubt not in self._said:
                self._said.add(doubt)
                say(f"warning: {doubt}")

    def require_counts(self, **least: int) -> None:
        """Raise ConfigError unless each of these attributes, which are keys of hydra.sweeper, is a whole number so large."""
        for key, bound in least.items():
            value = getattr(self, key)
            require(is_whole(value) and value >= bound, f"hydra.sweeper.{key}", value, f"expected a whole number >= {bound}")

"""What every sweeper of -m is: Hydra sets it up with a launcher, whose workers save when the sweep is stopped."""

from __future__ import annotations

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gfn_vi.core.errors import require
from gfn_vi.core.seeds import is_whole
from gfn_vi.sweeps.worker import InWorker


class JobSweeper(Sweeper):
    """loader composes jobs from `config`, the sweep's own configuration; what is launched is left to subclasses."""

    loader: ConfigLoader
    config: DictConfig
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.loader, self.config = hydra_context.config_loader, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=InWorker(task_function), config=config
        )

    def require_counts(self, **least: int) -> None:
        """Raise ConfigError unless each of these attributes, which are keys of hydra.sweeper, is a whole number so large."""
        for key, bound in least.items():
            value = getattr(self, key)
            require(is_whole(value) and value >= bound, f"hydra.sweeper.{key}", value, f"expected a whole number >= {bound}")

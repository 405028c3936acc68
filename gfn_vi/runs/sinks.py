"""Mirrors of metrics.csv: Weights & Biases and TensorBoard. Neither package is imported before a sink is made."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from gfn_vi.core.errors import ConfigError, require

logger = logging.getLogger(__name__)

Mode = Literal["offline", "online", "disabled"]
CONNECT_SECONDS = 10.0
FINISH_SECONDS = 30.0


def flattened(metrics: Mapping[str, list[float]]) -> dict[str, float]:
    """Return name -> value for one replica; for several, `name` is the mean over all of them and `name/replica_r` each.

    The mean is NaN, or infinite, where the value of a replica is: a mean of the others would hide it.
    """
    flat: dict[str, float] = {}
    for name, values in metrics.items():
        flat[name] = sum(values) / len(values)
        if len(values) > 1:
            flat |= {f"{name}/replica_{r}": value for r, value in enumerate(values)}
    return flat


def _missing(package: str, error: ImportError) -> ConfigError:
    return ConfigError("logger", package, f'{error}; install it with pip install "gfn_vi[{package}]" or choose another')


def _unreachable(url: str) -> str | None:
    """Return why no HTTP answer of any kind comes from `url` within CONNECT_SECONDS; None if one comes."""
    reasons = [f"no answer from {url} within {CONNECT_SECONDS:g} s"]

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=CONNECT_SECONDS).close()
        except urllib.error.HTTPError:
            pass
        except (OSError, ValueError, http.client.HTTPException) as error:
            reasons.append(f"no answer from {url}: {getattr(error, 'reason', error)}")
            return
        reasons.clear()

    # A thread, because looking up a host name knows no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return reasons[-1] if reasons else None


class WandbSink:
    """A mirror at Weights & Biases; files in <directory>/wandb. The run id is a hash of `name`: a resumed run is the same run.

    Online without key or network becomes offline, with one warning, within about CONNECT_SECONDS.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        config: Mapping[str, Any],
        project: str = "gfn_vi",
        entity: str | None = None,
        mode: Mode = "offline",
    ) -> None:
        """name: of the run; config: resolved, plain. Raises ConfigError for a missing package or an unknown mode."""
        require(mode in get_args(Mode), "logger.mode", mode, f"expected one of {', '.join(get_args(Mode))}")
        try:
            # Not `import wandb`: a folder named wandb would pass as the package.
            from wandb import init  # noqa: F401
        except ImportError as error:
            raise _missing("wandb", error) from error
        self._directory, self._name, self._config = Path(directory), name, dict(config)
        self._project, self._entity = project, entity
        self._id = hashlib.sha256(name.encode()).hexdigest()[:16]
        self._run: Any = None
        if mode == "online":
            self._start_online()
        else:
            self._start_offline(mode)

    def _settings(self, mode: Mode) -> Any:
        from wandb import Settings

        return Settings(
            mode=mode,
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            init_timeout=CONNECT_SECONDS,
            finish_timeout=FINISH_SECONDS,
        )

    def _init(self, mode: Mode) -> Any:
        import wandb

        return wandb.init(
            project=self._project,
            entity=self._entity,
            dir=self._directory,
            id=self._id,
            name=self._name,
            mode=mode,
            resume="allow" if mode == "online" else None,
            reinit="finish_previous",
            config=self._config,
            settings=self._settings(mode),
        )

    def _start_online(self) -> None:
        import wandb

        try:
            # Settings first: silent wandb raises for a missing key instead of asking for one on the terminal.
            url = wandb.setup(settings=self._settings("online")).settings.base_url
            wandb.login(verify=False)
            # Asking before wandb does: its own failed attempts keep the process alive for 20 s after its end.
            problem = _unreachable(url)
            if problem is None:
                self._run = self._init("online")
                return
        except Exception as error:  # noqa: BLE001 - a mirror never stops a run, whatever it raises
            problem = (str(error) or type(error).__name__).splitlines()[0]
        # wandb's background process still holds the id of the failed attempt and the settings of the online mode.
        wandb.teardown()
        logger.warning("wandb cannot go online (%s); this run is logged offline in %s/wandb", problem, self._directory)
        self._start_offline("offline")

    def _start_offline(self, mode: Mode) -> None:
        import wandb

        try:
            n_before = len(list((self._directory / "wandb").glob(f"offline-run-*-{self._id}")))
            wandb.setup(settings=self._settings(mode))
            self._run = self._init(mode)
        except Exception as error:  # noqa: BLE001 - a mirror never stops a run, whatever it raises
            logger.warning("wandb is left out of this run (%s: %s)", type(error).__name__, error)
            return
        if n_before > 0 and mode == "offline":
            how = "upload them in order, all but the first with wandb sync --append, else the last takes the place of the others"
            logger.warning("this run now has %d folders in %s/wandb: %s", n_before + 1, self._directory, how)

    def write(self, step: int, trajectories: int, metrics: dict[str, list[float]]) -> None:
        """Log at wandb's own `step`: what a resumed run repeats is recognized and not logged twice."""
        if self._run is not None:
            self._run.log({"trajectories": trajectories, **flattened(metrics)}, step=step)

    def close(self, failed: bool) -> None:
        """Finish within about FINISH_SECONDS; what was not sent stays in the directory."""
        if self._run is not None:
            self._run.finish(exit_code=int(failed))
            self._run = None


class TensorboardSink:
    """A mirror in TensorBoard event files in <directory>/tensorboard."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Raise ConfigError for a missing package."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: F401
        except ImportError as error:
            raise _missing("tensorboard", error) from error
        self._directory = Path(directory) / "tensorboard"
        self._writer: Any = None

    def write(self, step: int, trajectories: int, metrics: dict[str, list[float]]) -> None:
        """Write the metrics at `step`. The first step written also removes what a killed process wrote from that step on."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._directory), purge_step=step)
        for name, value in {"trajectories": float(trajectories), **flattened(metrics)}.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, failed: bool) -> None:
        """Write what is left and close the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

"""Mirrors of metrics.csv: Weights & Biases and TensorBoard. Neither package is imported before a sink is made.

A mirror has what metrics.csv has, each record once: when a run goes on after a crash, it is written anew from that file. The
horizontal axis is trajectories per replica, as in every picture here. At the end come the run's pictures and tables.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.runs.exhibits import FINAL, pictures, size_of, tables
from gfn_vi.runs.identity import INFRASTRUCTURE_KEYS
from gfn_vi.runs.records import Record
from gfn_vi.runs.sent import note_sent

logger = logging.getLogger(__name__)

Mode = Literal["offline", "online", "disabled"]
CONNECT_SECONDS = 10.0
FINISH_SECONDS = 30.0
LONGEST_TAG = 64  # characters; wandb refuses longer ones
OF_AGENT = "WANDB_SWEEP_ID"  # in the environment of what wandb agent starts, which has a run id to be taken


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

    Started by `wandb agent` it has the agent's id. Online without key or network becomes offline, with one warning, within about
    CONNECT_SECONDS.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        config: Mapping[str, Any],
        project: str = "gfn_vi",
        entity: str | None = None,
        mode: Mode = "offline",
        group: str | None = None,
        tags: Sequence[str] = (),
        job_type: str | None = None,
        notes: str | None = None,
    ) -> None:
        """name: of the run; config: resolved, plain; None for what the environment says (WANDB_ENTITY, WANDB_RUN_GROUP, ...).

        Raises ConfigError for a missing package, an unknown mode and a tag that wandb would refuse.
        """
        require(mode in get_args(Mode), "logger.mode", mode, f"expected one of {', '.join(get_args(Mode))}")
        for tag in tags:
            require(0 < len(tag) <= LONGEST_TAG, "logger.tags", tag, f"expected tags of 1 to {LONGEST_TAG} characters")
        try:
            # Not `import wandb`: a folder named wandb would pass as the package.
            from wandb import init  # noqa: F401
        except ImportError as error:
            raise _missing("wandb", error) from error
        self._directory, self._name, self._config = Path(directory), name, dict(config)
        self._project, self._entity = project, entity
        self._about: dict[str, Any] = {"group": group, "tags": list(dict.fromkeys(tags)), "job_type": job_type, "notes": notes}
        self._id = None if os.environ.get(OF_AGENT) else hashlib.sha256(name.encode()).hexdigest()[:16]
        self._sent_to = {"project": project, "entity": entity} | self._about | {"tags": list(tags)}
        self._last_step, self._is_whole = 0, False
        self.mode: Mode = mode
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

        run = wandb.init(
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
            **{key: value or None for key, value in self._about.items()},
        )
        run.define_metric("trajectories", hidden=True)
        run.define_metric("*", step_metric="trajectories")
        return run

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

        self.mode = mode
        try:
            wandb.setup(settings=self._settings(mode))
            self._run = self._init(mode)
        except Exception as error:  # noqa: BLE001 - a mirror never stops a run, whatever it raises
            logger.warning("wandb is left out of this run (%s: %s)", type(error).__name__, error)

    def restore(self, records: Sequence[Record]) -> None:
        """Log what is on disk; an offline copy of an earlier process, which ends where that process did, is removed."""
        if self._run is None:
            return
        for record in records:
            self.write(*record)
        own = Path(self._run.dir).parent
        for folder in (self._directory / "wandb").glob(f"offline-run-*-{self._run.id}"):
            if folder.resolve() != own.resolve():
                shutil.rmtree(folder)

    def write(self, step: int, trajectories: int, metrics: dict[str, list[float]]) -> None:
        """Log at wandb's own `step`, the number of updates; steps that the server has already are not sent again."""
        if self._run is not None and step >= self._run.starting_step:
            self._run.log({"trajectories": trajectories, **flattened(metrics)}, step=step)
            self._last_step = step

    def show(self, directory: Path) -> None:
        """Log the pictures and tables of the run with its last record."""
        if self._run is None:
            return
        from wandb import Image, Table

        shown: dict[str, Any] = {f"pictures/{path.stem}": Image(str(path)) for path in pictures(directory)}
        for table in tables(directory):
            shown[f"tables/{table.name}"] = Table(columns=list(table.columns), data=[list(row) for row in table.rows])
        self._run.log(shown, step=max(self._last_step, self._run.starting_step))
        self._is_whole = self.mode != "disabled"

    def close(self, failed: bool) -> None:
        """Finish within about FINISH_SECONDS; what was not sent stays in the directory."""
        if self._run is not None:
            self._run.finish(exit_code=int(failed))
            self._run = None
            if self._is_whole and not failed:
                note_sent(self._directory, "wandb", {"mode": self.mode} | self._sent_to)


class TensorboardSink:
    """A mirror in TensorBoard event files in <directory>/tensorboard; at the end with what the configuration says.

    The step of its events is trajectories per replica, so that runs of different batch sizes share an axis.
    """

    def __init__(self, directory: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
        """config: resolved, plain. Raises ConfigError for a missing package."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: F401
        except ImportError as error:
            raise _missing("tensorboard", error) from error
        self._run, self._directory, self._config = Path(directory), Path(directory) / "tensorboard", dict(config)
        self._last, self._is_whole = 0, False
        self._written: Any = None

    @property
    def _writer(self) -> Any:
        if self._written is None:
            from torch.utils.tensorboard import SummaryWriter

            self._written = SummaryWriter(str(self._directory))
        return self._written

    def restore(self, records: Sequence[Record]) -> None:
        """Write what is on disk in the place of all event files: readers take several of them in no certain order."""
        for path in self._directory.glob("events.out.tfevents.*"):
            path.unlink()
        for record in records:
            self._add(*record)
        if records:
            self._writer.flush()

    def write(self, step: int, trajectories: int, metrics: dict[str, list[float]]) -> None:
        """Write the metrics at this number of trajectories; they are in the file when this returns."""
        self._add(step, trajectories, metrics)
        self._writer.flush()

    def _add(self, step: int, trajectories: int, metrics: dict[str, list[float]]) -> None:
        for name, value in flattened(metrics).items():
            self._writer.add_scalar(name, value, trajectories)
        self._last = trajectories

    def show(self, directory: Path) -> None:
        """Write pictures, tables, and the configuration as hyperparameters beside the last values."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard.summary import hparams

        file, found = self._writer.file_writer, tables(directory)
        for path in pictures(directory):
            data = path.read_bytes()
            width, height = size_of(data)
            image = Summary.Image(encoded_image_string=data, width=width, height=height, colorspace=4)
            file.add_summary(Summary(value=[Summary.Value(tag=f"pictures/{path.stem}", image=image)]), self._last)
        for table in found:
            self._writer.add_text(f"tables/{table.name}", _in_markdown(table.columns, table.rows), self._last)
        reached = {str(row[0]): row[1] for table in found if table.name == FINAL for row in table.rows}
        for summary in hparams(_hyperparameters(self._config), reached):
            file.add_summary(summary)
        self._writer.flush()
        self._is_whole = True

    def close(self, failed: bool) -> None:
        """Write what is left and close the files."""
        if self._written is not None:
            self._written.close()
            self._written = None
            if self._is_whole and not failed:
                note_sent(self._run, "tensorboard", {})


def _hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of choices and the numbers and texts of a configuration under dotted keys."""
    from gfn_vi.runs.stored_config import flatten

    of_run = {key: value for key, value in config.items() if key == "choices" or key not in INFRASTRUCTURE_KEYS}
    return {key: value for key, value in flatten(of_run).items() if isinstance(value, bool | int | float | str)}


def _in_markdown(columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    cells = ([f"{cell:.6g}" if isinstance(cell, float) else str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)

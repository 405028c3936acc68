"""Send finished runs to Weights & Biases or TensorBoard, with their pictures and tables.

    gfn-vi-send outputs/quickstart to=wandb [project=gfn_vi] [tags=paper,rebuttal] [mode=online]
    gfn-vi-send outputs/default/<run> to=tensorboard

Takes a run, or a folder of runs, whatever logger they were trained with. What a mirror has already is not sent again: the same
command does nothing, or what is missing; again=true sends everything anew, in the place of what was there. Keys for wandb:
project, entity, mode (offline unless online is asked for), group, tags, job_type, notes. Exit status: 0 if all finished runs are
there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gfn_vi.core.command_line import command
from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.runs.files import RUN_FILES
from gfn_vi.runs.folders import TableError, find_runs
from gfn_vi.runs.state import look_tolerantly
from gfn_vi.signatures import nearest
from gfn_vi.terminal.arguments import answers_in_one_line, parser_of
from gfn_vi.terminal.exit_status import EXIT_FAILED

OF_ALL = {"to": ("wandb", "tensorboard"), "again": ("true", "false")}
OF_WANDB = {"project": (), "entity": (), "mode": ("offline", "online"), "group": (), "tags": (), "job_type": (), "notes": ()}


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Send the runs that the arguments name and return the exit status (2: a clear one-line error on stderr)."""
    parser = parser_of("send", __doc__)
    parser.add_argument("folder", type=Path, help="the directory of a run, or the folder that holds runs")
    about = "to=wandb or to=tensorboard (needed), project=..., again=true"
    parser.add_argument("keys", nargs="*", default=(), metavar="key=value", help=about)
    given = parser.parse_args(arguments)
    options = parse(given.keys)
    kind, again = options.pop("to"), options.pop("again", "false") == "true"
    is_run = any((given.folder / name).exists() for name in RUN_FILES)
    runs = [given.folder] if is_run else find_runs(given.folder)
    finished = [run for run in runs if look_tolerantly(run).is_finished]
    told = {run: _send(run, kind, options, again) for run in finished}
    for run in runs:
        print(f"{told.get(run, 'not sent, it is ' + look_tolerantly(run).state)}: {run}")
    if any(said.startswith("sent") for said in told.values()):
        print(_how_to_look(kind, options, given.folder, is_run))
    return EXIT_FAILED if any(said.startswith("failed") for said in told.values()) else 0


def parse(given: Sequence[str]) -> dict[str, str]:
    """Return the keys and values of words key=value; raises TableError for anything else."""
    options: dict[str, str] = {}
    for word in given:
        key, equals, value = word.partition("=")
        known = OF_ALL | OF_WANDB
        if equals and key not in known:
            raise TableError(f"{word}: nothing reads this key{nearest(key, known)}")
        if not equals or not value:
            raise TableError(f"{word}: expected key=value with a key of {', '.join(known)}")
        if known[key] and value not in known[key]:
            raise TableError(f"{word}: expected one of {', '.join(known[key])}")
        options[key] = value
    if "to" not in options:
        raise TableError(f"to: say where to send them, {command('send')} FOLDER to=wandb or to=tensorboard")
    for key in OF_WANDB:
        if key in options and options["to"] != "wandb":
            raise TableError(f"{key}={options[key]}: a key for to=wandb; leave it out")
    return options


def _send(run: Path, kind: str, options: Mapping[str, str], again: bool) -> str:
    """Send one finished run; return what became of it, in the words of a line."""
    from gfn_vi.mirrors import shown_config
    from gfn_vi.runs.directory import RunDirectory
    from gfn_vi.runs.records import recorded
    from gfn_vi.runs.sent import is_sent
    from gfn_vi.runs.sinks import TensorboardSink, WandbSink
    from gfn_vi.runs.stored_config import stored_config

    config = stored_config(run)
    if config is None:
        return "failed, its configuration cannot be read"
    config = shown_config(config)
    settings = _settings(config, options) if kind == "wandb" else {}
    if not again and is_sent(run, kind, settings):
        return "already there"
    try:
        with RunDirectory(run):
            sink: Any = WandbSink(run, run.name, config, **settings) if kind == "wandb" else TensorboardSink(run, config)
            try:
                sink.restore(recorded(run))
                sink.show(run)
            except BaseException:
                sink.close(failed=True)
                raise
            sink.close(failed=False)
    except ConfigError as error:  # the package is missing, or a tag is too long
        raise TableError(str(error)) from error
    except RunError as error:
        return f"failed, {error}"
    if settings and sink.mode != settings["mode"]:  # every other run would wait as long
        raise TableError(f"mode={settings['mode']}: {run} is offline only, the others are not sent; mode=offline writes them all")
    return "sent" if is_sent(run, kind, settings) else "failed, wandb did not take it"


def _settings(config: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """Return the keys of logger=wandb: as given, else as the run was logged, else as the package's file says."""
    from importlib.resources import files

    from omegaconf import OmegaConf

    of_package = OmegaConf.load(str(files("gfn_vi.configs") / "logger" / "wandb.yaml"))
    node: Any = OmegaConf.to_container(of_package)  # not resolved
    logged: Any = config.get("logger") or {}
    logged = logged.get("wandb", logged)
    own = {key: logged[key] for key in OF_WANDB if key in logged and key != "mode"} if "project" in logged else {}
    given: dict[str, Any] = {key: value for key, value in options.items() if key != "tags"}
    if "tags" in options:
        given["tags"] = options["tags"].strip("[]").split(",")
    whole = OmegaConf.create({**config, "logger": {**node, **own, **given}})
    settings: Any = OmegaConf.to_container(whole.logger, resolve=True)
    return {key: settings[key] for key in OF_WANDB}


def _how_to_look(kind: str, options: Mapping[str, str], folder: Path, is_run: bool) -> str:
    if kind == "tensorboard":
        return f"look at them: tensorboard --logdir {folder}"
    if options.get("mode") == "online":
        return "look at them in the project's page"
    return f"upload them: wandb sync {folder}{'' if is_run else '/*'}/wandb/offline-run-*"

"""Draw an experiment's figure from the files of its runs.

    gfn-vi-figure experiment=quickstart [preset=smoke] [x=reward_calls] [statistic=iqm] [output_root=outputs]

Collects outputs/<experiment> (outputs/<experiment>_smoke with preset=smoke, and so on; laptop is the size without a suffix),
writes its table (table.parquet, table.csv), what experiments/<experiment>/figure.py draws of it (figure.pdf, figure.png), and the
numbers of it (summary.csv, improvement.csv, and what `tables` of that figure.py returns), all into that folder. x: trajectories,
reward_calls or seconds; statistic: median, mean or iqm (interquartile mean). An experiment is one of the package, or a folder of
experiments/ in the working folder, which goes first.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import ModuleType

from gfn_vi.core.command_line import command

PACKAGE = "gfn_vi.experiments"
KEYS = {"experiment": None, "preset": None, "output_root": "outputs", "x": None, "statistic": None}
VALUES = {
    "preset": ("smoke", "laptop", "paper"),
    "x": ("trajectories", "reward_calls", "seconds"),
    "statistic": ("median", "mean", "iqm"),
}
STANDARD_PRESET = "laptop"


class UsageError(ValueError):
    """A command line that cannot work; one line that says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure that the arguments ask for and return the exit status (2: a clear one-line error on stderr)."""
    text = str(__doc__).replace("gfn-vi-figure", command("figure"))
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", metavar="key=value", help="experiment=NAME (needed), preset=..., output_root=FOLDER")
    given = parser.parse_args(arguments).keys
    try:
        options = parse(given)
        experiment = find_experiment(options["experiment"])
        folder = folder_of(experiment.name, options["preset"], options["output_root"])
        drawing = {key: value for key in ("x", "statistic") if (value := options[key]) is not None}
        paths = draw(experiment, folder, " ".join([command("figure"), *given]), drawing)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*paths, sep="\n")
    return 0


def parse(given: Sequence[str]) -> dict[str, str | None]:
    """Return the keys and values of words key=value, with defaults; raises UsageError for anything else."""
    options: dict[str, str | None] = dict(KEYS)
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS or not value:
            raise UsageError(f"{word}: expected key=value with a key of {', '.join(KEYS)}")
        if value not in VALUES.get(key, (value,)):
            raise UsageError(f"{word}: expected one of {', '.join(VALUES[key])}")
        options[key] = value
    return options


def find_experiment(name: str | None) -> Path:
    """Return the folder of the experiment; raises UsageError, which names the known ones, for another name."""
    folders = find_experiments()
    if name is None or name not in folders:
        asked = "experiment is missing" if name is None else f"there is no experiment {name}"
        raise UsageError(f"{asked}; give experiment=NAME, known: {', '.join(sorted(folders))}")
    return folders[name]


def folder_of(experiment: str, preset: str | None, output_root: str | None) -> Path:
    """Return the folder in which the runs of an experiment lie, as configs/experiment_preset names it."""
    suffix = f"_{preset}" if preset not in (None, STANDARD_PRESET) else ""
    return Path(output_root or "outputs") / f"{experiment}{suffix}"


def find_experiments() -> dict[str, Path]:
    """Return name -> folder of every experiment that has a figure.py, those of the package and of the working folder."""
    found = [*_of_package().glob("*/figure.py"), *Path("experiments").glob("*/figure.py")]
    return {path.parent.name: path.parent for path in found}


def draw(experiment: Path, folder: Path, drawn_by: str, options: Mapping[str, str] | None = None) -> list[Path]:
    """Collect `folder`, write its table, draw figure.py of the experiment and return the paths of its numbers and the figure.

    drawn_by: the command line, which the figure names; options: x and statistic, for a figure that takes them. Raises UsageError
    for runs that are missing or cannot be drawn.
    """
    from gfn_vi.analysis.pictures import style
    from gfn_vi.analysis.reading.facts import headlines
    from gfn_vi.analysis.reading.seeds import check_seeds
    from gfn_vi.analysis.reading.table import collect, table_hash, write_table
    from gfn_vi.analysis.statistics.summary import write_summary
    from gfn_vi.runs.folders import NoRunsError, TableError
    from gfn_vi.runs.reading import RunArrays

    try:
        module = load(experiment / "figure.py")
        taken = inspect.signature(module.figure).parameters
        for key, value in (options or {}).items():
            if key not in taken:
                raise UsageError(f"{key}={value}: the figure of {experiment.name} has no such choice")
        table = collect(folder, keys=getattr(module, "CONFIG_KEYS", ()))
        check_seeds(table)
        with style.paper():
            figure = module.figure(table, RunArrays(folder), **(options or {}))
            write_table(table, folder)
            drawn = style.save(figure, folder / "figure", table_hash(table), drawn_by)
        own = module.tables(table, RunArrays(folder)) if hasattr(module, "tables") else {}
        judged_by = getattr(module, "HEADLINES", ()) or headlines(folder, table["run"].unique())
        return [*write_summary(table, folder, judged_by), *write_texts(own, folder), *drawn]
    except NoRunsError as error:
        suffix = folder.name.removeprefix(experiment.name)
        preset = f" preset={suffix[1:]}" if suffix else ""
        where = "" if folder.parent == Path("outputs") else f" output_root={folder.parent}"
        remedy = f"make them with: {command('train')} -m experiment={experiment.name}{preset}{where}"
        raise UsageError(f"{error}; {remedy}") from error
    except TableError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot read or write {error.filename or folder}: {error.strerror or error}") from error


def write_texts(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write each text to the file of its name in `folder` and return the paths."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in texts]


def load(path: Path) -> ModuleType:
    """Import a module of an experiment: as a part of the package, or as a file where it belongs to the working folder."""
    import importlib.util

    place = path.resolve()
    if place.parent.parent == _of_package():
        return importlib.import_module(f"{PACKAGE}.{place.parent.name}.{place.stem}")
    spec = importlib.util.spec_from_file_location(f"gfn_vi_experiment_{path.parent.name}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _of_package() -> Path:
    """Return the folder of the package's own experiments."""
    return Path(str(files(PACKAGE))).resolve()

"""Experiments: where they are, where their runs lie, and what is drawn of these.

An experiment is a folder with a figure.py, of the package or of experiments/ in the working folder, which goes first.
"""

from __future__ import annotations

import inspect
import runpy
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from gfn_vi.core.command_line import command
from gfn_vi.core.headline import Headline
from gfn_vi.runs.folders import NoRunsError, TableError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from gfn_vi.analysis.statistics.claims import Claim
    from gfn_vi.runs.places import Folders

STANDARD_PRESET = "laptop"


def find_experiment(name: str | None) -> Path:
    """Return the folder of the experiment; raises TableError, which names the known ones, for another name."""
    folders = find_experiments()
    if name is None or name not in folders:
        asked = "experiment is missing" if name is None else f"there is no experiment {name}"
        raise TableError(f"{asked}; give experiment=NAME, known: {', '.join(sorted(folders))}")
    return folders[name]


def find_experiments() -> dict[str, Path]:
    """Return name -> folder of every experiment."""
    of_package = Path(str(files("gfn_vi.experiments"))).resolve()
    found = [*of_package.glob("*/figure.py"), *Path("experiments").glob("*/figure.py")]
    return {path.parent.name: path.parent for path in found}


def presets() -> list[str]:
    """Return the sizes of experiments, as configs/preset of the package names them; not every experiment has all of them."""
    return sorted(path.stem for path in Path(str(files("gfn_vi.configs"))).glob("preset/*.yaml"))


def folder_of(experiment: str, preset: str | None, output_root: str | None) -> Path:
    """Return the folder in which the runs of an experiment lie, as configs/experiment_preset names it."""
    suffix = f"_{preset}" if preset not in (None, STANDARD_PRESET) else ""
    return Path(output_root or "outputs") / f"{experiment}{suffix}"


def find_figure(*folders: Path) -> tuple[Path | None, str | None]:
    """Return figure.py of the experiment whose folders of runs these are, and the command that draws it; None for others."""
    names, root = {folder.resolve().name for folder in folders}, ",".join(str(folder.parent) for folder in folders)
    sizes = (None, *presets())
    for experiment, path in find_experiments().items():
        for preset in sizes:
            if {folder_of(experiment, preset, None).name} == names:
                given = {"experiment": experiment, "preset": preset, "output_root": root if root != "outputs" else None}
                words = [f"{key}={value}" for key, value in given.items() if value is not None]
                return path / "figure.py", f"{command('figure')} {shlex.join(words)}"
    return None, None


def load(path: Path) -> SimpleNamespace:
    """Return what a module of an experiment defines, of the package or of the working folder."""
    return SimpleNamespace(**runpy.run_path(str(path)))


def draw(experiment: Path, folders: Folders, drawn_by: str, options: Mapping[str, str] | None = None) -> list[Path]:
    """Collect runs, write their table, draw figure.py of the experiment and return the paths of its numbers and the figure.

    folders: that of the runs, in which all is written, or several, of which it is written to JOINED. drawn_by: the command line,
    which the figure names; options: x and statistic, for a figure that takes them. Raises TableError for runs that are missing or
    cannot be drawn.
    """
    from gfn_vi.analysis.reading.facts import headlines
    from gfn_vi.analysis.reading.joining import JOINED
    from gfn_vi.analysis.reading.table import collect
    from gfn_vi.runs.places import each_of
    from gfn_vi.runs.presets import remark_on
    from gfn_vi.runs.reading import RunArrays

    module, every = load_figure(experiment, options), each_of(folders)
    folder = every[0] if len(every) == 1 else JOINED
    try:
        table = collect(every, keys=getattr(module, "CONFIG_KEYS", ()))
    except NoRunsError as error:
        if len(every) > 1:
            raise
        suffix = every[0].name.removeprefix(experiment.name)
        preset = f" preset={suffix[1:]}" if suffix else ""
        where = "" if every[0].parent == Path("outputs") else f" output_root={every[0].parent}"
        remedy = f"make them with: {command('train')} -m experiment={experiment.name}{preset}{where}"
        raise TableError(f"{error}; {remedy}") from error
    judged_by = headlines(every, table["run"].unique())
    folder.mkdir(parents=True, exist_ok=True)
    return paint(module, Material(table, RunArrays(every), judged_by, remark_on(*every)), folder, drawn_by, options)


@dataclass(frozen=True)
class Material:
    """The material of a figure and its numbers: the tidy table, arrays by run, what the runs are judged by, a remark on all."""

    table: pd.DataFrame
    arrays: Mapping[str, Mapping[str, np.ndarray]]
    headlines: Sequence[Headline]
    remark: str


def load_figure(experiment: Path, options: Mapping[str, str] | None = None) -> SimpleNamespace:
    """Return figure.py of the experiment. Raises TableError for an option that its figure does not take."""
    module = load(experiment / "figure.py")
    taken = inspect.signature(module.figure).parameters
    for key, value in (options or {}).items():
        if key not in taken:
            raise TableError(f"{key}={value}: the figure of {experiment.name} has no such choice")
    return module


def paint(
    module: SimpleNamespace, material: Material, folder: Path, drawn_by: str, options: Mapping[str, str] | None = None
) -> list[Path]:
    """Write table, figure and numbers of the material to `folder` and return the paths of the numbers and the figure."""
    from gfn_vi.analysis.pictures import style
    from gfn_vi.analysis.reading.seeds import check_seeds
    from gfn_vi.analysis.reading.sources import check_sources
    from gfn_vi.analysis.reading.table import table_hash, write_table
    from gfn_vi.analysis.statistics.summary import write_summary

    table, remark = material.table, material.remark
    check_seeds(table)
    check_sources(table)
    with style.paper():
        figure = module.figure(table, material.arrays, **(options or {}))
        if style.has_weak(figure):
            style.note(figure, style.ABOUT_WEAK)
        if remark:
            style.note(figure, remark)
        write_table(table, folder)
        drawn = style.save(figure, folder / "figure", table_hash(table), drawn_by)
    own = module.tables(table, material.arrays) if hasattr(module, "tables") else {}
    for name, text in own.items():
        about = f"\\par\\noindent\\textbf{{{remark}}}\n" if remark and name.endswith(".tex") else ""
        (folder / name).write_text(text + about, encoding="utf-8", newline="\n")
    judged_by = getattr(module, "HEADLINES", ()) or material.headlines
    return [*write_summary(table, folder, judged_by, getattr(module, "BLOCKS", ())), *(folder / name for name in own), *drawn]


def claims_of(experiment: Path, folder: Path, remark: str) -> list[Claim]:
    """Return what claims.py of the experiment says of the table in `folder`, written to claims.csv; [] without such a file.

    remark: of runs whose preset decides nothing; all claims are undecided then, and "" otherwise.
    """
    import pandas as pd

    from gfn_vi.analysis.statistics.claims import undecided, write_claims

    if not (experiment / "claims.py").is_file():
        return []
    claims: list[Claim] = load(experiment / "claims.py").claims(pd.read_parquet(folder / "table.parquet"))
    if remark:
        claims = undecided(claims, remark)
    write_claims(claims, folder)
    return claims

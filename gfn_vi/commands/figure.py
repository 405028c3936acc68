"""Draw an experiment's figure from the files of its runs.

    python scripts/figure.py experiment=quickstart [output_root=outputs]

Collects outputs/<experiment>, writes its table (table.parquet, table.csv) and what experiments/<experiment>/figure.py
draws of it (figure.pdf, figure.png), all in outputs/<experiment>. The folder experiments is looked for in the working
folder, then in the clone that gfn_vi is installed from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

KEYS = {"experiment": None, "output_root": "outputs"}


class UsageError(ValueError):
    """A command line that cannot work; one line that says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status (2: a clear one-line error on stderr)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", metavar="key=value", help="experiment=NAME (needed), output_root=FOLDER")
    given = parser.parse_args(arguments).keys
    try:
        options = parse(given)
        folders = find_experiments()
        name = options["experiment"]
        if name not in folders:
            known = ", ".join(sorted(folders)) or "none found: run this in the clone"
            asked = "experiment is missing" if name is None else f"there is no experiment {name}"
            raise UsageError(f"{asked}; give experiment=NAME, known: {known}")
        root = options["output_root"] or "outputs"
        paths = draw(folders[name], Path(root) / name, " ".join(["python scripts/figure.py", *given]), root)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*paths, sep="\n")
    return 0


def parse(given: Sequence[str]) -> dict[str, str | None]:
    """key=value words to a dictionary with defaults; UsageError for anything else."""
    options: dict[str, str | None] = dict(KEYS)
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS or not value:
            raise UsageError(f"{word}: expected key=value with a key of {', '.join(KEYS)}")
        options[key] = value
    return options


def find_experiments() -> dict[str, Path]:
    """Name -> folder of every experiment that has a figure.py."""
    clone = Path(__file__).resolve().parents[2] / "experiments"
    found = [*clone.glob("*/figure.py"), *Path("experiments").glob("*/figure.py")]
    return {path.parent.name: path.parent for path in found}


def draw(experiment: Path, folder: Path, command: str, output_root: str = "outputs") -> list[Path]:
    """Collect `folder`, write its table, draw experiments/<name>/figure.py of it; the figure's paths."""
    from gfn_vi.analysis import style
    from gfn_vi.analysis.folders import NoRunsError, TableError
    from gfn_vi.analysis.runs import RunArrays
    from gfn_vi.analysis.seeds import check_seeds
    from gfn_vi.analysis.table import collect, table_hash, write_table

    try:
        module = load(experiment / "figure.py")
        table = collect(folder, keys=getattr(module, "CONFIG_KEYS", ()))
        check_seeds(table)
        with style.paper():
            figure = module.figure(table, RunArrays(folder))
            write_table(table, folder)
            return list(style.save(figure, folder / "figure", table_hash(table), command))
    except NoRunsError as error:
        where = "" if output_root == "outputs" else f" output_root={output_root}"
        remedy = f"make them with: python scripts/train.py -m experiment={experiment.name}{where}"
        raise UsageError(f"{error}; {remedy}") from error
    except TableError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot read or write {error.filename or folder}: {error.strerror or error}") from error


def load(path: Path) -> ModuleType:
    """Import the file under a name of its own."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"gfn_vi_experiment_{path.parent.name}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Reproduce an experiment: sweep, table, figure, claims and report in one go.

    gfn-vi-reproduce hypergrid_objectives preset=laptop hydra/launcher=local

What follows the name goes to the sweep as it is. Runs that are done are not repeated, so the same command goes on after an
interruption. Prints each claim of the paper, what was measured here, and whether they agree; writes table, figure,
claims.csv and report.html to the folder of the runs. Exit status: that of the sweep if a run failed (what is there is
drawn all the same), else 0: a claim that does not hold is a result.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gfn_vi.analysis import experiments
from gfn_vi.commands.report import main as report
from gfn_vi.core.command_line import command, key_of
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.presets import remark_on
from gfn_vi.terminal.arguments import answers_in_one_line, parser_of
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from gfn_vi.analysis.statistics.claims import Claim


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduce the experiment that the arguments name and return the exit status."""
    parser = parser_of("reproduce", __doc__)
    parser.add_argument("experiment", help="one of the package, or a folder of experiments/")
    told = "preset=..., hydra/launcher=..., any other override"
    parser.add_argument("overrides", nargs="*", default=(), metavar="key=value", help=told)
    parser.add_argument("--config-dir", metavar="FOLDER", help="configurations of yours, as for training")
    given = parser.parse_args(arguments)
    own = [] if given.config_dir is None else ["--config-dir", given.config_dir]
    if _value(given.overrides, "experiment_name") is not None:
        raise TableError("experiment_name: the runs of an experiment lie in the folder of its name; set output_root")
    experiment = experiments.find_experiment(given.experiment)
    folder = experiments.folder_of(given.experiment, *(_value(given.overrides, key) for key in ("preset", "output_root")))
    status = sweep(given.experiment, [*given.overrides, *own])
    if status in (EXIT_BAD_INPUT, EXIT_INTERRUPTED):
        return status
    paths = experiments.draw(experiment, folder, " ".join([command("reproduce"), given.experiment, *given.overrides, *own]))
    claims = experiments.claims_of(experiment, folder, remark_on(folder))
    print(*paths, sep="\n")
    if remark := remark_on(folder):
        print(remark)
    _print(claims)
    return report([str(folder)]) or status


def sweep(experiment: str, overrides: Sequence[str]) -> int:
    """Train what is missing in a process of its own, since Hydra can be entered once per process; return its exit status."""
    words = [sys.executable, "-m", "gfn_vi.commands.train", "-m", f"experiment={experiment}", *overrides]
    process = subprocess.Popen(words)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # it has received Ctrl-C too: let it save
            continue


def _print(claims: Sequence[Claim]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not claims:
        return
    table = Table("Statement", "Measured here", "Agrees", show_lines=True)
    for claim in claims:
        table.add_row(claim.claim, claim.measured, claim.verdict)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _value(overrides: Sequence[str], key: str) -> str | None:
    """Return the value that an override gives to a key; None without one."""
    found = [text.partition("=")[2] for text in overrides if key_of(text) == key]
    return found[-1] if found else None

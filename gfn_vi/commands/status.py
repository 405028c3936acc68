"""Watch the runs of an experiment: done, running with time left, failed with the last error line, missing.

    gfn-vi-status outputs/quickstart            a live table as long as something runs (Ctrl-C leaves it)
    gfn-vi-status outputs/quickstart --once     one look; also where the output is no terminal

Reads files only: it may be started and stopped at any time, also for a sweep on other machines that share the folder.
Exit status: 0 if all runs are done, 1 if not, 2 for a folder without runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gfn_vi.analysis.pages.status_view import OTHER_LINES, PLAIN_ROWS, Snapshot, plain, snapshot, table
from gfn_vi.runs.sweep_states import SweepStates
from gfn_vi.terminal.arguments import answers_in_one_line, parser_of

if TYPE_CHECKING:
    from rich.console import Console

# A launcher needs some seconds to start, and between two jobs of a serial sweep nothing runs.
QUIET_SECONDS, SILENT_SECONDS = 20.0, 4.0


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Show the runs of the folder and return the exit status."""
    parser = parser_of("status", __doc__)
    parser.add_argument("folder", type=Path, help="outputs/<experiment>, the folder that holds the runs")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="between two looks (default: 1)")
    parser.add_argument("--once", "--plain", action="store_true", help="one plain snapshot, for logs")
    given = parser.parse_args(arguments)
    if not 0.1 <= given.every <= 3600:
        parser.error(f"--every {given.every:g}: expected seconds between 0.1 and 3600")
    states = SweepStates(given.folder)
    if given.once or not sys.stdout.isatty():
        print(plain(seen := snapshot(states, PLAIN_ROWS)), flush=True)
    else:
        seen = watch(states, given.every)
    return 0 if seen.all_done else 1


def watch(states: SweepStates, every: float) -> Snapshot:
    """Show a live table until nothing is left to do, or nothing has been running for QUIET_SECONDS."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    seen = snapshot(states, rows_that_fit(console))
    last_ran = time.monotonic()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            quiet = time.monotonic() - last_ran
            ends = not seen.to_do or quiet >= QUIET_SECONDS
            stays = f"nothing runs now: this table stays for {QUIET_SECONDS - quiet:.0f} s more"
            waiting = stays if SILENT_SECONDS < quiet < QUIET_SECONDS and not ends else ""
            live.update(table(seen, console.width, waiting), refresh=True)
            if ends:
                return seen
            time.sleep(every)
            seen = snapshot(states, rows_that_fit(console))
            if seen.running:
                last_ran = time.monotonic()


def rows_that_fit(console: Console) -> int:
    """Rows of runs on the screen below the headline."""
    return max(console.height - OTHER_LINES, 4)

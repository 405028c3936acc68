"""Draw objects from what a run has learned, and write them to a file.

    gfn-vi-sample outputs/default/<run> n=1000 out=samples.csv

    n=1000             objects of each replica
    out=samples.csv    a .csv, .npz or .parquet file; one that is there is replaced, and the answer says so
    seed=0             of the draw; the same seed makes the same file
    replica=0          whose sampler; or all
    weights=false      true: with log_weight = log R + log P_B - log P_F, and weight, which sums to 1 for each replica
    device=cpu         cpu, cuda or cuda:N
    unfinished=false   true: take the last checkpoint of a run that is not finished
    accept_changed_sources=false   true: although modules of yours have changed since the run was trained

One row is one object, with log_reward, log_pf and log_pb of the trajectory that was drawn, and log_pt, its exact
log-probability, where all trajectories to it can be summed over. Objects are written for people: a density by the names of its
coordinates, molecules as SMILES, graphs as edges by names, adjacency, CPDAG (-- is an edge that the equivalence class does not
direct) and dot, sequences as texts. An .npz file has arrays, and of graphs the matrices adjacency and cpdag [n, d, d].
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from gfn_vi.core.errors import ConfigError, RunError, as_number, is_number, require
from gfn_vi.signatures import nearest
from gfn_vi.terminal.arguments import answers_in_one_line, parser_of
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT

DEFAULTS: dict[str, Any] = {
    "n": 1000,
    "out": "samples.csv",
    "seed": 0,
    "replica": 0,
    "weights": False,
    "device": "cpu",
    "unfinished": False,
    "accept_changed_sources": False,
}
TRUTHS = {"true": True, "false": False}


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and write, say what was written, and return the exit status (2: a clear one-line error on stderr)."""
    parser = parser_of("sample", __doc__)
    parser.add_argument("run", help="the directory of one run, as printed at its end")
    told = "n=1000 out=samples.csv seed=0 replica=0 weights=false ..."
    parser.add_argument("keys", nargs="*", default=(), metavar="key=value", help=told)
    given = parser.parse_args(arguments)
    if given.run.partition("=")[0] in DEFAULTS and "=" in given.run:
        parser.error(f"{given.run}: the directory of a run comes first")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    try:
        for line in sample(given.run, parse(given.keys)):
            print(line)
    except (ConfigError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Return the keys and values of words key=value, with defaults. Raises ConfigError for anything else."""
    options = dict(DEFAULTS)
    for word in words:
        key, equals, value = word.partition("=")
        require(equals != "", word, "", f"expected key=value{nearest(word, DEFAULTS)}")
        require(key in DEFAULTS, key, value, f"nothing reads this key{nearest(key, DEFAULTS)}")
        require(sum(other.startswith(f"{key}=") for other in words) == 1, key, value, "the key is given twice: leave one out")
        if isinstance(DEFAULTS[key], bool):
            require(value.lower() in TRUTHS, key, value, "expected true or false")
            options[key] = TRUTHS[value.lower()]
        elif isinstance(DEFAULTS[key], int) and not (key == "replica" and value == "all"):
            is_digits = value.isascii() and value.isdigit()
            meant = as_number(float(value)) if is_number(value) and not is_digits else ""
            also = "all, or " if key == "replica" else ""
            require(is_digits, key, value, f"expected {also}a whole number >= {1 if key == 'n' else 0}{meant}")
            options[key] = int(value)
        else:
            require(value != "", key, value, "expected a value behind the equal sign")
            options[key] = value
    return options


def sample(run: str, options: dict[str, Any]) -> list[str]:
    """Write the samples and return what to tell of them: what they are, what the weights are worth, and where the file is."""
    from gfn_vi.interface.run import load_run
    from gfn_vi.interface.samples import file_to_write

    is_there = file_to_write(options["out"]).exists()  # a wrong name is refused before work starts
    states = {key: options[key] for key in ("device", "unfinished", "accept_changed_sources")}
    found = load_run(run, **states)
    samples = found.sample(options["n"], options["seed"], options["replica"])
    path = samples.save(options["out"], options["weights"])
    exact = "" if samples.log_pt is not None else "; log P_T is not exact here and left out"
    told = [f"{len(samples)} samples of {samples.whose}, seed {options['seed']}{exact}"]
    replaced = [f"replaced {path}, which was there before; out=NAME keeps it"] if is_there else []
    return [*told, *([samples.about_weights] if options["weights"] else []), *replaced, str(path)]

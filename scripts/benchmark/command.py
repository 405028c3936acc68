"""Time training on hypergrids, DAGs, densities and molecules, beside other packages if asked; and measurements of a sampler.

    python scripts/benchmark.py                                  the five cases and all measurements, 1 and 8 replicas
    python scripts/benchmark.py case=2x8x64 replicas=8           one case: <dims>x<side>x<batch>, any of that form
    python scripts/benchmark.py case=dag                         5, 10 and 20 nodes, batch 64 and 256, MLP and transformer
    python scripts/benchmark.py case=dag5x64-mlp --peers         one of these, beside gfnx; any number of nodes and batch
    python scripts/benchmark.py case=density replicas=1,5 threads=1 --peers   beside gfn-diffusion, 2 minutes
    python scripts/benchmark.py case=molecules replicas=1,3 threads=1         batch 4 and 64, attention and message passing
    python scripts/benchmark.py case=threads                     threads=0 beside fixed numbers, idle and busy, 6 minutes
    python scripts/benchmark.py case=collect replicas=1          10,000 runs in a temporary folder to one table
    python scripts/benchmark.py --peers --json benchmark.json    beside torchgfn and gfnx, interleaved

On-policy, 2 x 256 ReLU networks, Adam with rate 1e-3 (log Z: 0.1), float32. Hypergrids: learned separate P_B. DAGs: BGe score
of 100 rows of a random linear-Gaussian network, uniform prior, uniform P_B; the transformer as it comes. Densities: a
diffusion, 2 x 64 GELU. Molecules: QED, the project's own blocks, uniform P_B, networks as they come. A time is the median over
blocks of updates, with their range. Every measurement is a process of its own. States are steps of real trajectories, never
padding. The machine should be idle: whoever else uses it is named in a warning. Beside times of MLPs on
grids and DAGs stands what the arithmetic of their networks alone would take here.

case=dag is estimated to take half an hour on 2 cores, most of it the transformer on 20 nodes; with --peers rounds=1 twice that. A
measurement that needs more memory than is free is left out, and said to be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.cases import (
    COLLECTED_RUNS,
    DAG_FORM,
    DENSITY_FORM,
    FEWEST,
    MOLECULE_FORM,
    MOST,
    WARMUP,
    Case,
    Job,
    UsageError,
    parse_cases,
)
from benchmark.machine import describe
from benchmark.report import compared, comparison_lines, result_lines, summarized
from benchmark.runner import OURS, Result, ensure_installed, peers_of, run
from benchmark.threads import compare

# Key -> (default, meaning); numbers are >= 1 but for warmup.
KEYS = {
    "case": (
        "all",
        "all (hypergrids and measurements but collect), dag, density, molecules, exact, exact_gradients,\n"
        f"{'':<17}gradient_statistics, collect, threads (alone),\n"
        f"{'':<17}<dims>x<side>x<batch>, {DAG_FORM},\n"
        f"{'':<17}{DENSITY_FORM},\n"
        f"{'':<17}{MOLECULE_FORM}; or some, with commas",
    ),
    "replicas": ("1,8", "seeds trained in one process; several numbers with commas"),
    "updates": ("", f"updates that are timed; default {MOST}, of DAGs and molecules {FEWEST} to {MOST}: the fewer, the larger"),
    "warmup": ("", f"updates before that; default {WARMUP} times the default of updates"),
    "threads": ("2", "torch threads; gfnx: cores that it may use"),
    "device": ("cpu", "cpu, cuda or cuda:N"),
    "runs": (f"{COLLECTED_RUNS}", "runs that case=collect collects"),
    "rounds": ("", "how often everything is measured, interleaved; default 1, with --peers 3"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exits with status 2 and a clear message on stderr where the command line cannot work."""
    keys = "\n".join(f"  {key + '=' + default:<14} {meaning}" for key, (default, meaning) in KEYS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nkeys:\n{keys}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("keys", nargs="*", metavar="key=value", help="see above")
    parser.add_argument(
        "--peers", action="store_true", help="time torchgfn 2.4.1, gfnx 0.0.1 and gfn-diffusion too, in .peers/ (made if need be)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to it, after every case")
    given = parser.parse_intermixed_args(arguments)
    try:
        if given.keys == ["case=threads"]:
            compare()
            return
        jobs, rounds = plan(given.keys, given.peers)
        measure_all(jobs, rounds, given.peers, given.json)
    except UsageError as error:
        parser.exit(2, f"error: {error}\n")
    except OSError as error:
        parser.exit(2, f"error: cannot write {error.filename or given.json}: {error.strerror or error}\n")
    except KeyboardInterrupt:
        parser.exit(130)


def plan(words: Sequence[str], peers: bool) -> tuple[list[list[Job]], int]:
    """(For every case its measurements with gfn_vi, number of rounds); UsageError for words that cannot work."""
    options = {key: default for key, (default, _) in KEYS.items()}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS or not value:
            raise UsageError(f"{word}: expected key=value with a key of {', '.join(KEYS)}")
        options[key] = value
    if peers and options["device"] != "cpu":
        raise UsageError(f"device={options['device']}: the peers are compared on the CPU; leave out --peers or use device=cpu")

    def number(key: str, text: str) -> int:
        least = 0 if key == "warmup" else 1
        if not text.isdecimal() or int(text) < least:
            raise UsageError(f"{key}={text}: expected a whole number >= {least}")
        return int(text)

    def jobs(case: Case) -> list[Job]:
        defaults = {"updates": case.default_updates, "warmup": WARMUP * case.default_updates}
        updates, warmup = (number(key, options[key] or str(default)) for key, default in defaults.items())
        threads, runs = (number(key, options[key]) for key in ("threads", "runs"))
        replicas = [number("replicas", text) for text in options["replicas"].split(",")]
        return [Job(case.name, n, updates, warmup, threads, options["device"], runs) for n in replicas]

    rounds = number("rounds", options["rounds"] or ("3" if peers else "1"))
    return [jobs(case) for case in parse_cases(options["case"])], rounds


def measure_all(jobs: list[list[Job]], rounds: int, peers: bool, json_file: Path | None) -> None:
    """Case by case, in every round all implementations one after the other; print as it goes, save after every case."""
    if json_file is not None and not json_file.parent.is_dir():
        raise UsageError(f"--json {json_file}: there is no folder {json_file.parent}")
    warnings: list[str] = []
    results: list[Result] = []

    def warn(text: str) -> None:
        warnings.append(text)
        print(f"WARNING: {text}", file=sys.stderr, flush=True)

    cases = [several[0].case for several in jobs]
    for name in {name: None for case in cases for name in peers_of(case) if peers}:
        ensure_installed(name)
    machine = describe()
    print(f"{machine['processor']}, {machine['cores']} cores", flush=True)
    settings = {case.kind: dict(case.settings) for case in cases}
    report: dict[str, Any] = {"machine": machine, "settings": settings, "warnings": warnings, "results": results}
    for case, ours in zip(cases, jobs, strict=True):
        theirs = [(name, replace(ours[0], replicas=1)) for name in peers_of(case) if peers]
        turn = [*((OURS, job) for job in ours), *theirs]
        found: list[list[Result]] = [[] for _ in turn]
        for _ in range(rounds):
            for (name, job), so_far in zip(turn, found, strict=True):
                if not any("not_measured" in result for result in so_far):
                    so_far.append(run(name, job, warn))
        for several in found:
            results.append(summarized(several))
            print(*result_lines(results[-1]), sep="\n", flush=True)
        report["comparison"] = compared(results)
        if json_file is not None:
            json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for line in comparison_lines(report["comparison"]):
        print(line)
    if warnings:
        print(f"{len(warnings)} warnings that the machine was not idle: do not trust the times", file=sys.stderr)

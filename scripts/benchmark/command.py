"""Time training: trajectory balance on hypergrids and DAGs, beside other packages if asked; and measurements of a sampler.

    python scripts/benchmark.py                                  the five cases and all measurements, 1 and 8 replicas
    python scripts/benchmark.py case=2x8x64 replicas=8           one case: <dims>x<side>x<batch>, any of that form
    python scripts/benchmark.py case=dag                         5, 10 and 20 nodes, batch 64 and 256, MLP and transformer
    python scripts/benchmark.py case=dag5x64-mlp --peers         one of these, beside gfnx; any number of nodes and batch
    python scripts/benchmark.py case=collect replicas=1          10,000 runs in a temporary folder to one table
    python scripts/benchmark.py --peers --json benchmark.json    beside torchgfn and gfnx, interleaved

On-policy, 2 x 256 ReLU networks, Adam with rate 1e-3 (log Z: 0.1), float32. Hypergrids: learned separate P_B. DAGs: BGe score
of 100 rows of a random linear-Gaussian network, uniform prior, uniform P_B; the transformer as it comes. A time is the median
over blocks of updates, with their range. Every measurement is a process of its own. States are steps of real trajectories,
never padding. The machine should be idle: whoever else uses it is named in a warning.

case=dag is estimated to take half an hour on 2 cores, most of it the transformer on 20 nodes; with --peers rounds=1 twice that. A
measurement that needs more memory than is free is left out, and said to be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.cases import WARMUP, Case, Job, UsageError, parse_cases, settings
from benchmark.dags import FEWEST, FORM, DagCase

# Key -> (default, meaning); numbers are >= 1 unless LEAST says otherwise.
KEYS = {
    "case": (
        "all",
        "all (but dag and collect), dag, exact, exact_gradients, gradient_statistics, collect,\n"
        f"{'':<17}<dims>x<side>x<batch>, {FORM}; or some, with commas",
    ),
    "replicas": ("1,8", "seeds trained in one process; several numbers with commas"),
    "updates": ("", f"updates that are timed; default 50, of DAGs {FEWEST} to 50: the fewer, the larger nodes^2 x batch"),
    "warmup": ("", f"updates before that; default {WARMUP} times the default of updates"),
    "threads": ("2", "torch threads; gfnx: cores that it may use"),
    "device": ("cpu", "cpu, cuda or cuda:N"),
    "runs": ("10000", "runs that case=collect collects"),
    "rounds": ("", "how often everything is measured, interleaved; default 1, with --peers 3"),
}
LEAST = {"warmup": 0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status (2: a clear message on stderr)."""
    keys = "\n".join(f"  {key + '=' + default:<14} {meaning}" for key, (default, meaning) in KEYS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nkeys:\n{keys}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("keys", nargs="*", metavar="key=value", help="see above")
    parser.add_argument(
        "--peers", action="store_true", help="time torchgfn 2.4.1 and gfnx 0.0.1 too, in .peers/ (made if need be)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to it, after every case")
    given = parser.parse_intermixed_args(arguments)
    try:
        jobs, rounds = plan(parse(given.keys), given.peers)
        measure_all(jobs, rounds, given.peers, given.json)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write {error.filename or given.json}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def parse(given: Sequence[str]) -> dict[str, str]:
    """key=value words to a dictionary with defaults; UsageError for anything else."""
    options = {key: default for key, (default, _) in KEYS.items()}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS or not value:
            raise UsageError(f"{word}: expected key=value with a key of {', '.join(KEYS)}")
        options[key] = value
    return options


def whole_number(key: str, text: str) -> int:
    """A count."""
    least = LEAST.get(key, 1)
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{key}={text}: expected a whole number >= {least}")
    return int(text)


def plan(options: dict[str, str], peers: bool) -> tuple[dict[Case | DagCase, list[Job]], int]:
    """(Case -> its measurements with gfn_vi, number of rounds)."""
    if peers and options["device"] != "cpu":
        raise UsageError(f"device={options['device']}: the peers are compared on the CPU; leave out --peers or use device=cpu")
    replicas = [whole_number("replicas", text) for text in options["replicas"].split(",")]
    threads, runs = (whole_number(key, options[key]) for key in ("threads", "runs"))
    rounds = whole_number("rounds", options["rounds"] or ("3" if peers else "1"))

    def jobs(case: Case | DagCase) -> list[Job]:
        updates = whole_number("updates", options["updates"] or str(case.default_updates))
        warmup = whole_number("warmup", options["warmup"] or str(WARMUP * case.default_updates))
        return [Job(case, n, updates, warmup, threads, options["device"], runs) for n in replicas]

    return {case: jobs(case) for case in parse_cases(options["case"])}, rounds


def measure_all(jobs: Mapping[Case | DagCase, list[Job]], rounds: int, peers: bool, json_file: Path | None) -> None:
    """Case by case, in every round all implementations one after the other; print as it goes, save after every case."""
    from dataclasses import replace

    from benchmark.installing import ensure_installed, peers_of
    from benchmark.machine import describe
    from benchmark.report import comparison_lines, result_lines
    from benchmark.runner import OURS, Result, compared, disagreements, run, summarized

    if json_file is not None and not json_file.parent.is_dir():
        raise UsageError(f"--json {json_file}: there is no folder {json_file.parent}")
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        print(f"WARNING: {text}", file=sys.stderr, flush=True)

    if peers:
        for peer in {peer.name: peer for case in jobs for peer in peers_of(case)}.values():
            ensure_installed(peer)
    machine = describe()
    print(f"{machine['processor']}, {machine['cores']} cores", flush=True)
    report: dict[str, Any] = {"machine": machine, "settings": {}, "warnings": warnings, "results": []}
    report["settings"] = {case.kind: settings(case) for case in jobs}
    results: list[Result] = report["results"]
    for case, ours in jobs.items():
        theirs = [(peer.name, replace(ours[0], replicas=1)) for peer in peers_of(case) if peers]
        turn = [*((OURS, job) for job in ours), *theirs]
        found: list[list[Result]] = [[] for _ in turn]
        for _ in range(rounds):
            for place, (name, job) in enumerate(turn):
                if found[place] and "not_measured" in found[place][0]:
                    continue
                found[place].append(run(name, job, warn))
        for several in found:
            results.append(summarized(several))
            print(*result_lines(results[-1]), sep="\n", flush=True)
        report["comparison"] = compared(results)
        for line in disagreements(results[-len(turn) :]):
            raise UsageError(line)
        if json_file is not None:
            json_file.write_text(json.dumps(report, indent=1) + "\n")
    for line in comparison_lines(report["comparison"]):
        print(line)
    if warnings:
        print(f"{len(warnings)} warnings that the machine was not idle: do not trust the times", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

"""Runs measurements, each in a fresh process, and says when the machine was not idle."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmark.cases import BAD_SETTINGS, OUT_OF_MEMORY, Job, UsageError
from benchmark.dags import DagCase
from benchmark.installing import PEERS
from benchmark.machine import DISTURBING_CORES, Disturbance, lacks_memory, only_free_memory, watch

OURS = "gfn_vi"
SCRIPTS = Path(__file__).resolve().parents[1]
ERROR_LINES = 15
# Of log-rewards: a peer computes them in float32.
AGREEMENT = 1e-2
Result = dict[str, Any]


def run(name: str, job: Job, warn: Callable[[str], None]) -> Result:
    """Measure `job` with gfn_vi or a peer. Raises UsageError with the last lines of a process that failed.

    Without times, and with "not_measured" instead, where it needs more memory than is free.
    """
    load = watch()
    if load.busy_cores is None or load.disturbing:
        warn(f"before {label(name, job)} {load.message()}")
    disturbance = Disturbance()
    found = _result_of(name, job)
    others = disturbance.cores()
    if others is not None and others > DISTURBING_CORES:
        warn(f"during {label(name, job)} the machine was not idle: others used {others:.1f} cores on average")
    head = {"implementation": name, "case": job.case.name, "replicas": job.replicas, "batch": job.case.batch}
    head |= {"updates": job.updates, "warmup": job.warmup}
    busy = {"busy_cores_before": load.busy_cores, "busy_cores_during": others, "load_average": load.load_average}
    return head | found | busy


def label(name: str, job: Job) -> str:
    """For people."""
    replicas = f", {job.replicas} replicas" if job.replicas > 1 else ""
    return f"{name} {job.case.name}{replicas}"


def _result_of(name: str, job: Job) -> Result:
    given, environment = job.to_dict(), dict(os.environ)
    if name == OURS:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SCRIPTS), environment.get("PYTHONPATH")]))
        return run_process(name, job, [sys.executable, "-m", "benchmark.measure"], given, environment)
    environment.pop("PYTHONPATH", None)
    environment["JAX_PLATFORMS"] = "cpu"
    # -O: without asserts, as a user in a hurry would run it
    command = [str(PEERS[name].python), "-O", str(PEERS[name].script(job.case.kind))]
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(job.case, DagCase):
            given["data_file"] = f"{folder}/table.txt"
            write_table(job, given["data_file"])
        return run_process(name, job, command, given, environment)


def write_table(job: Job, file: str) -> None:
    """What the score sees, for a peer: one row per line."""
    import numpy
    from hydra.utils import instantiate

    from benchmark.overrides import composed

    numpy.savetxt(file, instantiate(composed(job).target.data).table().values.numpy())


def run_process(name: str, job: Job, command: list[str], given: Mapping[str, Any], environment: dict[str, str]) -> Result:
    """The command with `given` as JSON; its result is the last line."""
    with only_free_memory() if job.device == "cpu" else contextlib.nullcontext():
        done = subprocess.run([*command, json.dumps(given)], env=environment, capture_output=True, text=True, check=False)
    words = done.stderr.strip()
    if done.returncode == BAD_SETTINGS:
        raise UsageError(words.splitlines()[-1])
    if done.returncode in (OUT_OF_MEMORY, -signal.SIGKILL) or (done.returncode != 0 and lacks_memory(words)):
        return {"not_measured": "needs more memory than is free"}
    if done.returncode != 0:
        last = "\n".join(words.splitlines()[-ERROR_LINES:])
        raise UsageError(f"{label(name, job)} failed with status {done.returncode}:\n{last}")
    found: Result = json.loads(done.stdout.splitlines()[-1])
    return found


def summarized(rounds: list[Result]) -> Result:
    """Several rounds of the same measurement as one: blocks of all of them, median and range; rates follow from the median."""
    merged = dict(rounds[-1])
    if "not_measured" in merged:
        return merged
    blocks = [ms for one in rounds for ms in one["block_ms"]]
    merged["block_ms"], merged["rounds"] = blocks, len(rounds)
    for key in ("peak_memory_mb", "busy_cores_before", "busy_cores_during"):
        known = [one[key] for one in rounds if one.get(key) is not None]
        merged[key] = max(known) if known else None
    ms = median(blocks)
    merged["ms"], merged["ms_range"] = ms, [min(blocks), max(blocks)]
    merged["ms_per_replica"] = ms / merged["replicas"]
    if "mean_length" in merged:
        merged["mean_length"] = sum(one["mean_length"] for one in rounds) / len(rounds)
        per_second = 1e3 / ms * merged["replicas"] * merged["batch"]
        merged["trajectories_per_second"] = per_second
        merged["states_per_second"] = per_second * merged["mean_length"]
    if "by_step_ms" in merged:
        merged["by_step_ms"] = median([one["by_step_ms"] for one in rounds])
    if "rewards_per_update" in merged:
        merged["rewards_per_second"] = merged["rewards_per_update"] * 1e3 / ms
    if "phases_ms" in merged:
        names = merged["phases_ms"]
        merged["phases_ms"] = {name: median([one["phases_ms"][name] for one in rounds]) for name in names}
        merged["distinct_share"] = median([one["distinct_share"] for one in rounds])
    return merged


def compared(results: list[Result]) -> list[Result]:
    """Ours beside the peers: one row per case, number of replicas and peer.

    ratio: their milliseconds per update over ours per replica; ratio_matched: the same per visited state, so that it does
    not matter that policies trained from other seeds make shorter or longer trajectories.
    """
    rows = []
    for ours in results:
        if ours["implementation"] != OURS or "mean_length" not in ours:
            continue
        for theirs in results:
            if theirs["implementation"] != OURS and theirs["case"] == ours["case"] and "ms" in theirs:
                ratio = theirs["ms"] / ours["ms_per_replica"]
                rows.append(
                    {
                        "case": ours["case"],
                        "replicas": ours["replicas"],
                        "peer": theirs["implementation"],
                        "ratio": ratio,
                        "ratio_matched": ratio * ours["mean_length"] / theirs["mean_length"],
                    }
                )
    return rows


def disagreements(results: list[Result]) -> list[str]:
    """A line for every peer whose log-rewards of the same graphs are other than ours: it samples from something else."""
    lines = []
    ours = {r["case"]: r["log_rewards"] for r in results if r["implementation"] == OURS and "log_rewards" in r}
    for r in results:
        wanted, found = ours.get(r["case"]), r.get("log_rewards")
        if wanted is None or found is None:
            continue
        if not all(math.isclose(a, b, rel_tol=AGREEMENT, abs_tol=1) for a, b in zip(wanted, found, strict=True)):
            lines.append(f"{r['implementation']} {r['case']}: log-rewards {found} of two graphs, ours are {wanted}")
    return lines

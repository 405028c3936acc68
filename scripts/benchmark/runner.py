"""Runs measurements, each in a fresh process, and says when the machine was not idle."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.cases import BAD_SETTINGS, DAG, Job, UsageError
from benchmark.installing import ensure_installed, script
from benchmark.machine import DISTURBING_CORES, Others, lacks_memory, only_free_memory, watch

OURS = "gfn_vi"
SCRIPTS = Path(__file__).resolve().parents[1]
ERROR_LINES = 15
Result = dict[str, Any]


def run(name: str, job: Job, warn: Callable[[str], None]) -> Result:
    """Measure `job` with gfn_vi or a peer. Raises UsageError with the last lines of a process that failed.

    Without times, and with "not_measured" instead, where it needs more memory than is free.
    """
    label = f"{name} {job.case.name}" + (f", {job.replicas} replicas" if job.replicas > 1 else "")
    load_average = os.getloadavg()[0]
    before, message = watch()
    if message:
        warn(f"before {label} {message}")
    others = Others()
    try:
        found = _result_of(name, job)
    except subprocess.CalledProcessError as error:
        last = "\n".join(error.stderr.splitlines()[-ERROR_LINES:])
        raise UsageError(f"{label} failed with status {error.returncode}:\n{last}") from None
    during = others.cores()
    if during is not None and during > DISTURBING_CORES:
        warn(f"during {label} the machine was not idle: others used {during:.1f} cores on average")
    head = {"implementation": name, "case": job.case.name, "replicas": job.replicas, "batch": job.case.batch}
    head |= {"updates": job.updates, "warmup": job.warmup}
    return head | found | {"busy_cores_before": before, "busy_cores_during": during, "load_average": load_average}


def _result_of(name: str, job: Job) -> Result:
    given, environment = job.to_dict(), dict(os.environ)
    if name == OURS:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SCRIPTS), environment.get("PYTHONPATH")]))
        return run_process(job, [sys.executable, "-m", "benchmark.measure", json.dumps(given)], environment)
    environment.pop("PYTHONPATH", None)
    environment["JAX_PLATFORMS"] = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        if job.case.kind == DAG:
            given["data_file"] = f"{folder}/table.txt"
            write_table(job, given["data_file"])
        # -O: without asserts, as a user in a hurry would run it
        command = [str(ensure_installed(name)), "-O", str(script(name, job.case)), json.dumps(given)]
        return run_process(job, command, environment)


def write_table(job: Job, file: str) -> None:
    """Write what the score sees, for a peer: one row per line."""
    import numpy
    from hydra.utils import instantiate

    numpy.savetxt(file, instantiate(job.config().target.data).table().values.numpy())


def run_process(job: Job, command: list[str], environment: dict[str, str]) -> Result:
    """Run the command, whose last line is its result. Raises CalledProcessError where it failed, UsageError where it says why."""
    with only_free_memory() if job.device == "cpu" else contextlib.nullcontext():
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == BAD_SETTINGS:
        raise UsageError(done.stderr.splitlines()[-1])
    if done.returncode == -signal.SIGKILL or (done.returncode != 0 and lacks_memory(done.stderr)):
        return {"not_measured": "needs more memory than is free"}
    done.check_returncode()
    found: Result = json.loads(done.stdout.splitlines()[-1])
    return found

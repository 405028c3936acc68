"""Runs measurements, each in a fresh process, and says when the machine was not idle.

Other GFlowNet packages have each an environment of its own under .peers/ of the clone, and are timed by
scripts/benchmark/peers/<package>_<kind of case>.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.cases import BAD_SETTINGS, DAG, Case, Job, UsageError
from benchmark.machine import Others, lacks_memory, only_free_memory

OURS = "gfn_vi"
SCRIPTS = Path(__file__).resolve().parents[1]
CLONE = SCRIPTS.parent
# Name -> requirements.
PEERS = {
    # The torch that requirements.lock has. Its BayesianStructure keeps graphs as objects and goes through them in Python for
    # masks, features and scores; it is not compared on DAGs.
    "torchgfn": ("torch==2.13.0", "torchgfn==2.4.1"),
    # equinox is what its baselines build networks with; gfnx wants numpy 1.26, which newer releases of jax refuse.
    "gfnx": ("gfnx==0.0.1", "jax==0.6.2", "jaxlib==0.6.2", "equinox==0.13.8", "optax==0.2.8", "numpy==1.26.4"),
    # einops, matplotlib and pillow are what its modules import.
    "gfn_diffusion": ("torch==2.13.0", "numpy==2.3.5", "einops==0.8.2", "matplotlib==3.11.2", "pillow==13.0.0"),
}
# Name -> repository, commit and folder in it of what is no package: cloned to `source` in the peer's environment.
SOURCES = {
    "gfn_diffusion": ("https://github.com/GFNOrg/gfn-diffusion", "255b499ec2aecd40fcba7e3d7fcb0bb5d0db3682", "energy_sampling")
}
# So much of what a process that failed has said is shown, and so long others are watched before a measurement.
ERROR_LINES, WATCH_SECONDS = 15, 0.5
Result = dict[str, Any]


def peers_of(case: Case) -> list[str]:
    """Return the peers that have what the case trains on."""
    return [peer for peer in PEERS if _script(peer, case).is_file()]


def _script(peer: str, case: Case) -> Path:
    return SCRIPTS / "benchmark" / "peers" / f"{peer}_{case.kind}.py"


def _python(peer: str) -> Path:
    return CLONE / ".peers" / peer / "bin" / "python"


def ensure_installed(peer: str) -> None:
    """Make the peer's environment unless it is there with these very requirements. Raises UsageError with the last words."""
    python = _python(peer)
    folder = python.parents[1]
    if not python.exists():
        print(f"installing {peer} into {folder} (once, 1 to 5 minutes)", flush=True)
    commands = [[sys.executable, "-m", "venv", str(folder)], [str(python), "-m", "pip", "install", "--quiet", *PEERS[peer]]]
    if peer in SOURCES:
        repository, commit, part = SOURCES[peer]
        source = folder / "source"
        if not source.exists():
            commands.append(["git", "clone", "--quiet", "--no-checkout", repository, str(source)])
        commands.append(["git", "-C", str(source), "checkout", "--quiet", commit, "--", part])
    for command in commands:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False
        )
        if done.returncode != 0:
            raise UsageError(f"{peer} cannot be installed; {' '.join(command)} said:\n{_end_of(done.stdout)}")


def run(name: str, job: Job, warn: Callable[[str], None]) -> Result:
    """Measure `job` with gfn_vi or a peer. Raises UsageError with the last lines of a process that failed.

    Without times, and with "not_measured" instead, where it needs more memory than is free.
    """
    label = f"{name} {job.name}" + (f", {job.replicas} replicas" if job.replicas > 1 else "")
    result: Result = {"implementation": name, "case": job.name, "replicas": job.replicas, "batch": job.case.batch}
    result |= {"updates": job.updates, "warmup": job.warmup, "load_average": os.getloadavg()[0]}

    def look(when: str, others: Others) -> None:
        result[f"busy_cores_{when}"] = others.cores()
        if warning := others.warning():
            warn(f"{when} {label} {warning}")

    idle = Others()
    time.sleep(WATCH_SECONDS)
    look("before", idle)
    others = Others()
    result |= _measured(name, job, label)
    look("during", others)
    return result


def _measured(name: str, job: Job, label: str) -> Result:
    environment = dict(os.environ)
    if name == OURS:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SCRIPTS), environment.get("PYTHONPATH")]))
        return run_process(label, job, [sys.executable, "-m", "benchmark.measure", json.dumps(asdict(job))], environment)
    environment.pop("PYTHONPATH", None)
    environment["JAX_PLATFORMS"] = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        given = job.facts()
        if job.case.kind == DAG:
            given["data_file"] = f"{folder}/table.txt"
            write_table(job, given["data_file"])
        # -O: without asserts, as a user in a hurry would run it
        command = [str(_python(name)), "-O", str(_script(name, job.case)), json.dumps(given)]
        return run_process(label, job, command, environment)


def write_table(job: Job, file: str) -> None:
    """Write what the score sees, for a peer: one row per line."""
    import numpy
    from hydra.utils import instantiate

    numpy.savetxt(file, instantiate(job.config().target.data).table().values.numpy())


def run_process(label: str, job: Job, command: list[str], environment: dict[str, str]) -> Result:
    """Run the command, whose last line is its result. Raises UsageError, which says why it failed."""
    with only_free_memory() if job.device == "cpu" else contextlib.nullcontext():
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode == BAD_SETTINGS:
        raise UsageError(done.stderr.splitlines()[-1])
    if done.returncode == -signal.SIGKILL or (done.returncode != 0 and lacks_memory(done.stderr)):
        return {"not_measured": "needs more memory than is free"}
    if done.returncode != 0:
        raise UsageError(f"{label} failed with status {done.returncode}:\n{_end_of(done.stderr)}")
    found: Result = json.loads(done.stdout.splitlines()[-1])
    return found


def _end_of(words: str) -> str:
    return "\n".join(words.splitlines()[-ERROR_LINES:])

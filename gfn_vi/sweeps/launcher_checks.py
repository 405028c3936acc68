"""What a launcher needs, asked before work starts: its plugin, a Slurm with the partition, a Ray that answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.seeds import is_whole

SLURM_SECONDS, RAY_SECONDS, RAY_HEALTH_SECONDS = 10.0, 2.0, 20.0
ADDRESS = "hydra.launcher.ray.init.address"
NOT_AN_ADDRESS = ("auto", "local")  # Ray looks for a cluster on this machine, or starts one


def make_room_for_presets() -> None:
    """Rename what the Ray plugin calls ray to ray_plugin, on which our ray.yaml builds; once plugins are loaded.

    Hydra warns of a file with the name of a plugin's configuration, and such a file cannot build on it.
    """
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    if "ray.yaml" in launchers:
        launchers["ray_plugin.yaml"] = launchers.pop("ray.yaml")


def check_launcher(launcher: DictConfig) -> None:
    """Raise ConfigError if jobs cannot be started with this hydra.launcher for a reason that shows within seconds."""
    name = str(launcher.get("_target_")).rpartition(".")[2]
    if name == "SlurmLauncher":
        _check_slurm(launcher.partition)
    elif name == "JoblibLauncher":
        expected = "expected a number of jobs at a time, or -1: one for each CPU"
        require(is_whole(launcher.n_jobs) and launcher.n_jobs != 0, "hydra.launcher.n_jobs", launcher.n_jobs, expected)
    elif name == "RayLauncher":
        _check_ray(launcher.ray.init.get("address") or os.environ.get("RAY_ADDRESS"))


def _check_slurm(partition: str | None) -> None:
    partitions = [word.rstrip("*") for word in _slurm_says("sinfo", "--noheader", "--format=%P").split()]
    unknown = sorted({*(partition or "").split(",")} - {*partitions, ""})
    there_are = f"no such partition; there are: {', '.join(partitions) or 'none'}"
    require(not unknown, "hydra.launcher.partition", ",".join(unknown), there_are)
    try:
        _slurm_says("sacct", "--jobs=1", "--noheader")
    except ConfigError as error:
        remedy = "jobs that are killed would be waited for without end; put scripts/clusters/sacct of gfn_vi on PATH"
        raise ConfigError(error.key, error.found, f"{error.expected}: {remedy}") from error


def _slurm_says(command: str, *arguments: str) -> str:
    def refusal(why: str) -> ConfigError:
        return ConfigError("hydra/launcher", "slurm", why)

    missing = [name for name in ("sbatch", command) if shutil.which(name) is None]
    if missing:
        raise refusal(f"there is no command {missing[0]} here: start the sweep on a login node of a Slurm cluster")
    try:
        answer = subprocess.run(
            [command, *arguments], capture_output=True, encoding="utf-8", errors="replace", timeout=SLURM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise refusal(f"Slurm does not answer {command} within {SLURM_SECONDS:.0f} s") from None
    if answer.returncode != 0:
        lines = answer.stderr.split("\n") if answer.stderr.strip() else [f"exit status {answer.returncode}"]
        raise refusal(f"{command} fails ({lines[0].strip()})")
    return answer.stdout


def _check_ray(address: str | None) -> None:
    if address is None or address in NOT_AN_ADDRESS:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    expected = "expected host:port of a running cluster, auto, or null: this machine"
    require(host != "" and port.isdigit(), ADDRESS, address, expected)
    try:
        socket.create_connection((host, int(port)), timeout=RAY_SECONDS).close()
    except (OSError, OverflowError) as error:
        why = f"nobody answers there ({error}): start Ray (ray start --head), or null: this machine"
        raise ConfigError(ADDRESS, address, why) from error
    if not address.startswith("ray://"):
        _check_health(address)


def _check_health(address: str) -> None:
    """Ask what answers for its health: without it, ray.init tries for 20 s and does not say what is wrong."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=RAY_HEALTH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(ADDRESS, address, f"no Ray of this version answers within {RAY_HEALTH_SECONDS:.0f} s") from None
    if answer.returncode == 0:
        return
    if "AuthenticationError" in answer.stderr:
        remedy = "give this shell RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH of the cluster, or ~/.ray/auth_token"
        raise ConfigError(ADDRESS, address, f"this Ray wants another token: {remedy}")
    last = (answer.stderr.strip() or f"exit status {answer.returncode}").splitlines()[-1]
    raise ConfigError(ADDRESS, address, f"what answers there is no healthy Ray of this version ({last})")

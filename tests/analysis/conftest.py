"""Run directories with real files, as the trainer leaves them."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from gfn_vi.core.headline import Headline

HEADER = "step,trajectories,reward_calls,wall_seconds,replica,metric,value\n"
BATCH = 64
JSD = Headline("jsd", "minimize", math.log(2), "exact Jensen-Shannon divergence (nats)")
# arm: (final JSD, trajectories to fall by e, modes covered at the end)
ARMS = {
    "trajectory_balance": (2e-3, 3500, 4),
    "trajectory_balance_off_policy": (1.5e-3, 2600, 4),
    "reverse_kl": (9e-2, 4000, 2),
    "forward_kl": (8e-3, 5000, 4),
    "wake_sleep": (5e-3, 4500, 4),
    "reverse_wake_sleep": (1e-3, 3000, 4),
}


def target_distribution(side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """States [S, 2] by the sum of their coordinates and the corners reward of the paper, normalized [S]."""
    states = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    states = states[np.argsort(states.sum(-1), kind="stable")]
    twice = np.abs(2 * states - (side - 1)) / (side - 1)  # 2 z
    reward = 0.01 + 0.5 * (twice > 0.5).all(-1) + 2.0 * ((twice > 0.6 + 1e-9) & (twice < 0.8 - 1e-9)).all(-1)
    return states, reward / reward.sum()


def write_run(
    folder: Path,
    arm: str = "trajectory_balance",
    state: str = "done",
    seed: int = 0,
    replicas: int = 5,
    n_points: int = 40,
    n_trajectories: int = 50_000,
    clock: float = 1.0,
    **config: object,
) -> Path:
    """One run directory of `arm` under `folder`: config.yaml, status.json, metrics.csv, arrays.npz."""
    final, scale, modes = ARMS[arm]
    rng = np.random.default_rng([seed, list(ARMS).index(arm)])
    path = folder / f"{arm}-s{seed}-{zlib.crc32(f'{arm} {seed} {config}'.encode()):08x}"
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(run_config(arm, seed, replicas) | config))
    (path / "status.json").write_text(
        json.dumps({"state": state, "step": n_points, "error": None, "seed": seed, "headline": JSD.as_dict()})
    )
    states, target = target_distribution()
    lines, learned = [HEADER], []
    for replica in range(replicas):
        x = np.linspace(0, n_trajectories, n_points + 1).round().astype(int) // BATCH
        own = np.exp(0.35 * rng.standard_normal())
        noise = np.exp(0.12 * np.cumsum(rng.standard_normal(len(x))) / np.sqrt(1 + np.arange(len(x))))
        jsd = (0.45 * np.exp(-x * BATCH / (scale * own)) + final * own) * noise
        covered = np.minimum(modes, (x * BATCH / (1.3 * scale * own)).astype(int))
        log_z = np.log(target.size) * (1 - np.exp(-x / 80.0))
        for metric, values in {"jsd": jsd, "modes_covered": covered, "log_Z": log_z}.items():
            lines += [
                f"{s},{s * BATCH},{s * BATCH},{clock * s * 0.01:.3f},{replica},{metric},{float(v)!r}\n"
                for s, v in zip(x.tolist(), values, strict=True)
            ]
        corner = (states[:, 0] > 7) + 2 * (states[:, 1] > 7)
        density = target * np.exp(12 * np.sqrt(final) * 0.3 * rng.standard_normal(len(target)))
        density = np.where(corner >= modes, 0.02 * density, density)
        learned.append(density / density.sum())
    (path / "metrics.csv").write_text("".join(lines))
    np.savez(path / "arrays.npz", states=states, target=target, learned=np.stack(learned))
    return path


def run_config(arm: str, seed: int, replicas: int) -> dict[str, object]:
    """A resolved configuration such as config.yaml holds."""
    return {
        "experiment_name": "quickstart",
        "arm_name": arm,
        "seed": seed,
        "replicas": replicas,
        "device": "cpu",
        "output_root": "outputs",
        "logger": {"mode": "offline"},
        "target": {"_target_": "gfn_vi.targets.grids.hypergrid.Hypergrid", "n_dims": 2, "side": 16, "reward": {"r0": 0.01}},
        "objective": {
            "_target_": f"gfn_vi.objectives.{arm}",
            "baseline": None if "balance" in arm else "leave_one_out",
        },
        "optimizer": {"rates": [1e-3, 1e-3, 0.1], "clip": None},
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """write_run under tmp_path/quickstart."""
    return lambda *arguments, **keywords: write_run(tmp_path / "quickstart", *arguments, **keywords)


@pytest.fixture
def make_quickstart(make_run: Callable[..., Path]) -> Callable[[], Path]:
    """All six arms; the experiment's folder."""

    def make() -> Path:
        for arm in ARMS:
            path = make_run(arm)
        return path.parent

    return make

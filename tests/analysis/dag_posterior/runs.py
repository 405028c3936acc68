"""Runs over graphs whose numbers are known, on disk as the trainer leaves them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from gfn_vi.analysis.reading.table import collect

EXPERIMENT = Path(__file__).resolve().parents[3] / "experiments/dag_posterior"
HEADER = "step,trajectories,reward_calls,wall_seconds,replica,metric,value\n"
BATCH, UPDATES, EVERY = 100, 1000, 100  # updates between two evaluations
# arm: final JSD for d = 3, 4, 5; graphs differ by up to a factor of 1.5 around it
FINAL = {
    "trajectory_balance": (0.022, 0.123, 0.277),
    "modified_detailed_balance": (0.02, 0.1, 0.2),
    "log_variance": (0.022, 0.12, 0.25),
    "reverse_kl": (0.022, 0.125, 0.306),
    "forward_kl": (0.01, 0.05, 0.15),
    "wake_sleep": (0.012, 0.05, 0.14),
    "trajectory_balance_off_policy": (3.7e-7, 9.35e-6, 5.44e-4),
    "modified_detailed_balance_off_policy": (5.32e-6, 2.05e-5, 4.65e-4),
    "log_variance_off_policy": (6e-7, 1.5e-5, 6e-4),
    "reverse_kl_off_policy": (0.014, 0.605, 0.656),
    "forward_kl_off_policy": (1e-3, 0.03, 0.1),
    "wake_sleep_off_policy": (2e-3, 0.02, 0.2),
}


def calls_per_update(arm: str, d: int) -> int:
    """Balance objectives replay nine tenths of an off-policy batch; modified DB counts every state."""
    replays = arm.endswith("_off_policy") and ("balance" in arm or "variance" in arm)
    return (BATCH // 10 if replays else BATCH) * (d if arm.startswith("modified") else 1)


def jsd_at(arm: str, d: int, seed: int, share: np.ndarray) -> np.ndarray:
    """From 0.6 down to the final value of this graph, in equal factors, after `share` of the updates."""
    final = FINAL[arm][d - 3] * 1.5 ** ((seed - 2) / 2)
    return 0.6 * (min(final, 0.69) / 0.6) ** share


def write_run(folder: Path, arm: str, d: int, seed: int, state: str = "done", frozen_at: int | None = None) -> Path:
    """One graph: config.yaml, status.json, metrics.csv, arrays.npz; frozen from update `frozen_at` on."""
    path = folder / f"{arm}-d{d}-seed{seed}"
    path.mkdir(parents=True)
    config = {
        "arm_name": arm,
        "seed": seed,
        "replicas": 1,
        "target": {"data": {"n_nodes": d, "seed": seed}},
        "evaluation": {"every": BATCH * EVERY * d},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "status.json").write_text(json.dumps({"state": state, "error": None}))
    steps = np.arange(0, UPDATES + 1, EVERY)
    jsd = jsd_at(arm, d, seed, steps / UPDATES)
    rmse = 0.5 * np.sqrt(jsd)
    metrics = {"jsd": jsd, "edge_rmse": rmse, "edge_correlation": 1 - rmse, "path_rmse": rmse, "markov_blanket_rmse": rmse}
    lines = [HEADER]
    for row, step in enumerate(steps.tolist()):
        values = {name: float(column[row]) for name, column in metrics.items()} | {"frozen": 0.0}
        if frozen_at is not None and step >= frozen_at:
            values |= {"frozen": 1.0}
        start = f"{step},{step * BATCH},{step * calls_per_update(arm, d)},{step * 0.01}"
        lines += [f"{start},0,{name},{value!r}\n" for name, value in values.items()]
    (path / "metrics.csv").write_text("".join(lines))
    rng = np.random.default_rng([d, seed])
    exact = rng.beta(0.6, 0.8, (d, d)) * (1 - np.eye(d))
    wrong = np.random.default_rng([d, seed, list(FINAL).index(arm)]).uniform(-1, 1, (d, d))
    learned = np.clip(exact + wrong * np.sqrt(jsd[-1]), 0, 1)
    np.savez(path / "arrays.npz", edges_learned=learned[None], edges_target=exact)
    return path


def table_of(folder: Path) -> pd.DataFrame:
    """As the command collects it."""
    return collect(folder, ["target.data.n_nodes"], say=lambda _: None)


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))

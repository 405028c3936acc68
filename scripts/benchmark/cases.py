"""What is timed: training on hypergrids, DAGs, densities and molecules, measurements of a sampler, collecting many runs.

A case is the overrides of a run, so nothing is timed that scripts/train.py would not do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

HYPERGRID, DAG, DENSITY, MOLECULES, EXACT, COLLECT = "hypergrid", "dag", "density", "molecules", "exact", "collect"
# Settings that all implementations share; rows: of the table; token_width, layers and heads: of the transformer.
RATES = {"rate": 1e-3, "rate_log_z": 0.1}
GRID_SETTINGS: Mapping[str, Any] = {"r0": 0.1, "r1": 0.5, "r2": 2.0, "width": 256, **RATES}
DAG_SETTINGS: Mapping[str, Any] = {"rows": 100, "width": 256, "token_width": 64, "layers": 2, "heads": 4, **RATES}
DENSITY_SETTINGS: Mapping[str, Any] = {"width": 64, "n_frequencies": 64, **RATES}
# Overrides of scripts/train.py; what stands in braces is a key of Job.facts().
TRAINING = """
    exploration=on_policy objective=trajectory_balance trainer.batch_size={batch} replicas={replicas} seed={seed}
    optimizer=adam optimizer.lr_forward={rate} optimizer.lr_backward={rate} optimizer.lr_log_Z={rate_log_z}
    dtype=float32 device={device} threads={threads}
"""
GRID_OVERRIDES = """
    target=hypergrid reward@target.reward=corners target.n_dims={dims} target.side={side}
    target.r0={r0} target.reward.r1={r1} target.reward.r2={r2}
    sampler=mlp sampler.hidden=[{width},{width}] sampler.backward=learned
"""
DAG_OVERRIDES = """
    target=dag score@target.score=bge graph_prior@target.prior=uniform data@target.data=erdos_renyi
    target.data.n_nodes={n_nodes} target.data.n_samples={rows} target.data.n_held_out=0
"""
DAG_NETWORKS: Mapping[str, str] = {
    "mlp": "sampler=mlp sampler.hidden=[{width},{width}] sampler.backward=uniform",
    "transformer": "sampler=dag_transformer sampler.width={token_width} sampler.layers={layers} sampler.heads={heads} "
    "sampler.backward=uniform",
}
DENSITY_OVERRIDES = """
    target={target} sampler=diffusion sampler.n_steps={n_steps} sampler.sigma={sigma}
    sampler.hidden=[{width},{width}] sampler.n_frequencies={n_frequencies}
"""
MOLECULE_OVERRIDES = "target=molecules proxy@target.proxy=qed sampler=molecule_{network}"
MOLECULE_NETWORKS = ("attention", "mpnn")
ALONG_NOISE = "objective=reverse_kl baseline@objective.baseline=none estimator@objective.estimator="
DENSITY_LOSSES = {"tb": "", **{name: ALONG_NOISE + name for name in ("pathwise", "sticking_the_landing")}}
SIGMAS = {"gmm25": 5**0.5, "many_well": 1.0}  # as in the commands of gfn-diffusion
# Goals: how many times as fast as the faster peer an update is, per replica, with so many replicas.
GOALS: Mapping[str, Mapping[int, float]] = {
    "2x8x64": {1: 2.5, 8: 7.0},
    "2x64x64": {1: 3.0, 8: 5.0},
    "2x128x64": {1: 3.0, 8: 5.0},
    "4x8x64": {1: 2.0, 8: 3.0},
    "4x8x512": {1: 4.0, 8: 5.0},
}
# Goals: how many times the bound by arithmetic an update may take, with so many replicas.
BOUND_GOALS: Mapping[str, Mapping[int, float]] = {
    "2x8x64": {1: 7.0, 5: 3.0},
    "2x64x64": {1: 2.0, 5: 1.8},
    "2x128x64": {1: 3.0, 5: 2.5},
    "4x8x64": {1: 3.5, 5: 2.0},
    "4x8x512": {1: 1.7, 5: 1.6},
}
DAG_GOALS: Mapping[str, Mapping[int, float]] = {"dag5x64-mlp": {1: 1.3, 8: 1.0}}
OTHER_DAGS_GOALS = {1: 1.0, 8: 1.0}
DENSITY_GOALS: Mapping[str, Mapping[int, float]] = {"tb": {1: 3.0, 5: 4.0}, "pathwise": {1: 1 / 1.5}}
# Name of a measurement -> the grid whose sampler is measured, and further overrides; collect: of files on disk.
MEASUREMENTS: Mapping[str, tuple[str, str]] = {
    EXACT: ("2x128x64", ""),
    "exact_gradients": ("2x128x64", "sampler.flow=true"),
    "gradient_statistics": (
        "2x32x1024",
        "evaluation=gradients evaluation.metrics.gradients.n_batches=64 "
        "evaluation.metrics.gradients.batch_sizes=[1024] trainer.batch_size=64",
    ),
    COLLECT: ("2x8x64", ""),
}
DAG_FORM = f"dag<nodes>x<batch>-{'|'.join(DAG_NETWORKS)}"
DAG_CASES = [f"dag{n_nodes}x{batch}-{network}" for n_nodes in (5, 10, 20) for batch in (64, 256) for network in DAG_NETWORKS]
DENSITY_FORM = f"{'|'.join(SIGMAS)}-<steps>x<batch>-{'|'.join(DENSITY_LOSSES)}"
DENSITY_CASES = [*(f"{target}-100x300-tb" for target in SIGMAS), *(f"gmm25-100x300-{loss}" for loss in list(DENSITY_LOSSES)[1:])]
MOLECULE_FORM = f"molecules<batch>-{'|'.join(MOLECULE_NETWORKS)}"
MOLECULE_CASES = [f"molecules{batch}-{network}" for batch in (4, 64) for network in MOLECULE_NETWORKS]
# Trajectories of molecules that are timed by default, in MOST updates at most.
TIMED_MOLECULES = 1_000
# Updates of DAGs that are timed by default: so many that about STEPS steps would be taken by trajectories of full length.
STEPS, FEWEST, MOST = 60_000, 3, 50
# Updates are timed in up to so many blocks: their median is reported, and their range as its spread.
BLOCKS = 5
WARMUP = 2  # updates before that, by default, for one that is timed
COLLECTED_RUNS = 10_000
BAD_SETTINGS = 2  # exit status of a measurement that cannot be made


class UsageError(ValueError):
    """A command line that cannot work, or a peer that cannot be installed; one message that says why."""


@dataclass(frozen=True)
class Case:
    """Training with `batch` trajectories per update and replica, or a measurement of a sampler that was trained so.

    kind: what is trained on, or the measurement; size: what the name says beside the batch.
    """

    name: str
    kind: str
    batch: int
    size: Mapping[str, Any]
    settings: Mapping[str, Any]
    overrides: str
    default_updates: int = MOST
    goals: Mapping[int, float] = field(default_factory=dict)


def parse_cases(text: str) -> list[Case]:
    """Parse names with commas between: groups, or single cases.

    Groups are "all" (hypergrids and measurements but collect), "dag", "density" and "molecules".
    """
    groups = {"all": [*GOALS, *(name for name in MEASUREMENTS if name != COLLECT)]}
    groups |= {DAG: DAG_CASES, DENSITY: DENSITY_CASES, MOLECULES: MOLECULE_CASES}
    names = [name for word in text.split(",") for name in groups.get(word, [word])]
    return [case_of(name) for name in dict.fromkeys(names)]


def case_of(name: str) -> Case:
    """Return the case of a name like `exact`, `2x8x64` or `dag5x64-mlp`."""
    if name in MEASUREMENTS:
        grid, more = MEASUREMENTS[name]
        case = case_of(grid)
        return replace(case, name=name, kind=name, overrides=f"{case.overrides} {more}", goals={})
    if found := re.fullmatch(r"(\d+)x(\d+)x(\d+)", name):
        dims, side, batch = map(int, found.groups())
        if dims < 1 or side < 2 or batch < 1:
            raise UsageError(f"case={name}: expected at least 1 dimension, side 2 and batch 1")
        overrides, goals = TRAINING + GRID_OVERRIDES, GOALS.get(name, {})
        return Case(name, HYPERGRID, batch, {"dims": dims, "side": side}, GRID_SETTINGS, overrides, goals=goals)
    if found := re.fullmatch(rf"dag(\d+)x(\d+)-({'|'.join(DAG_NETWORKS)})", name):
        n_nodes, batch, network = int(found[1]), int(found[2]), found[3]
        if n_nodes < 2 or batch < 1:
            raise UsageError(f"case={name}: expected at least 2 nodes and batch 1")
        # Fewer updates where one takes long. The number of replicas does not matter, so that all are as far trained.
        longest = n_nodes * (n_nodes - 1) // 2 + 1
        updates = min(MOST, max(FEWEST, round(STEPS / (batch * longest))))
        overrides = TRAINING + DAG_OVERRIDES + DAG_NETWORKS[network]
        goals = DAG_GOALS.get(name, OTHER_DAGS_GOALS)
        return Case(name, DAG, batch, {"n_nodes": n_nodes, "sampler": network}, DAG_SETTINGS, overrides, updates, goals)
    if found := re.fullmatch(rf"({'|'.join(SIGMAS)})-(\d+)x(\d+)-({'|'.join(DENSITY_LOSSES)})", name):
        target, n_steps, batch, loss = found[1], int(found[2]), int(found[3]), found[4]
        if n_steps < 1 or batch < 1:
            raise UsageError(f"case={name}: expected at least 1 step and batch 1")
        size = {"target": target, "n_steps": n_steps, "loss": loss, "sigma": SIGMAS[target]}
        overrides = TRAINING + DENSITY_OVERRIDES + DENSITY_LOSSES[loss]
        return Case(name, DENSITY, batch, size, DENSITY_SETTINGS, overrides, goals=DENSITY_GOALS.get(loss, {}))
    if found := re.fullmatch(rf"molecules(\d+)-({'|'.join(MOLECULE_NETWORKS)})", name):
        batch, network = int(found[1]), found[2]
        if batch < 1:
            raise UsageError(f"case={name}: expected at least batch 1")
        updates = min(MOST, max(FEWEST, TIMED_MOLECULES // batch))
        return Case(name, MOLECULES, batch, {"network": network}, RATES, TRAINING + MOLECULE_OVERRIDES, updates)
    known, five = ", ".join(["all", DAG, DENSITY, MOLECULES, *MEASUREMENTS]), ", ".join(GOALS)
    forms = f"<dims>x<side>x<batch> (the five are {five}), {DAG_FORM}, {DENSITY_FORM} or {MOLECULE_FORM}"
    raise UsageError(f"case={name}: expected {known}, {forms}")


@dataclass(frozen=True)
class Job:
    """One measurement of the case of that name, in a process of its own, to which it crosses as JSON."""

    name: str
    replicas: int
    updates: int
    warmup: int
    threads: int
    device: str
    runs: int = COLLECTED_RUNS  # that are collected
    seed: int = 0

    @property
    def case(self) -> Case:
        """Return the case that is measured."""
        return case_of(self.name)

    @property
    def blocks(self) -> list[int]:
        """Sizes of the blocks of timed updates: at most BLOCKS, as equal as can be."""
        n_blocks = min(BLOCKS, self.updates)
        return [self.updates // n_blocks + (i < self.updates % n_blocks) for i in range(n_blocks)]

    def facts(self) -> dict[str, Any]:
        """Return all that is known of it by name, as a peer's script reads it."""
        return {**asdict(self), "blocks": self.blocks, "batch": self.case.batch, **self.case.size, **self.case.settings}

    def config(self, *more: str) -> DictConfig:
        """Compose the configuration of the run, resolved; more: further overrides."""
        return composed([*(override.format(**self.facts()) for override in self.case.overrides.split()), *more])


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of a run of scripts/train.py with these overrides, resolved."""
    from hydra import compose, initialize_config_module

    from gfn_vi import resolvers

    resolvers.register()
    with initialize_config_module("gfn_vi.configs", version_base="1.3"):
        config = compose("train", list(overrides))
    OmegaConf.resolve(config)
    return config

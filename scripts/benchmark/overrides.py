"""A measurement as the overrides of a run: nothing is timed that scripts/train.py would not do."""

from __future__ import annotations

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from benchmark.cases import Case, Job, settings
from benchmark.dags import SAMPLERS, DagCase
from gfn_vi import resolvers

MEASUREMENT_OVERRIDES = {
    "exact_gradients": ("sampler.flow=true",),
    "gradient_statistics": (
        *("evaluation=gradients", "evaluation.metrics.gradients.n_batches=64"),
        *("evaluation.metrics.gradients.batch_sizes=[1024]", "trainer.batch_size=64"),
    ),
}


def overrides(job: Job) -> list[str]:
    """Of scripts/train.py."""
    case, s = job.case, settings(job.case)
    return [
        *(_dag(case) if isinstance(case, DagCase) else _hypergrid(case)),
        *("exploration=on_policy", "objective=trajectory_balance", "optimizer=adam"),
        *(f"optimizer.lr_forward={s['rate']}", f"optimizer.lr_backward={s['rate']}", f"optimizer.lr_log_Z={s['rate_log_z']}"),
        *(f"trainer.batch_size={case.batch}", f"replicas={job.replicas}", f"seed={job.seed}"),
        *("dtype=float32", f"device={job.device}", f"threads={job.threads}"),
        *MEASUREMENT_OVERRIDES.get(case.measurement, ()),
    ]


def _hypergrid(case: Case) -> list[str]:
    s = settings(case)
    return [
        *("target=hypergrid", "reward@target.reward=corners", f"target.n_dims={case.dims}", f"target.side={case.side}"),
        *(f"target.r0={s['r0']}", f"target.reward.r1={s['r1']}", f"target.reward.r2={s['r2']}"),
        *("sampler=mlp", f"sampler.hidden=[{s['width']},{s['width']}]", "sampler.backward=learned"),
    ]


def _dag(case: DagCase) -> list[str]:
    s = settings(case)
    networks = {
        "mlp": [f"sampler.hidden=[{s['width']},{s['width']}]"],
        "transformer": [f"sampler.width={s['token_width']}", f"sampler.layers={s['layers']}", f"sampler.heads={s['heads']}"],
    }
    return [
        *("target=dag", "score@target.score=bge", "graph_prior@target.prior=uniform", "data@target.data=erdos_renyi"),
        *(f"target.data.n_nodes={case.n_nodes}", f"target.data.n_samples={s['rows']}", "target.data.n_held_out=0"),
        *(f"sampler={SAMPLERS[case.sampler]}", *networks[case.sampler], "sampler.backward=uniform"),
    ]


def composed(job: Job, *more: str) -> DictConfig:
    """The config of the run, resolved."""
    resolvers.register()
    with initialize_config_module("gfn_vi.configs", version_base="1.3"):
        config = compose("train", [*overrides(job), *more])
    OmegaConf.resolve(config)
    return config

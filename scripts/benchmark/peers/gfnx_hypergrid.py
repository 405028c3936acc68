"""Time TB training of gfnx on the hypergrid: one case, one line of JSON. Runs in .peers/gfnx, which has no gfn_vi.

The update follows the package's own baselines/tb_hypergrid.py: a rollout by its scan, then both networks on every
state of the batch, the gradient and Adam, all in one compiled function whose arguments are donated. As here P_B has a
network of its own, which the rollout does not need and so does not evaluate. Compilation is reported apart.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any


def limit_threads(threads: int) -> None:
    """XLA makes one thread per core that it may use; so this comes before jax is imported."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:threads])


def build(given: argparse.Namespace) -> tuple[Any, Any]:
    """(compiled update: state -> state, mean length; initial state)."""
    import equinox as eqx
    import gfnx
    import jax
    import jax.numpy as jnp
    import optax

    env = gfnx.HypergridEnvironment(
        gfnx.GeneralHypergridRewardModule(R0=given.r0, R1=given.r1, R2=given.r2), dim=given.dims, side=given.side
    )
    key, forward_key, backward_key, env_key = jax.random.split(jax.random.PRNGKey(given.seed), 4)
    env_params = env.init(env_key)
    n_features = env.observation_space.shape[0]

    def network(n_out: int, network_key: Any) -> Any:
        return eqx.nn.MLP(n_features, n_out, width_size=given.width, depth=2, key=network_key)

    networks = {
        "forward": network(env.action_space.n, forward_key),
        "backward": network(env.backward_action_space.n, backward_key),
    }
    weights, static = eqx.partition(networks, eqx.is_array)
    params = {"networks": weights, "log_Z": jnp.array(0.0)}
    optimizer = optax.multi_transform(
        {"networks": optax.adam(given.rate), "log_Z": optax.adam(given.rate_log_z)}, {"networks": "networks", "log_Z": "log_Z"}
    )

    def rollout_policy(_: Any, observation: Any, current: Any) -> tuple[Any, dict[str, Any]]:
        return jax.vmap(eqx.combine(current, static)["forward"])(observation), {}

    def loss(current: Any, paths: Any) -> Any:
        both = eqx.combine(current["networks"], static)
        logits = {f"{name}_logits": jax.vmap(jax.vmap(net))(paths.obs) for name, net in both.items()}
        log_pf, log_pb = gfnx.utils.forward_trajectory_log_probs(env, paths.replace(info=logits), env_params)
        log_reward = jnp.where(paths.pad, 0.0, paths.log_gfn_reward).sum(1)
        return jnp.square(current["log_Z"] + log_pf - log_pb - log_reward).mean()

    def update(state: Any) -> Any:
        current, moments, state_key = state
        state_key, rollout_key = jax.random.split(state_key)
        paths, info = gfnx.utils.forward_rollout(rollout_key, given.batch, rollout_policy, current["networks"], env, env_params)
        gradient = jax.grad(loss)(current, paths)
        change, moments = optimizer.update(gradient, moments, current)
        return (optax.apply_updates(current, change), moments, state_key), info["trajectory_length"].mean()

    return jax.jit(update, donate_argnums=0), (params, optimizer.init(params), key)


def time_compiled(update: Any, state: Any, given: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Compile, warm up, then time blocks of updates (state -> state, mean length); what was found, and the state."""
    import jax

    start = time.perf_counter()
    update = update.lower(state).compile()
    compile_seconds = time.perf_counter() - start
    for _ in range(given.warmup):
        state, _ = update(state)
    jax.block_until_ready(state)
    block_ms, lengths = [], []
    for size in given.blocks:
        start = time.perf_counter()
        block = []
        for _ in range(size):
            state, length = update(state)
            block.append(length)
        jax.block_until_ready((state, block))
        block_ms.append((time.perf_counter() - start) / size * 1e3)
        lengths += [float(length) for length in block]
    found = {
        "block_ms": block_ms,
        "mean_length": sum(lengths) / len(lengths),
        "log_Z": float(state[0]["log_Z"]),
        "compile_seconds": compile_seconds,
    }
    return found, state


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The case."""
    return time_compiled(*build(given), given)[0]


def main(measure: Callable[[argparse.Namespace], dict[str, Any]]) -> None:
    """Entry point: the case as one JSON object on the command line."""
    given = argparse.Namespace(**json.loads(sys.argv[1]))
    limit_threads(given.threads)
    result = measure(given)
    result["version"] = version("gfnx")
    result["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main(measure)

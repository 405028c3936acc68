"""Time TB training of gfnx on DAGs: one case, one line of JSON. Runs in .peers/gfnx, which has no gfn_vi.

Environment, BGe score, rollout and log-probabilities are the package's own. Its baselines/mdb_dag.py descends modified detailed
balance, but the package has all that TB needs, and the update is that of its TB baselines, as in gfnx_hypergrid.py. P_B is
uniform by backward logits of 0, as in mdb_dag.py. The table is the one that gfn_vi sees, and rewards are relative to the
empty graph, so that log Z starts as near and policies grow alike.

Networks: an MLP on the adjacency matrix, or attention over nodes by the package's own TransformerLayer with gfn_vi's width,
layers and heads. (The network of mdb_dag.py, message passing along a padded list of edges, is no part of the package.)

In the package's favor, a rollout scores its graphs once, at the end. The package's own step scores the whole batch whenever one
of its trajectories ends, which is at nearly every step: by_step_ms is the median of a few updates of that kind, made after
the others.
"""

from __future__ import annotations

import argparse
import math
from statistics import median
from typing import Any

from gfnx_hypergrid import main, time_compiled

BY_STEP_UPDATES = 3


def mlp(given: argparse.Namespace, key: Any) -> Any:
    """Adjacency matrix [d, d] -> logits [d d + 1]."""
    import equinox as eqx

    d = given.n_nodes
    net = eqx.nn.MLP(d * d, d * d + 1, width_size=given.width, depth=2, key=key)
    return net, lambda net, adjacency: net(adjacency.reshape(-1))


def transformer(given: argparse.Namespace, key: Any) -> Any:
    """The same by attention over nodes, whose tokens are their rows and columns."""
    import equinox as eqx
    import gfnx
    import jax
    import jax.numpy as jnp

    d, width = given.n_nodes, given.token_width
    keys = iter(jax.random.split(key, 5 + given.layers))
    net = {
        "embed": eqx.nn.Linear(2 * d, width, key=next(keys)),
        "name": jax.random.normal(next(keys), (d, width)),
        "ends": eqx.nn.Linear(width, 2 * width, key=next(keys)),
        "stop": eqx.nn.MLP(width, 1, width_size=width, depth=1, key=next(keys)),
        "layers": [
            gfnx.networks.TransformerLayer(width, 2 * width, given.heads, 0.0, 0.0, key=next(keys)) for _ in range(given.layers)
        ],
    }

    def logits(net: Any, adjacency: Any) -> Any:
        tokens = jax.vmap(net["embed"])(jnp.concatenate([adjacency, adjacency.T], 1)) + net["name"]
        for layer in net["layers"]:
            tokens = layer(tokens)
        tail, head = jnp.split(jax.vmap(net["ends"])(tokens), 2, axis=1)
        edges = tail @ head.T / math.sqrt(width)
        return jnp.concatenate([edges.reshape(-1), net["stop"](tokens.mean(0))])

    return net, logits


NETWORKS = {"mlp": mlp, "transformer": transformer}


def build(given: argparse.Namespace, by_step: bool) -> tuple[Any, Any, list[float]]:
    """(compiled update: state -> state, mean length; initial state; log-rewards of two graphs, which gfn_vi scores too)."""
    import equinox as eqx
    import gfnx
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    d = given.n_nodes
    table = jnp.asarray(np.loadtxt(given.data_file, ndmin=2), jnp.float32)
    prior = gfnx.reward.UniformDAGPrior(d)
    score = gfnx.DAGRewardModule(prior=prior, likelihood=gfnx.reward.BGeScore(table))
    nothing = gfnx.DAGRewardModule(prior=prior, likelihood=gfnx.reward.dag_likelihood.ZeroScore())
    key, network_key, env_key = jax.random.split(jax.random.PRNGKey(given.seed), 3)
    scored = gfnx.DAGEnvironment(score, num_variables=d)
    scored_params = scored.init(env_key)
    env = scored if by_step else gfnx.DAGEnvironment(nothing, num_variables=d)
    env_params = scored_params if by_step else env.init(env_key)
    empty = score.log_reward(env.get_init_state(1), scored_params)[0]

    net, apply = NETWORKS[given.sampler](given, network_key)
    weights, static = eqx.partition(net, eqx.is_array)
    params = {"network": weights, "log_Z": jnp.array(0.0)}
    optimizer = optax.multi_transform(
        {"network": optax.adam(given.rate), "log_Z": optax.adam(given.rate_log_z)}, {"network": "network", "log_Z": "log_Z"}
    )

    def policy(weights: Any, observations: Any) -> Any:
        """[N, d, d] -> [N, d d + 1]."""
        return jax.vmap(lambda adjacency: apply(eqx.combine(weights, static), adjacency))(observations.astype(jnp.float32))

    def rollout_policy(_: Any, observation: Any, weights: Any) -> tuple[Any, dict[str, Any]]:
        return policy(weights, observation), {}

    def loss(current: Any, paths: Any, log_reward: Any) -> Any:
        batch, steps = paths.pad.shape
        forward = policy(current["network"], paths.obs.reshape(batch * steps, d, d)).reshape(batch, steps, -1)
        logits = {"forward_logits": forward, "backward_logits": jnp.zeros_like(forward)}
        log_pf, log_pb = gfnx.utils.forward_trajectory_log_probs(env, paths.replace(info=logits), env_params)
        return jnp.square(current["log_Z"] + log_pf - log_pb - log_reward).mean()

    def update(state: Any) -> Any:
        current, moments, state_key = state
        state_key, rollout_key = jax.random.split(state_key)
        paths, info = gfnx.utils.forward_rollout(rollout_key, given.batch, rollout_policy, current["network"], env, env_params)
        final = info["final_env_state"]
        log_reward = info["log_gfn_reward"] if by_step else score.log_reward(final, scored_params)
        gradient = jax.grad(loss)(current, paths, log_reward - empty)
        change, moments = optimizer.update(gradient, moments, current)
        return (optax.apply_updates(current, change), moments, state_key), info["trajectory_length"].mean()

    chain, complete = jnp.eye(d, k=1), jnp.triu(jnp.ones((d, d)), k=1)
    known = env.get_init_state(2).replace(adjacency_matrix=jnp.stack([chain, complete]).astype(bool))
    log_rewards = [float(value) for value in score.log_reward(known, scored_params) - empty]
    return jax.jit(update, donate_argnums=0), (params, optimizer.init(params), key), log_rewards


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The case, rewards at the end; then a few updates with rewards by step."""
    update, state, log_rewards = build(given, by_step=False)
    result, state = time_compiled(update, state, given)
    few = argparse.Namespace(**vars(given) | {"warmup": 1, "blocks": [1] * BY_STEP_UPDATES})
    by_step, _ = time_compiled(build(given, by_step=True)[0], state, few)
    return result | {"log_rewards": log_rewards, "by_step_ms": median(by_step["block_ms"])}


if __name__ == "__main__":
    main(measure)

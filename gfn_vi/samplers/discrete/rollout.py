"""Drawing trajectories, without gradient: forwards by looking up a table of the policy or state by state, and backwards.

Randomness is one block of uniforms per rollout, [R, B, horizon], so that a replica's draws depend neither on the number of
replicas nor on when the others end. Nothing here synchronizes with the host on an accelerator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gfn_vi.core.log_probability import cumulative, inverse_cdf, sampling_noise
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.samplers.discrete.table_walk import CHECK_EVERY, TableWalk, whole_table

# Trajectories from which on steps of torch cost less than those of NumPy.
MANY_WALKS = 2_000


@dataclass(frozen=True)
class Path:
    """The result of a rollout: states [R, B, T+1, *state], actions [R, B, T], mask [R, B, T], log_prob [R, B]."""

    states: Tensor
    actions: Tensor
    mask: Tensor
    log_prob: Tensor


def noise_block(rng: ReplicaGenerators, batch: int, horizon: int, dtype: torch.dtype) -> Tensor:
    """Return uniforms [horizon, R, B], capped for inverse-CDF sampling; the block of a replica is drawn at once."""
    uniform = rng.uniform(batch, horizon).to(dtype)
    return sampling_noise(uniform).permute(2, 0, 1).contiguous()


def table_rollout(graph: StateGraph, log_probs: Tensor, noise: Tensor, table: Tensor | None = None) -> Path:
    """Return a rollout on a graph by looking up log_probs [R, S, A], the behavior policy at every state; noise: noise_block's.

    table: whole_table of log_probs, if it is at hand.
    """
    n_replicas, n_states, n_actions = log_probs.shape
    table = whole_table(log_probs) if table is None else table
    if log_probs.device.type == "cpu" and noise[0].numel() <= MANY_WALKS:
        walk = finished(*TableWalk(graph, table, noise).tensors(n_replicas), n_states)
    else:
        offset = (torch.arange(n_replicas, device=log_probs.device) * (n_states + 1))[:, None]

        def draw(rows: Tensor, uniform: Tensor) -> tuple[Tensor, None]:
            return (table.index_select(0, (rows + offset).view(-1)) <= uniform.view(-1, 1)).sum(-1).view_as(rows), None

        walk = graph_walk(graph, draw, noise, compact=False)
    flat = (walk.rows[..., :-1] + n_states * torch.arange(n_replicas, device=log_probs.device)[:, None, None]) * n_actions
    chosen = log_probs.reshape(-1).index_select(0, (flat + walk.actions).reshape(-1)).view(walk.mask.shape)
    return Path(graph.states[walk.rows], walk.actions, walk.mask, (chosen * walk.mask).sum(2))


def graph_rollout(graph: StateGraph, policy: Callable[[Tensor], Tensor], noise: Tensor) -> Path:
    """Return a rollout on a graph too large to look up; policy: states [R, b, *state] -> log-probabilities [R, b, A]."""
    states = graph.walk_states

    def draw(rows: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = policy(states.index_select(0, rows.view(-1)).view(*rows.shape, *states.shape[1:]))
        return inverse_cdf(cumulative(log_probs), uniform), log_probs

    walk = graph_walk(graph, draw, noise, compact=True)
    assert walk.log_probs is not None
    return Path(graph.states[walk.rows], walk.actions, walk.mask, (walk.log_probs * walk.mask).sum(2))


@dataclass(frozen=True)
class Walk:
    """A rollout as rows of a state graph: rows [R, B, T+1], actions, mask and log_probs of the taken actions [R, B, T]."""

    rows: Tensor
    actions: Tensor
    mask: Tensor
    log_probs: Tensor | None


def finished(rows: Tensor, actions: Tensor, n_states: int) -> Walk:
    """Return a walk from rows [R, B, T+1] and actions [R, B, T] where ended trajectories stay at row S, which no state is."""
    mask = (rows[..., :-1] != n_states).contiguous()
    last = rows.gather(2, mask.sum(2, keepdim=True) - 1)
    return Walk(rows.where(rows != n_states, last), actions.where(mask, 0), mask, None)


def graph_walk(
    graph: StateGraph, draw: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]], noise: Tensor, compact: bool
) -> Walk:
    """Return a walk along a graph; draw: (rows [R, b], noise [R, b]) -> (actions [R, b], log-probabilities [R, b, A] or None).

    Row S is where ended trajectories stay, whatever is drawn there. With `compact`, on the CPU, they leave the batch as
    soon as half of it has ended in every replica: what was walked so far is put aside as a segment.
    """
    device, n_states = graph.states.device, graph.n_states
    horizon, n_replicas, batch = noise.shape
    following = graph.walk_table  # row and action combine in a single operation
    columns = torch.arange(batch, device=device).expand(n_replicas, batch)
    row = torch.zeros(n_replicas, batch, dtype=torch.long, device=device)
    rows_full = torch.full((horizon + 1, n_replicas, batch), n_states, device=device)
    actions_full = torch.zeros(horizon, n_replicas, batch, dtype=torch.long, device=device)
    log_probs_full = torch.zeros(horizon, n_replicas, batch, dtype=noise.dtype, device=device)
    start = 0
    rows: list[Tensor] = []
    actions: list[Tensor] = []
    log_probs: list[Tensor] = []

    def put_aside(end: int) -> None:
        index = columns.expand(end - start, -1, -1)
        rows_full[start:end].scatter_(2, index, torch.stack(rows))
        taken = torch.stack(actions)
        actions_full[start:end].scatter_(2, index, taken)
        if log_probs:
            log_probs_full[start:end].scatter_(2, index, torch.stack(log_probs).gather(3, taken[..., None])[..., 0])

    steps = horizon
    for t in range(horizon):
        action, log_prob = draw(row, noise[t] if columns.shape[1] == batch else noise[t].gather(1, columns))
        rows.append(row)
        actions.append(action)
        if log_prob is not None:
            log_probs.append(log_prob)
        row = following.index_select(0, torch.add(row, action, alpha=n_states + 1).view(-1)).view_as(row)
        if device.type == "cpu" and t % CHECK_EVERY == CHECK_EVERY - 1 and t + 1 < horizon:
            alive = row != n_states
            n_alive = int(alive.sum(1).max())
            if n_alive == 0:
                steps = t + 1
                break
            if compact and 2 * n_alive <= row.shape[1]:
                put_aside(t + 1)
                start = t + 1
                rows, actions, log_probs = [], [], []
                keep = alive.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :n_alive]
                columns, row = columns.gather(1, keep), row.gather(1, keep)
    if rows:
        put_aside(steps)
    if device.type == "cpu":
        steps = int((rows_full[:steps] != n_states).flatten(1).any(1).sum())
    walk = finished(rows_full[: steps + 1].permute(1, 2, 0), actions_full[:steps].permute(1, 2, 0), n_states)
    return replace(walk, log_probs=log_probs_full[:steps].permute(1, 2, 0)) if log_probs or start > 0 else walk


def stepwise_rollout(
    target: DiscreteTarget,
    policy: Callable[[Tensor], Tensor],
    n_replicas: int,
    batch: int,
    dtype: torch.dtype,
    rng: ReplicaGenerators,
) -> Path:
    """Return a rollout state by state; policy: states [R, b, *state] -> log-probabilities [R, b, A] of the behavior policy.

    On the CPU ended trajectories leave the batch as soon as half of it has ended in every replica.
    """
    device = rng.device
    horizon, stop = target.horizon, target.n_actions - 1
    noise = noise_block(rng, batch, horizon, dtype)
    state_axes = [1] * len(target.state_shape)
    states = target.initial(n_replicas, batch)
    history = states.new_empty(horizon + 1, *states.shape)
    history[0] = states
    actions = torch.zeros(horizon, n_replicas, batch, dtype=torch.long, device=device)
    mask = torch.zeros(horizon, n_replicas, batch, dtype=torch.bool, device=device)
    log_prob = torch.zeros(n_replicas, batch, dtype=dtype, device=device)
    alive = torch.ones(n_replicas, batch, dtype=torch.bool, device=device)
    columns: Tensor | None = None  # [R, b]: which trajectories are still worked on; None: all of them
    steps = horizon
    for t in range(horizon):
        log_probs = policy(states)
        step_noise = noise[t] if columns is None else noise[t].gather(1, columns)
        action = inverse_cdf(cumulative(log_probs), step_noise).where(alive, stop)
        chosen = log_probs.gather(2, action[..., None])[..., 0] * alive
        states = target.step(states, action)
        if columns is None:
            log_prob += chosen
            actions[t], mask[t], history[t + 1] = action.where(alive, 0), alive, states
        else:
            log_prob.scatter_add_(1, columns, chosen)
            actions[t].scatter_(1, columns, action.where(alive, 0))
            mask[t].scatter_(1, columns, alive)
            history[t + 1] = history[t]
            history[t + 1].scatter_(1, columns.view(*columns.shape, *state_axes).expand_as(states), states)
        alive = alive & (action != stop)
        if device.type == "cpu" and (t % CHECK_EVERY == CHECK_EVERY - 1 or t + 1 == horizon):
            n_alive = int(alive.sum(1).max())
            if n_alive == 0:
                steps = t + 1
                break
            if 2 * n_alive <= alive.shape[1]:
                keep = alive.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :n_alive]
                alive = alive.gather(1, keep)
                states = states.gather(1, keep.view(*keep.shape, *state_axes).expand(-1, -1, *states.shape[2:]))
                columns = keep if columns is None else columns.gather(1, keep)
    if device.type == "cpu":
        steps = int(mask[:steps].flatten(1).any(1).sum())
    return Path(
        history[: steps + 1].movedim(0, 2).contiguous(),
        actions[:steps].permute(1, 2, 0).contiguous(),
        mask[:steps].permute(1, 2, 0).contiguous(),
        log_prob,
    )


def backward_path(
    target: DiscreteTarget, policy: Callable[[Tensor], Tensor], terminals: Tensor, dtype: torch.dtype, rng: ReplicaGenerators
) -> Path:
    """Return a walk from terminals [R, B, *state] back to the source, turned around; its log_prob is log P_B(tau | x)."""
    n_replicas, batch = terminals.shape[:2]
    device, horizon, stop = terminals.device, target.horizon, target.n_actions - 1
    noise = noise_block(rng, batch, horizon, dtype)
    states, log_prob = terminals, torch.zeros(n_replicas, batch, dtype=dtype, device=device)
    reverse_states, reverse_actions, moved = [states], [], []
    for t in range(horizon - 1):
        legal = target.backward_mask(states)
        alive = legal.any(-1)
        if device.type == "cpu" and t % CHECK_EVERY == 0 and not bool(alive.any()):
            break
        log_probs = policy(states)
        action = inverse_cdf(cumulative(log_probs), noise[t])
        action = action.where(alive, 0)
        alive = alive & legal.gather(2, action[..., None])[..., 0]  # no change, unless the policy is NaN
        log_prob += log_probs.gather(2, action[..., None])[..., 0] * alive
        shape = alive.view(*alive.shape, *[1] * len(target.state_shape))
        reverse_actions.append(target.forward_action(states, action).where(alive, 0))
        states = target.backstep(states, action).where(shape, states)
        reverse_states.append(states)
        moved.append(alive)
    n_moves = len(moved)
    if n_moves == 0:
        moves = torch.zeros(n_replicas, batch, 1, dtype=torch.long, device=device)
        all_states, all_actions = terminals[:, :, None], moves
        length = moves[..., 0]
    else:
        length = torch.stack(moved, 2).sum(2)
        all_states, all_actions = torch.stack(reverse_states, 2), torch.stack(reverse_actions, 2)
    steps = n_moves + 1
    when = torch.arange(steps, device=device).expand(n_replicas, batch, steps)
    n = length[..., None]
    actions = all_actions.gather(2, (n - 1 - when).clamp(0, all_actions.shape[2] - 1)).where(when < n, 0)
    actions = actions.where(when != n, stop)
    back = (n - torch.arange(steps + 1, device=device)).clamp(min=0)
    index = back.view(*back.shape, *[1] * len(target.state_shape)).expand(-1, -1, -1, *all_states.shape[3:])
    mask = when <= n
    if device.type == "cpu":
        used = int(length.max()) + 1
        return Path(all_states.gather(2, index)[:, :, : used + 1], actions[..., :used], mask[..., :used], log_prob)
    return Path(all_states.gather(2, index), actions, mask, log_prob)

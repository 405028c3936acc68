"""Exact gradients on a batch too large to be evaluated at once: trajectories meet in the objective only.

The batch is evaluated piece by piece without keeping graphs; the objective's gradient in what it was given is then pulled back
piece by piece. Each piece is evaluated twice, and memory is that of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.types import Evaluation, Need, Role, Trajectories
from gfn_vi.evaluation.gradients.batch_gradients import Estimator, Gradients, RepeatableSampler, parameters_of

# Rows of a network per piece, before repeated states are merged; all replicas together.
LARGEST_PIECE = 2**15
# What of an evaluation is differentiable, log Z apart; the reward along the noise only.
DIFFERENTIABLE = ("log_pf", "log_pb", "log_flow", "log_inflow", "log_reward")


def pieces_of(trajectories: Trajectories) -> list[Trajectories]:
    """Return consecutive parts of the batch, each of at most LARGEST_PIECE steps or one trajectory per replica."""
    n_replicas, batch, steps = trajectories.mask.shape
    size = max(1, LARGEST_PIECE // (n_replicas * steps))

    def cut(first: int) -> dict[str, Any]:
        values = {f.name: getattr(trajectories, f.name) for f in fields(trajectories)}
        return {name: None if value is None else value[:, first : first + size] for name, value in values.items()}

    return [Trajectories(**cut(first)) for first in range(0, batch, size)]


def evaluate_in_pieces(sampler: RepeatableSampler, pieces: Sequence[Trajectories], needs: frozenset[Need]) -> Evaluation:
    """Return the evaluation of all pieces together, without graph."""
    parts: list[dict[str, Any]] = []
    for piece in pieces:
        with torch.enable_grad():  # a graph while it lasts: score norms are made of it
            evaluation = sampler.evaluate(piece, needs)
        values = {f.name: getattr(evaluation, f.name) for f in fields(evaluation)}
        parts.append({name: None if value is None else value.detach() for name, value in values.items()})
    whole = [name for name in parts[0] if name != "log_Z"]
    joined: dict[str, Any] = {n: None if parts[0][n] is None else torch.cat([part[n] for part in parts], 1) for n in whole}
    return Evaluation(**joined, log_Z=parts[0]["log_Z"])


@torch.enable_grad()
def large_batch_gradients(
    sampler: RepeatableSampler,
    roles: Sequence[Role],
    needs: frozenset[Need],
    estimators: Mapping[str, Estimator],
    trajectories: Trajectories,
) -> dict[str, Gradients]:
    """Return the gradient [R, P] by name and role of each estimator on the one batch [R, B]; the sampler stays as it is."""
    sampler = sampler.repeated(1)
    pieces, groups = pieces_of(trajectories), parameters_of(sampler, roles)
    evaluation = evaluate_in_pieces(sampler, pieces, needs)
    names = ["log_Z", *(name for name in DIFFERENTIABLE if getattr(evaluation, name) is not None)]
    leaves = {name: getattr(evaluation, name).requires_grad_() for name in names}
    cotangents: dict[str, dict[str, Tensor]] = {}
    for key, estimator in estimators.items():
        loss = estimator.fresh(1)(replace(evaluation, **leaves))
        found = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
        cotangents[key] = dict(zip(leaves, found, strict=True))
    parameters = [p for group in groups.values() for p in group]
    totals = {key: [torch.zeros_like(p) for p in parameters] for key in estimators}
    first = 0
    for piece in pieces:
        again = sampler.evaluate(piece, needs - {Need.SCORE_NORMS})
        # log Z itself is counted with the first piece
        outputs = {name: getattr(again, name) for name in names if name != "log_Z" or first == 0}
        outputs = {name: value for name, value in outputs.items() if value.requires_grad}
        for key, by_name in cotangents.items():
            incoming = [by_name[n] if n == "log_Z" else by_name[n][:, first : first + piece.batch] for n in outputs]
            pulled = torch.autograd.grad(
                list(outputs.values()), parameters, incoming, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            totals[key] = [total + part for total, part in zip(totals[key], pulled, strict=True)]
        first += piece.batch
    return {key: by_role(total, groups, sampler.n_replicas) for key, total in totals.items()}


def by_role(values: Sequence[Tensor], groups: Mapping[Role, Sequence[Tensor]], n_replicas: int) -> Gradients:
    """Return role -> [R, P] from the values [R, ...] of each parameter, given in a row for all groups."""
    rest = iter(values)
    return {role: torch.cat([next(rest).reshape(n_replicas, -1) for _ in group], 1) for role, group in groups.items()}

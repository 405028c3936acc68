"""Adam and SGD for parameters with a leading replica axis: one rate per role, per replica if wanted.

Each replica is a problem of its own: its gradient norm is clipped alone, and once its loss or gradient is not finite it is
frozen (parameters and moments stay as they were before) while the others go on.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import per_replica
from gfn_vi.core.types import Role
from gfn_vi.training.rate_schedules import RateSchedule

Rate = float | Sequence[float]


class ReplicaOptimizer(ABC):
    """An optimizer of all replicas: rates are numbers or lists of R.

    clip_norm: largest gradient norm of a replica over all its parameters, or None.
    """

    def __init__(
        self,
        parameter_groups: Mapping[Role, Sequence[nn.Parameter]],
        n_replicas: int,
        lr_forward: Rate,
        lr_backward: Rate,
        lr_flow: Rate,
        lr_log_Z: Rate,
        clip_norm: float | None,
        schedule: RateSchedule,
    ) -> None:
        rates = {Role.FORWARD: lr_forward, Role.BACKWARD: lr_backward, Role.FLOW: lr_flow, Role.LOG_Z: lr_log_Z}
        require(clip_norm is None or clip_norm > 0, "optimizer.clip_norm", clip_norm, "expected a positive number or null")
        self.groups = {role: list(parameters) for role, parameters in parameter_groups.items() if parameters}
        self.parameters = [p for parameters in self.groups.values() for p in parameters]
        self.n_replicas, self.clip_norm, self.schedule = n_replicas, clip_norm, schedule
        device = self.parameters[0].device
        self.rates: dict[Role, Tensor] = {}
        for role in self.groups:
            key = f"optimizer.lr_{role.value}"
            values = per_replica(rates[role], n_replicas, key)
            require(min(values) >= 0 and max(values) < math.inf, key, rates[role], "expected finite rates >= 0")
            self.rates[role] = torch.tensor(values, dtype=torch.float64, device=device)
        self.frozen = torch.zeros(n_replicas, dtype=torch.bool, device=device)
        self.grad_norm = torch.zeros(n_replicas, dtype=torch.float64, device=device)

    def step(self, loss: Tensor, seen: int) -> None:
        """Descend the loss [R] once; seen: trajectories per replica so far, the clock of the schedule."""
        gradients = torch.autograd.grad(loss.sum(), self.parameters, allow_unused=True)
        used = [(p, g) for p, g in zip(self.parameters, gradients, strict=True) if g is not None]
        with torch.no_grad():
            self.grad_norm = _norms([g for _, g in used])
            self.frozen = self.frozen | ~(loss.detach().isfinite() & self.grad_norm.isfinite())
            if self.clip_norm is not None:
                scale = self.clip_norm / self.grad_norm.clamp(min=self.clip_norm)
                for p, g in used:
                    g.mul_(scale.to(g.dtype).view(-1, *[1] * (p.dim() - 1)))
            factor = self.schedule.factor(seen)
            by_parameter = dict(used)
            for role, parameters in self.groups.items():
                pairs = [(p, by_parameter[p]) for p in parameters if p in by_parameter]
                if pairs:
                    self.update(role, pairs, self.rates[role] * factor)
            if self.schedule.watches == "loss":
                self.schedule.observe(loss.detach(), seen)

    def freeze_non_finite(self) -> None:
        """Freeze the replicas that have parameters which are not finite."""
        with torch.no_grad():
            for p in self.parameters:
                self.frozen = self.frozen | ~p.reshape(self.n_replicas, -1).isfinite().all(1)

    @abstractmethod
    def update(self, role: Role, pairs: list[tuple[nn.Parameter, Tensor]], rate: Tensor) -> None:
        """Apply the gradients of one role with rates [R]; frozen replicas stay as they are.

        pairs: parameters [R, ...] with their gradients [R, ...].
        """

    @abstractmethod
    def moments(self) -> dict[str, Any]:
        """Return the tensors that are kept between updates."""

    @abstractmethod
    def load_moments(self, state: dict[str, Any]) -> None:
        """Continue where the moments were taken."""

    def state_dict(self) -> dict[str, Any]:
        """Return the moments, which replicas are frozen, and the state of the schedule."""
        return {"moments": self.moments(), "frozen": self.frozen, "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        device = self.parameters[0].device
        self.load_moments(state["moments"])
        self.frozen = state["frozen"].to(device)
        self.schedule.load_state_dict(state["schedule"], device)


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of all gradients [R, ...] of each replica together, [R] float64."""
    rows = [g.flatten(1) if g.dim() > 1 else g[:, None] for g in gradients]
    # Squares of large but finite gradients overflow float32; float64 takes three times as long. To look would wait for a GPU.
    if rows[0].device.type == "cpu":
        norms = torch.stack([torch.linalg.vector_norm(row, dim=1) for row in rows])
        if math.isfinite(sum(norms.view(-1).tolist())):
            return torch.linalg.vector_norm(norms, dim=0, dtype=torch.float64)
    return torch.linalg.vector_norm(
        torch.stack([torch.linalg.vector_norm(row, dim=1, dtype=torch.float64) for row in rows]), dim=0
    )


class Adam(ReplicaOptimizer):
    """Adam (Kingma & Ba 2015) by torch's fused kernel, once per replica: a replica has its own rate, step count and fate.

    The kernel is called directly because torch.optim imports a compiler (two seconds) and knows no replicas.
    """

    def __init__(
        self,
        parameter_groups: Mapping[Role, Sequence[nn.Parameter]],
        n_replicas: int,
        lr_forward: Rate,
        lr_backward: Rate,
        lr_flow: Rate,
        lr_log_Z: Rate,
        clip_norm: float | None,
        schedule: RateSchedule,
        beta1: float,
        beta2: float,
        eps: float,
    ) -> None:
        """lr_*: a rate or a list of R; beta1, beta2: decay of the moments; eps: added to the root of the second moment."""
        super().__init__(parameter_groups, n_replicas, lr_forward, lr_backward, lr_flow, lr_log_Z, clip_norm, schedule)
        for key, beta in (("beta1", beta1), ("beta2", beta2)):
            require(0 <= beta < 1, f"optimizer.{key}", beta, "expected a number in [0, 1)")
        require(eps > 0, "optimizer.eps", eps, "expected a positive number")
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.first = {p: torch.zeros_like(p) for p in self.parameters}
        self.second = {p: torch.zeros_like(p) for p in self.parameters}
        device = self.parameters[0].device
        # parameter -> views of it and of its moments, replica by replica: to make them anew for every update takes longer than it
        self.slices = {p: tuple(t.detach().unbind(0) for t in (p, self.first[p], self.second[p])) for p in self.parameters}
        self.steps = {role: torch.zeros(n_replicas, device=device) for role in self.groups}

    def update(self, role: Role, pairs: list[tuple[nn.Parameter, Tensor]], rate: Tensor) -> None:
        """Apply the gradients of one role with rates [R]; frozen replicas stay as they are.

        A fused call has one rate. On the CPU those replicas share it that are not frozen and have the same; elsewhere, where
        nobody may look who is frozen, each has its own.
        """
        self.steps[role] += 1 - self.frozen.float()
        if self.frozen.device.type == "cpu":
            frozen, rates = self.frozen.tolist(), rate.tolist()
            going = [r for r in range(self.n_replicas) if not frozen[r]]
            for shared in dict.fromkeys(rates[r] for r in going):
                self._fused(role, pairs, [r for r in going if rates[r] == shared], shared, None)
        else:
            for r in range(self.n_replicas):
                self._fused(role, pairs, [r], rate[r].float(), self.frozen[r].float())  # the kernel reads floats

    def _fused(
        self,
        role: Role,
        pairs: list[tuple[nn.Parameter, Tensor]],
        replicas: list[int],
        rate: float | Tensor,
        left_alone: Tensor | None,
    ) -> None:
        """Apply the gradients of some replicas by one call; left_alone: 1 where everything should stay as it is."""
        gradients = [g.unbind(0) for _, g in pairs]
        torch._fused_adam_(
            [self.slices[p][0][r] for r in replicas for p, _ in pairs],
            [of_parameter[r] for r in replicas for of_parameter in gradients],
            [self.slices[p][1][r] for r in replicas for p, _ in pairs],
            [self.slices[p][2][r] for r in replicas for p, _ in pairs],
            [],
            [steps for r in replicas for steps in [self.steps[role][r]] * len(pairs)],
            lr=rate,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
            found_inf=left_alone,
        )

    def moments(self) -> dict[str, Any]:
        """Return the moments in lists in the order of the parameters, and the step counts by role."""
        return {
            "first": [self.first[p] for p in self.parameters],
            "second": [self.second[p] for p in self.parameters],
            "steps": {role.value: steps for role, steps in self.steps.items()},
        }

    def load_moments(self, state: dict[str, Any]) -> None:
        """Continue where the moments were taken."""
        for p, first, second in zip(self.parameters, state["first"], state["second"], strict=True):
            self.first[p].copy_(first)
            self.second[p].copy_(second)
        for role, steps in self.steps.items():
            steps.copy_(state["steps"][role.value])


class Sgd(ReplicaOptimizer):
    """Stochastic gradient descent with momentum: v <- momentum v + g; p <- p - rate v."""

    def __init__(
        self,
        parameter_groups: Mapping[Role, Sequence[nn.Parameter]],
        n_replicas: int,
        lr_forward: Rate,
        lr_backward: Rate,
        lr_flow: Rate,
        lr_log_Z: Rate,
        clip_norm: float | None,
        schedule: RateSchedule,
        momentum: float,
    ) -> None:
        """lr_*: a rate or a list of R; momentum: in [0, 1)."""
        super().__init__(parameter_groups, n_replicas, lr_forward, lr_backward, lr_flow, lr_log_Z, clip_norm, schedule)
        require(0 <= momentum < 1, "optimizer.momentum", momentum, "expected a number in [0, 1)")
        self.momentum = momentum
        self.velocity = {p: torch.zeros_like(p) for p in self.parameters}

    def update(self, role: Role, pairs: list[tuple[nn.Parameter, Tensor]], rate: Tensor) -> None:
        """Apply the gradients of one role with rates [R]; frozen replicas stay as they are.

        A where, not a product: 0 times a gradient that is not finite would still spoil the parameters.
        """
        for p, g in pairs:
            shape = (-1, *[1] * (p.dim() - 1))
            frozen, scale = self.frozen.view(shape), rate.to(p.dtype).view(shape)
            velocity = torch.where(frozen, self.velocity[p], self.momentum * self.velocity[p] + g)
            self.velocity[p] = velocity
            p.copy_(torch.where(frozen, p, p - scale * velocity))

    def moments(self) -> dict[str, Any]:
        """Return the velocities in the order of the parameters."""
        return {"velocity": [self.velocity[p] for p in self.parameters]}

    def load_moments(self, state: dict[str, Any]) -> None:
        """Continue where the velocities were taken."""
        for p, velocity in zip(self.parameters, state["velocity"], strict=True):
            self.velocity[p].copy_(velocity)

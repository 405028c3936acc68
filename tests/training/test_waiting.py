"""An update over a density asks for no number of a tensor, so that on an accelerator the host never waits for one.

Seen on the CPU, by the operations that are asked for: what reads a value, or makes a shape of values, would wait.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from building import make_trainer
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "unique_dim", "_unique2"}
SMALL = ("target=gmm25", "sampler=diffusion", "sampler.n_steps=4", "sampler.hidden=[8]", "trainer.batch_size=16")
KL = ("objective=reverse_kl", "baseline@objective.baseline=none")
UPDATES = {
    "trajectory_balance": ("exploration=widened_steps", "sampler.langevin=scalar"),
    "log_variance": ("objective=log_variance", "exploration=widened_steps"),
    "subtrajectory_balance": ("objective=subtrajectory_balance", "sampler.forward_looking=true", "sampler.langevin=scalar"),
    "pathwise": (*KL, "estimator@objective.estimator=pathwise", "sampler.learn_noise=true"),
    "sticking_the_landing": (*KL, "estimator@objective.estimator=sticking_the_landing", "sampler.backward=learned"),
    "backward_rollout": ("exploration=backward_rollout", "exploration.priority=rank"),
    "local_search": (
        *("exploration=local_search", "exploration.every=16", "exploration.n_chains=4"),
        *("exploration.n_steps=4", "exploration.burn_in=2"),
    ),
}


class Waiting(TorchDispatchMode):
    """The names of operations that would make the host wait: [name, ...] in `found`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        moved = name == "_to_copy" and (kwargs or {}).get("device") is not None
        if moved or name in WAITS or (name in ("index", "index_put", "index_put_") and self.has_mask(args[1])):
            self.found.append(name)
        return func(*args, **(kwargs or {}))

    @staticmethod
    def has_mask(indices: Any) -> bool:
        return any(index is not None and index.dtype == torch.bool for index in indices)


@pytest.mark.parametrize("update", UPDATES)
def test_an_update_never_waits(update: str) -> None:
    trainer = make_trainer(*SMALL, *UPDATES[update], replicas=2)
    trainer.update()
    trainer.update()  # memories are filled, tensors converted once
    with Waiting() as waiting:
        trainer.update()
    assert waiting.found == []

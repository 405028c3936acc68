"""Steps and backward steps of a discrete target undo one another: one check for every list of states."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.protocols import DiscreteTarget


def check_inverses(target: DiscreteTarget, states: Tensor) -> None:
    """Every legal action and every legal backward action at states [S, *state] is undone by its own inverse, which is legal."""
    row, action = target.forward_mask(states)[:, :-1].nonzero(as_tuple=True)
    after = target.step(states[row], action)
    undo = target.backward_action(states[row], action)
    assert bool(target.backward_mask(after).gather(1, undo[:, None]).all())
    assert torch.equal(target.backstep(after, undo), states[row])
    assert torch.equal(target.forward_action(after, undo), action)
    row, undo = target.backward_mask(states).nonzero(as_tuple=True)
    before = target.backstep(states[row], undo)
    action = target.forward_action(states[row], undo)
    assert bool(target.forward_mask(before).gather(1, action[:, None]).all())
    assert torch.equal(target.step(before, action), states[row])
    assert torch.equal(target.backward_action(before, action), undo)

"""The base class of objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Need, Role


class BaseObjective(ABC):
    """A loss [R] whose gradient is the estimator; it has no state and no statistics unless a subclass says otherwise."""

    needs: frozenset[Need] = frozenset()

    @abstractmethod
    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the loss whose gradient the optimizer descends: [R]."""

    def statistics(self, evaluation: Evaluation) -> dict[str, Tensor]:
        """Return the values of this batch that are worth recording, each [R]; nothing is changed."""
        return {}

    def descends(self, exact: Expectations) -> dict[Role, Tensor] | None:
        """Return None: nothing is known of it, so a large independent batch replaces exact gradients."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return what the objective remembers between batches."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""

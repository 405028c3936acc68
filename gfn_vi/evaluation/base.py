"""The base class of metrics: a metric is one class and one YAML in configs/metric. A user's own metric subclasses BaseMetric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from gfn_vi.core.headline import Headline
from gfn_vi.core.protocols import Arrays
from gfn_vi.core.types import Need, Role


class BaseMetric(ABC):
    """A measurement at every evaluation; the members below say what build, trainer and run may know of it.

    kind: "exact" (a sum over all states), "reference" (against samples of the target), "sampled" (from n_samples
    trajectories of P_F), or "any". headline: the number that a run is judged by where this metric is the first of the strongest
    kind that has one. summary: the names that a run's last line shows. every: trajectories per replica between measurements,
    None: at every evaluation. roles: at least one of them has to have parameters.
    needs: what it asks of sampler and target, by the key below the metric's own. family: the protocol of
    gfn_vi.core.protocols that a target has to have, None for any; family_choice: an override that chooses a target of the family.
    """

    kind: ClassVar[str] = "any"
    headline: ClassVar[Headline | None] = None
    summary: ClassVar[tuple[str, ...]] = ()
    family: ClassVar[type | None] = None
    family_choice: ClassVar[str] = ""
    n_samples: int | None = None
    every: int | None = None
    roles: Sequence[Role] = ()
    needs: Mapping[str, frozenset[Need]] = {}

    @abstractmethod
    def __call__(self, moment: Any) -> dict[str, Tensor]:
        """Return name -> [R]. moment: a gfn_vi.evaluation.measurement.Measurement of the sampler as it is now."""

    def prepare(self, target: Any) -> None:
        """Find what measurements need of the target, before a run starts. Raises ConfigError for what it does not have."""

    def records(self, target: Any, exact: bool, sampled: bool) -> Collection[str] | None:
        """Return every name that a call may give, so that a wrong evaluation.headline is refused before work; None: not known.

        exact, sampled: whether the evaluation, of which this metric is a part, sums over all states and whether it draws samples.
        """
        return None

    def arrays(self, moment: Any) -> Arrays:
        """Return the arrays that pictures of the finished run need, for arrays.npz; none unless a subclass says so."""
        return {}


def recorded_names(metrics: Sequence[BaseMetric], target: Any) -> frozenset[str] | None:
    """Return the names that the metrics of one evaluation record between them; None where one of them does not say."""
    exact = any(metric.kind == "exact" for metric in metrics)
    sampled = any(metric.n_samples is not None for metric in metrics)
    names: set[str] = set()
    for metric in metrics:
        told = metric.records(target, exact, sampled)
        if told is None:
            return None
        names.update(told)
    return frozenset(names)

"""Bias, variance and direction of gradient estimators at the current parameters, in any run. Definitions: docs/metrics.md.

Every estimator is shown the same batches, drawn by each behavior in turn from the metric's own generators; its gradients are
compared with a reference g* and only sums of them are kept. The reference is

    exact         the expected gradient under the behavior, by dynamic programming (expected_gradients.py), or in closed form
                  where steps are linear and the target is Gaussian (closed_form.py)
    independent   the estimator's own gradient on one large batch that contains none of the small ones
    nested        the published measurement: a large batch that consists of the small ones, so that pure noise scores a cosine of
                  sqrt(b / n_reference) instead of 0 (the published code of arXiv 2210.00580); kept for comparison

Where no recursion computes an estimator's expectation, nor a behavior's policy, exact becomes independent; `exact` says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Expectations, Exploration, Objective
from gfn_vi.core.types import Need, Role, Trajectories, concatenate
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.exact.quadrature import LARGEST_LOSS
from gfn_vi.evaluation.gradients.batch_gradients import (
    ALONG_NOISE,
    BatchGradients,
    Chunk,
    Estimator,
    Gradients,
    parameters_of,
)
from gfn_vi.evaluation.gradients.closed_form import ClosedFormGradients, closed_form_of
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.evaluation.gradients.large_batches import evaluate_in_pieces, large_batch_gradients, pieces_of
from gfn_vi.evaluation.gradients.moments import GROUPS, STATISTICS, GradientMoments
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.sampled.importance_weights import WEIGHT_STATISTICS, WeightPool

REFERENCES = ("exact", "independent", "nested")
KEY = "evaluation.metrics.gradients"
# Steps of trajectories that are drawn at once. Not per replica: what a replica draws must not depend on how many there are.
DRAWN_STEPS = 2**22


class GradientStatistics(BaseMetric):
    """Gradient statistics for estimators x behaviors x batch sizes, each role apart."""

    def __init__(
        self,
        estimators: Mapping[str, Objective | None],
        behaviors: Mapping[str, Exploration | None],
        batch_sizes: Sequence[int],
        n_batches: int,
        reference: str,
        n_reference: int,
        roles: Sequence[str],
        prefix: str,
        every: int | None,
    ) -> None:
        """estimators, behaviors: by name, null takes one out; n_batches: M; n_reference: trajectories of a sampled reference.

        every: trajectories per replica between measurements; None: at every evaluation.
        """
        require(every is None or every >= 1, f"{KEY}.every", every, "expected a whole number >= 1, or null")
        self.every = every
        self.objectives = {name: objective for name, objective in estimators.items() if objective is not None}
        self.behaviors = {name: behavior for name, behavior in behaviors.items() if behavior is not None}
        self.batch_sizes, self.n_batches, self.prefix = list(batch_sizes), n_batches, prefix
        self.reference, self.n_reference = reference, n_reference
        self._check_numbers(list(roles))
        self.roles = [Role(role) for role in roles]
        self._check_batches()
        self._check_behaviors()
        # what sampler and target have to offer, by the key of what asks for it
        self.needs = {f"estimators.{name}": objective.needs for name, objective in self.objectives.items()}

    def _check_numbers(self, roles: list[str]) -> None:
        known = [role.value for role in Role]
        right = len(roles) > 0 and all(role in known for role in roles)
        require(right, f"{KEY}.roles", roles, f"expected some of {', '.join(known)}")
        require(self.reference in REFERENCES, f"{KEY}.reference", self.reference, f"expected one of {', '.join(REFERENCES)}")
        for kind, group, parts in (("estimators", "objective", self.objectives), ("behaviors", "exploration", self.behaviors)):
            for name, part in parts.items():
                advice = f"expected a choice of the group {group}: +{group}@{KEY}.{kind}.{name}=..."
                require(hasattr(part, "needs" if kind == "estimators" else "has_density"), f"{KEY}.{kind}.{name}", part, advice)
        require(len(self.objectives) > 0, f"{KEY}.estimators", "{}", "expected at least one objective")
        require(len(self.behaviors) > 0, f"{KEY}.behaviors", "{}", "expected at least one exploration")
        sizes = self.batch_sizes
        whole = len(sizes) > 0 and min(sizes) >= 1 and len(set(sizes)) == len(sizes)
        require(whole, f"{KEY}.batch_sizes", sizes, "expected at least one whole number, each >= 1 and none twice")
        require(self.prefix != "", f"{KEY}.prefix", self.prefix, "expected a text: the names of the metrics start with it")
        n = self.n_batches
        require(
            n >= 2 * GROUPS and n % GROUPS == 0,
            f"{KEY}.n_batches",
            n,
            f"expected a multiple of {GROUPS}, at least {2 * GROUPS}: errors compare {GROUPS} groups",
        )

    def _check_batches(self) -> None:
        for name, objective in self.objectives.items():
            least = max(
                getattr(objective, "smallest_batch", 1), getattr(getattr(objective, "baseline", None), "smallest_batch", 1)
            )
            small = min(self.batch_sizes)
            require(
                small >= least, f"{KEY}.batch_sizes", self.batch_sizes, f"{name} compares trajectories: expected at least {least}"
            )
        largest = max(self.batch_sizes)
        require(
            self.n_reference > largest,
            f"{KEY}.n_reference",
            self.n_reference,
            f"expected more trajectories than in the largest batch, {largest}",
        )
        for size in self.batch_sizes if self.reference == "nested" else []:
            require(
                self.n_reference % (GROUPS * size) == 0,
                f"{KEY}.n_reference",
                self.n_reference,
                f"reference=nested divides it into batches of {size} in {GROUPS} groups: expected a multiple of {GROUPS * size}",
            )

    def _check_behaviors(self) -> None:
        for name, behavior in self.behaviors.items():
            kind = type(behavior).__name__
            require(
                behavior.has_density,
                f"{KEY}.behaviors.{name}",
                kind,
                "a behavior with a memory draws other trajectories at every call; expected one whose density is known, "
                "such as on_policy, stop_bias or epsilon_uniform",
            )
            for estimator, objective in self.objectives.items():
                require(
                    behavior.is_on_policy or Need.ON_POLICY not in objective.needs,
                    f"{KEY}.estimators.{estimator}",
                    type(objective).__name__,
                    f"holds on-policy only and behaviors.{name} is {kind}: take one of them out, "
                    f"{KEY}.estimators.{estimator}=null or {KEY}.behaviors.{name}=null",
                )

    def records(self, target: object, exact: bool, sampled: bool) -> list[str]:
        """Return the names of all; a role without parameters is left out."""
        of_estimators = [
            f"{self.prefix}/{statistic}/{role.value}/{estimator}/{behavior}/{size}"
            for statistic in (*STATISTICS, "exact")
            for role in self.roles
            for estimator in self.objectives
            for behavior in self.behaviors
            for size in self.batch_sizes
        ]
        return [*of_estimators, *(f"{self.prefix}/{name}/{b}" for name in WEIGHT_STATISTICS for b in self.behaviors)]

    # -- measuring ----------------------------------------------------------------------------------------------------

    @torch.enable_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return the statistics by name, <prefix>/<statistic>/<role>/..., each [R] float64."""
        measurement = _Gradients(self, moment)
        found: dict[str, Tensor] = {}
        for name, behavior in self.behaviors.items():
            found |= {f"{self.prefix}/{key}": value for key, value in measurement.of(name, behavior).items()}
        return found


class _Gradients:
    """One call of the metric: the sampler as it is now."""

    def __init__(self, settings: GradientStatistics, moment: Measurement) -> None:
        sampler, graph = moment.sampler, moment.graph
        self.settings, self.sampler, self.rng = settings, sampler, moment.rng
        # a sampler of a density is evaluated at all visited states, however many nodes a line has
        self.on_a_line = moment.line is not None
        self.n_states = None if graph is None or self.on_a_line else graph.n_states
        self.horizon: int = moment.target.horizon if hasattr(moment.target, "horizon") else sampler.n_steps
        parameters = [p.detach() for group in sampler.parameter_groups().values() for p in group]
        # replicas that did not diverge: [R]
        self._sound = torch.stack([p.reshape(len(p), -1).isfinite().all(1) for p in parameters]).all(0)
        self._resolved = torch.ones_like(self._sound) if moment.line is None else moment.line.resolved
        self._sound = self._sound & self._resolved
        exact: ExactGradients | ClosedFormGradients | None = None
        if settings.reference == "exact":
            exact = closed_form_of(sampler, moment.target) if graph is None else ExactGradients(sampler, graph)
        # all behaviors first: the evaluation of the networks on the whole graph is then let go
        self.exact = {name: {} if exact is None else self._exact(exact, b) for name, b in settings.behaviors.items()}
        self.engine = BatchGradients(sampler, settings.roles, settings.needs.values(), self.n_states)

    def of(self, name: str, behavior: Exploration) -> dict[str, Tensor]:
        """Return everything under one behavior: name -> [R]."""
        settings = self.settings
        found: dict[str, Tensor] = {}
        estimators = self._at_rest(behavior)
        nested = settings.reference == "nested"
        exact = self.exact[name]
        references = {} if nested else exact | self._independent(behavior, exact, estimators)
        for size in settings.batch_sizes:
            n_batches = settings.n_reference // size if nested else settings.n_batches
            pool = self._draw(behavior, size, n_batches) if nested else None
            if pool is not None:
                references = self._sampled(estimators, pool)
            weights, moments = WeightPool(behavior.is_on_policy), self._moments(references, n_batches, size, frozenset(exact))
            for chunk in self._chunks(behavior, pool, n_batches, size):
                weights.add(chunk)
                for key, estimator in estimators.items():
                    for role, gradients in chunk.gradients(estimator).items():
                        moments[key][role].add(chunk.start, gradients)
            for key, by_role in moments.items():
                for role, moment in by_role.items():
                    statistics = moment.statistics() | {"exact": torch.full_like(moment.size, float(key in exact))}
                    found |= {f"{s}/{role.value}/{key}/{name}/{size}": value for s, value in statistics.items()}
            if size == max(settings.batch_sizes):
                found |= {f"{statistic}/{name}": value for statistic, value in weights.statistics().items()}
        return found

    def _chunks(self, behavior: Exploration, pool: Trajectories | None, n_batches: int, size: int) -> Iterator[Chunk]:
        if pool is not None:
            yield from self.engine.chunks(pool, n_batches)
            return
        at_once = max(1, DRAWN_STEPS // (size * self.horizon))
        for start in range(0, n_batches, at_once):
            n = min(at_once, n_batches - start)
            yield from self.engine.chunks(self._draw(behavior, size, n), n, start)

    def _draw(self, behavior: Exploration, size: int, n_batches: int) -> Trajectories:
        """Return n_batches batches of `size`: [R, n_batches * size]. A mixture divides each batch among its components."""
        if hasattr(behavior, "tilt"):  # independent trajectories: one batch is as good as many
            return behavior.collect(self.sampler, n_batches * size, self.rng, 0)
        return concatenate([behavior.collect(self.sampler, size, self.rng, 0) for _ in range(n_batches)])

    def _at_rest(self, behavior: Exploration) -> dict[str, Estimator]:
        estimators = {name: Estimator(objective) for name, objective in self.settings.objectives.items()}
        if not any(estimator.has_memory for estimator in estimators.values()):
            return estimators
        needs = frozenset[Need]().union(*(e.objective.needs for e in estimators.values() if e.has_memory))
        pieces = pieces_of(self._draw(behavior, self.settings.n_reference, 1))
        evaluation = evaluate_in_pieces(self.sampler.repeated(1), pieces, needs)
        return {name: estimator.settled(evaluation) for name, estimator in estimators.items()}

    # -- references ---------------------------------------------------------------------------------------------------

    def _exact(self, exact: ExactGradients | ClosedFormGradients, behavior: Exploration) -> dict[str, Gradients]:
        """Return the exact gradients of the estimators whose expectation under the behavior can be computed."""
        tilt_at = getattr(behavior, "tilt", None)
        if tilt_at is None:
            return {}
        tilt = tilt_at(0)
        expectations: Expectations
        if isinstance(exact, ClosedFormGradients):
            if tilt is not None:
                return {}
            expectations = exact.under("P_F")
        else:
            expectations = on_graph = exact.under("P_F" if tilt is None else tilt)
            # wider steps may lead off a line that holds those of P_F
            lost = (1 - on_graph.visits.stops.sum(0)).abs()[self._sound]
            if self.on_a_line and not bool((lost < LARGEST_LOSS).all()):
                return {}
        found = {}
        for name, objective in self.settings.objectives.items():
            descends = objective.descends(expectations)
            gradients = None if descends is None else exact(descends)
            # sums of powers of densities can overflow: those estimators are compared with a sampled reference instead
            if gradients is not None and all(bool(g[self._sound].isfinite().all()) for g in gradients.values()):
                found[name] = {role: g.masked_fill(~self._resolved[:, None], torch.nan) for role, g in gradients.items()}
        return found

    def _independent(
        self, behavior: Exploration, exact: Mapping[str, Gradients], estimators: Mapping[str, Estimator]
    ) -> dict[str, Gradients]:
        """Return sampled reference gradients, from batches of their own, for the estimators that have no exact one."""
        others = {key: estimator for key, estimator in estimators.items() if key not in exact}
        return self._sampled(others, self._draw(behavior, self.settings.n_reference, 1)) if others else {}

    def _sampled(self, estimators: Mapping[str, Estimator], batch: Trajectories) -> dict[str, Gradients]:
        """Return the gradients on one large batch [R, n_reference]."""
        found: dict[str, Gradients] = {}
        for path in {estimator.objective.needs & ALONG_NOISE for estimator in estimators.values()}:
            own = {name: e for name, e in estimators.items() if e.objective.needs & ALONG_NOISE == path}
            needs = frozenset[Need]().union(*(estimator.objective.needs for estimator in own.values()))
            found |= large_batch_gradients(self.sampler, self.settings.roles, needs, own, batch)
        return found

    def _moments(
        self, references: Mapping[str, Gradients], n_batches: int, size: int, exact: frozenset[str]
    ) -> dict[str, dict[Role, GradientMoments]]:
        dtype, roles = self.sampler.log_Z.dtype, parameters_of(self.sampler, self.settings.roles)
        nested, share = self.settings.reference == "nested", size / self.settings.n_reference

        def moments(name: str, reference: Tensor) -> GradientMoments:
            return GradientMoments(reference, n_batches, dtype, 0.0 if name in exact else share, nested)

        return {name: {role: moments(name, reference[role]) for role in roles} for name, reference in references.items()}

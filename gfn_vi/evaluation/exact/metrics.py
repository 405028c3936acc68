"""Exact metrics of a sampler on an enumerable target. Definitions: docs/metrics.md."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.headline import Headline
from gfn_vi.core.protocols import Arrays
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.exact.dynamic_programming import elbo, eubo
from gfn_vi.evaluation.exact.line_distance import absolute_difference, jensen_shannon
from gfn_vi.evaluation.exact.line_moments import line_log_terminating
from gfn_vi.evaluation.exact.quadrature import Line
from gfn_vi.evaluation.measurement import Measurement

# The largest Jensen-Shannon divergence, in nats: that of distributions that share no state.
WORST_JSD = math.log(2)

NAMES = (
    *("jsd", "total_variation", "l1", "kl_forward", "kl_reverse"),
    *("modes_covered", "log_Z", "log_Z_error", "elbo", "eubo", "ess"),
)

# The ends of what a metric can be. Where P_T is the target, rounding in float64 passes them by 1e-16, and by more where log Z is
# large; so much is cut off. What is farther outside is a mistake, and recorded as it is.
ROUNDING = 1e-9
RANGES = {
    "jsd": (0.0, WORST_JSD),
    "total_variation": (0.0, 1.0),
    "l1": (0.0, 2.0),
    "kl_forward": (0.0, math.inf),
    "kl_reverse": (0.0, math.inf),
    "bound_gap": (0.0, math.inf),
    "ess": (0.0, 1.0),
}


def divergences(log_target: Tensor, terminating: Tensor) -> dict[str, Tensor]:
    """Return divergences between the target pi (log pi [S]) and P_T [S, R], with natural logarithms: each [R].

    jsd; total_variation = l1 / 2; l1; kl_forward = KL(pi, P_T); kl_reverse = KL(P_T, pi). States that cannot stop have
    probability 0 under both and contribute nothing.
    """
    p, q = log_target.exp()[:, None], terminating
    possible = p > 0
    log_p = log_target[:, None].masked_fill(~possible, 0.0)
    log_q = q.clamp(min=torch.finfo(q.dtype).tiny).log()  # only ever multiplied by q or, where q underflows, see below
    log_m = ((p + q) / 2).clamp(min=torch.finfo(q.dtype).tiny).log()
    # P_T underflowed where it matters: KL(pi, P_T) is infinite to machine precision
    zero = (q == 0) & (p > torch.finfo(p.dtype).eps)
    l1 = (p - q).abs().sum(0)
    return {
        "jsd": ((p * (log_p - log_m)).sum(0) + (q * (log_q - log_m)).sum(0)) / 2,
        "total_variation": l1 / 2,
        "l1": l1,
        "kl_forward": (p * (log_p - log_q)).sum(0).masked_fill(zero.any(0), math.inf),
        "kl_reverse": (q * (log_q - log_p)).sum(0),
    }


def without_rounding(values: Tensor, low: float, high: float) -> Tensor:
    """Return the values, those outside of low..high by no more than ROUNDING at its end: [R] -> [R]."""
    inside = values.clamp(low, high)
    return inside.where((values - inside).abs() <= ROUNDING, values)


class ExactMetrics(BaseMetric):
    """All general exact metrics, from one evaluation of the policies on the whole state graph."""

    kind = "exact"
    headline = Headline("jsd", "minimize", WORST_JSD, "exact JSD")
    summary = ("jsd", "modes_covered", "log_Z_error")

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return the exact metrics by name, each [R] float64."""
        graph = moment.state_graph
        visits, ess = moment.visits_and_sample_fraction
        log_Z = moment.sampler.log_Z.double()
        covered = {}
        # the modes of a density are regions that only the target knows; on a line, top reward is one node
        if moment.line is None or getattr(moment.target, "n_modes", None) is not None:
            covered["modes_covered"] = self._modes_covered(moment)
        bounds = {"elbo": elbo(moment.policies, visits), "eubo": eubo(moment.policies)}
        log_Z_error = log_Z - graph.log_partition
        if moment.line is not None:
            resolved = moment.line.resolved
            covered = {name: value.where(resolved, torch.nan) for name, value in covered.items()}
            log_Z_error = log_Z_error.where(resolved, torch.nan)
            # what runs on densities of more dimensions are judged by
            bounds["bound_gap"] = bounds["eubo"] - bounds["elbo"]
            m = moment.line.graph.n_nodes
            log_target, terminating = graph.log_target[-m:, None], moment.terminating[-m:]
            # in logarithms, since either density underflows where the other one does not
            log_ratio = (log_target - line_log_terminating(moment.policies)).masked_fill(log_target == -math.inf, 0.0)
            target = log_target.exp()
            l1 = absolute_difference(target, terminating)
            bounds |= {"l1": l1, "total_variation": l1 / 2, "jsd": jensen_shannon(target, terminating)}
            bounds |= {"kl_forward": (target * log_ratio).sum(0), "kl_reverse": -(terminating * log_ratio).sum(0)}
        log_Zs = {"log_Z": log_Z, "log_Z_error": log_Z_error}
        found = divergences(graph.log_target, moment.terminating) | covered | log_Zs | bounds | {"ess": ess}
        log_Zhat = float(graph.log_partition)
        ranges = RANGES | {"elbo": (-math.inf, log_Zhat), "eubo": (log_Zhat, math.inf)}
        return found | {name: without_rounding(found[name], *ends) for name, ends in ranges.items() if name in found}

    def records(self, target: object, exact: bool, sampled: bool) -> tuple[str, ...]:
        """Return the names of all of them; of a density the gap of the bounds besides, and modes only where it knows some."""
        if getattr(target, "dim", None) is None:
            return NAMES
        known = getattr(target, "n_modes", None) is not None
        return (*(name for name in NAMES if known or name != "modes_covered"), "bound_gap")

    def arrays(self, moment: Measurement) -> Arrays:
        """Return the states, the target's distribution [S] and every replica's P_T [R, S]."""
        return distribution_arrays(moment)

    @staticmethod
    def _modes_covered(moment: Measurement) -> Tensor:
        """Return the number of modes on which P_T puts at least half of the target's mass: [R] float64."""
        graph, n_modes = moment.state_graph, moment.target.n_modes
        # a target's modes may be more than the regions of top reward: all sequences near one, say
        label = graph.modes[0] if n_modes is None else moment.target.mode_index(graph.states)
        n_modes = graph.modes[1] if n_modes is None else n_modes
        inside = label >= 0

        def mass(probability: Tensor) -> Tensor:
            total = torch.zeros(n_modes, probability.shape[1], dtype=torch.float64, device=probability.device)
            return total.index_add_(0, label[inside], probability[inside])

        of_target = mass(graph.log_target.exp()[:, None])
        return ((mass(moment.terminating) >= of_target / 2) & (of_target > 0)).sum(0).double()


def distribution_arrays(moment: Measurement) -> Arrays:
    """Return states [S, *state], target [S] and learned [R, S] where states can be listed; nothing elsewhere."""
    if moment.line is not None:
        return line_arrays(moment.line, moment.terminating)
    if moment.graph is None:
        return {}
    return {"states": moment.graph.states, "target": moment.graph.log_target.exp(), "learned": moment.terminating.T}


def line_arrays(line: Line, terminating: Tensor) -> Arrays:
    """Return nodes [M], and the densities there of the target [M] and of every replica's P_T [R, M]."""
    graph, m = line.graph, line.graph.n_nodes
    target = graph.log_target[-m:].exp() / graph.spacing
    return {"nodes": graph.nodes[:, 0], "target_density": target, "learned_density": terminating[-m:].T / graph.spacing}

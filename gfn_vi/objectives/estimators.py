"""How the gradient of a divergence is estimated from trajectories: by scores, or along the path of the noise.

With tau = g_theta(eps) and a divergence that is a mean under P_F of v(u), u = l + log Z,

    score                  d E[v] = E[(v - b) d log P_F + dv / du (d log P_F - d log P_B)]       l needs no derivative of R
    pathwise               d E[v] = E_eps[d v(u(g_theta(eps)))]                                 (Kingma & Welling 2014)
    sticking the landing   the same without d log P_F at fixed tau, whose mean is zero where v = u   (Roeder et al. 2017)

The sampler follows the path (gfn_vi/core/types.py: Need); an estimator says only what it asks for, and of which divergences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Need
from gfn_vi.objectives.baselines import Baseline
from gfn_vi.objectives.divergences import FORWARD, Divergence, ReverseKL


class Estimator:
    """follows_path: whether the value itself is differentiated; needs: what the evaluation then has to offer."""

    follows_path: ClassVar[bool] = False
    needs: ClassVar[frozenset[Need]] = frozenset()

    def check(self, forward: Sequence[Divergence], backward: Sequence[Divergence], baseline: Baseline) -> None:
        """Raise ConfigError where these divergences have no such estimator; scores estimate all of them."""


class Score(Estimator):
    """Score functions with weights and baselines, from trajectories of any density."""


SCORE = Score()


class Pathwise(Estimator):
    """The gradient along the path of the noise; both sides descend the same means under P_F."""

    follows_path = True
    needs = frozenset({Need.PATHWISE, Need.ON_POLICY})

    def check(self, forward: Sequence[Divergence], backward: Sequence[Divergence], baseline: Baseline) -> None:
        """Refuse a divergence averaged under P_B, sides that differ, and a baseline, which would not be read."""
        under = [type(d).__name__ for d in (*forward, *backward) if d.measure != FORWARD]
        name = type(self).__name__
        if under:
            found = f"{', '.join(dict.fromkeys(under))} is a mean under P_B, which has no path of noise from P_F"
            raise ConfigError("objective.estimator", name, f"{found}; use estimator@objective.estimator=score")
        if [(type(d), vars(d)) for d in forward] != [(type(d), vars(d)) for d in backward]:
            found = "one value is differentiated, and here P_F and P_B descend different ones"
            raise ConfigError("objective.estimator", name, f"{found}; use estimator@objective.estimator=score")
        if not baseline.removes_nothing:
            found = "a baseline belongs to scores, and this estimator has none"
            raise ConfigError("objective.baseline", type(baseline).__name__, f"{found}; use baseline@objective.baseline=none")


class StickingTheLanding(Pathwise):
    """The pathwise gradient of KL(P_F, P_B) without the score of P_F, which has mean zero there."""

    needs = frozenset({Need.PATHWISE, Need.STICKING_THE_LANDING, Need.ON_POLICY})

    def check(self, forward: Sequence[Divergence], backward: Sequence[Divergence], baseline: Baseline) -> None:
        """Refuse also everything but the reverse KL: elsewhere the score that is left out has a mean."""
        super().check(forward, backward, baseline)
        others = [type(d).__name__ for d in forward if not isinstance(d, ReverseKL)]
        if others:
            found = f"with {', '.join(others)} the score that it leaves out does not have mean zero"
            raise ConfigError("objective.estimator", type(self).__name__, f"{found}; use estimator@objective.estimator=pathwise")

"""Losses of two small trajectories, worked out on paper: their values, padding and all; and a baseline's memory."""

from __future__ import annotations

import math

import pytest
import torch

from gfn_vi.core.types import Evaluation
from gfn_vi.objectives.baselines import RunningMean
from gfn_vi.objectives.detailed_balance import DetailedBalance
from gfn_vi.objectives.log_variance import LogVariance
from gfn_vi.objectives.penalties import Huber, LogCosh, Square
from gfn_vi.objectives.subtrajectory_balance import SubtrajectoryBalance
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance


def two_trajectories() -> Evaluation:
    """One replica; steps of log P_F - log P_B (1, 2) with log R = 4, and (3, padding) with log R = 5; log Z = 2.

    log F is (2, 7, 4) and (2, 5, 5): the end is repeated at the padding. l = -1 and -2, u = 1 and 0; edges -4, 5 and 0.
    """
    return Evaluation(
        log_pf=torch.tensor([[[-1.0, -1.0], [-0.5, 0.0]]]).double(),
        log_pb=torch.tensor([[[-2.0, -3.0], [-3.5, 0.0]]]).double(),
        log_reward=torch.tensor([[4.0, 5.0]]).double(),
        log_Z=torch.tensor([2.0]).double(),
        log_behavior=None,
        mask=torch.tensor([[[True, True], [True, False]]]),
        log_flow=torch.tensor([[[2.0, 7.0, 4.0], [2.0, 5.0, 5.5]]]).double(),
    )


def test_trajectory_balance() -> None:
    assert float(TrajectoryBalance(Square())(two_trajectories())) == pytest.approx((1 + 0) / 2)


def test_log_variance() -> None:
    """Of -1 and -2 with 1 / (B - 1)."""
    assert float(LogVariance()(two_trajectories())) == pytest.approx(0.5)


def test_detailed_balance_leaves_padding_out() -> None:
    """The log F behind the end of the second trajectory is of no state."""
    assert float(DetailedBalance(Square())(two_trajectories())) == pytest.approx((16 + 25 + 0) / 2)


@pytest.mark.parametrize("lamda", [0.5, 1.0, 3.0])
def test_subtrajectory_balance(lamda: float) -> None:
    """Pairs of the first: edges -4 and 5, and 1 over both; of the second: 0."""
    by_hand = (lamda * 16 + lamda * 25 + lamda**2 * 1) / (2 * lamda + lamda**2) / 2
    assert float(SubtrajectoryBalance(lamda, Square())(two_trajectories())) == pytest.approx(by_hand, rel=1e-14)


def test_a_large_lamda_is_the_whole_trajectory_and_no_overflow() -> None:
    found = float(SubtrajectoryBalance(1e200, Square())(two_trajectories()))
    assert found == pytest.approx((1 + 0) / 2)


def test_penalties_are_their_formulas() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0]).double()
    assert Square()(x).tolist() == [9.0, 0.25, 0.0, 0.25, 9.0]
    assert Huber(1.0)(x).tolist() == [5.0, 0.25, 0.0, 0.25, 5.0]
    assert Huber(2.0)(x).tolist() == [8.0, 0.25, 0.0, 0.25, 8.0]
    torch.testing.assert_close(LogCosh()(x), 2 * x.cosh().log(), rtol=1e-14, atol=1e-15)


def test_a_running_mean_moves_by_its_rate_and_forgets_the_scale_of_weights() -> None:
    """b <- (1 - rate) b + rate m, m the weighted mean: 0, then 0.25 * 4 = 1, then 0.75 + 0.25 * 2 = 1.25."""
    baseline, nothing = RunningMean(0.25), torch.zeros(1).double()
    weights = torch.tensor([[0.5, 1.5]]).double()
    for coefficient, before in (([1.0, 5.0], 0.0), ([8.0, 0.0], 1.0), ([math.nan, 1.0], 1.25), ([0.0, 0.0], 1.25)):
        c = torch.tensor([coefficient]).double()
        assert baseline("P_F 0", c, weights, nothing, None).tolist() == [[before]]
        baseline.update("P_F 0", c, weights)
    assert baseline("P_B 0", c, weights, nothing, None).tolist() == [[0.0]]

"""What continuous samplers draw from: every density against scipy, processes and their reverses against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from building import generators
from densities import CASES, DIM, VARIANTS, Bumps, Noise, make, spread
from torch import Tensor

from gfn_vi.exploration.widened import WidenedSteps
from gfn_vi.samplers.continuous.kernels import DiagonalGaussian
from gfn_vi.samplers.continuous.sampler import ContinuousSampler

R, B = 2, 6
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def shifted(steps: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """A tilt of another kind than widening: it moves and narrows, and depends on the step."""
    return mean + 0.1 * (steps[:, None] + 1), 0.7 * std


def doubled(steps: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """A tilt that is the same in all axes, those of a correlated Gaussian among them."""
    return 2 * mean, 0.7 * std


TILTS = {"plain": None, "widened": WidenedSteps(0.4).tilt(0), "shifted": shifted}
DIAGONAL = [case for case in CASES if case[0] not in ("flow", "full_rank", "gaussian_mixture_family")]


def kernel_at(sampler: ContinuousSampler, states: Tensor, k: int, forward: bool) -> DiagonalGaussian:
    """The kernel of step k at the states [R, B, T+1, d], one step at a time."""
    row = states[:, :, k : k + 1] if forward else states[:, :, k + 1 : k + 2]
    if not forward:
        return sampler.backward_kernels()(slice(k, k + 1), row, None)
    return sampler.forward_kernels()(slice(k, k + 1), row, sampler.drift_score(row) if sampler.uses_score else None)


def normal(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N by scipy, summed over dimensions."""
    mean, std = (np.broadcast_to(t.detach().numpy(), x.shape) for t in (mean, std))
    return torch.tensor(scipy.stats.norm.logpdf(x.numpy(), mean, std)).sum(-1)


@pytest.mark.parametrize("case", DIAGONAL, ids="-".join)
@pytest.mark.parametrize("tilt", TILTS)
def test_densities_of_steps_are_scipys(case: tuple[str, str], tilt: str) -> None:
    """Forward, tilted and backward, on trajectories that were drawn; the noise behind them is what the generators gave."""
    name, variant = case
    sampler, change = spread(make(name, *VARIANTS[name][variant])), TILTS[tilt]
    drawn = sampler.rollout(B, generators(0, R), change)
    noise = generators(0, R).normal(sampler.n_steps, B, DIM)
    forward, backward = torch.zeros(R, B).double(), torch.zeros(R, B).double()
    for k in range(sampler.n_steps):
        kernel = kernel_at(sampler, drawn.states, k, forward=True)
        mean, std = kernel.mean, kernel.std
        if change is not None:
            mean, std = change(torch.tensor([k]), mean, std)
        reached = drawn.states[:, :, k + 1 : k + 2]
        torch.testing.assert_close(((reached - mean) / std)[:, :, 0], noise[:, k], rtol=1e-9, atol=1e-9)
        forward += normal(reached, mean, std)[..., 0]
        if k > 0:
            kernel = kernel_at(sampler, drawn.states, k, forward=False)
            step = normal(drawn.states[:, :, k : k + 1], kernel.mean, kernel.std)
            torch.testing.assert_close(sampler.evaluate(drawn).log_pb[:, :, k : k + 1].detach(), step, **CLOSE)
            backward += step[..., 0]
    torch.testing.assert_close(drawn.log_behavior, forward, **CLOSE)
    torch.testing.assert_close(sampler.log_density(drawn, change), forward, **CLOSE)
    torch.testing.assert_close(sampler.evaluate(drawn).trajectory_log_pb.detach(), backward, **CLOSE)


@pytest.mark.parametrize("case", DIAGONAL, ids="-".join)
def test_backward_rollouts_have_the_density_that_evaluate_gives_them(case: tuple[str, str]) -> None:
    """Steps are drawn from the end to the start, so that their noise is the generators' numbers."""
    name, variant = case
    sampler = spread(make(name, *VARIANTS[name][variant]))
    terminals = generators(1, R).normal(B, DIM)
    drawn = sampler.backward_rollout(terminals, generators(2, R))
    log_pb = sampler.evaluate(drawn).log_pb.detach()
    assert not bool(log_pb[:, :, 0].any())
    if sampler.n_steps == 1:
        return
    noise = generators(2, R).normal(sampler.n_steps - 1, B, DIM)
    for k in range(1, sampler.n_steps):
        kernel = kernel_at(sampler, drawn.states, k, forward=False)
        own = scipy.stats.norm.logpdf(noise[:, k - 1].numpy()).sum(-1)
        stretch = np.broadcast_to(kernel.std.detach().numpy(), (R, B, 1, DIM))[:, :, 0]
        torch.testing.assert_close(log_pb[:, :, k], torch.tensor(own - np.log(stretch).sum(-1)), **CLOSE)


# Tilt -> what it makes of a mean, of a variance by a factor, and adds to a variance.
CHANGES = {"plain": (None, 1, 1, 0.0), "widened": (WidenedSteps(0.4).tilt(0), 1, 1, 0.16), "doubled": (doubled, 2, 0.49, 0.0)}
every_change = pytest.mark.parametrize(("tilt", "factor", "squared", "extra"), CHANGES.values(), ids=CHANGES)


@every_change
@torch.no_grad()
def test_a_full_rank_family_is_scipys_multivariate_normal(tilt: Any, factor: float, squared: float, extra: float) -> None:
    """Widened, its covariance has the added variance on its diagonal; its smallest std is the root of the least eigenvalue."""
    sampler = spread(make("full_rank"))
    drawn = sampler.rollout(B, generators(0, R), tilt)
    family = sampler.family() if tilt is None else sampler.family().tilted(torch.zeros(1), tilt)
    for r in range(R):
        tril = np.diag(sampler.log_diagonal[r].detach().exp().numpy())
        tril[np.tril_indices(DIM, -1)] = sampler.below_diagonal[r].detach().numpy()
        covariance = squared * tril @ tril.T + extra * np.eye(DIM)
        density = scipy.stats.multivariate_normal(factor * sampler.mean[r].detach().numpy(), covariance)
        wanted = torch.tensor(density.logpdf(drawn.terminal_states()[r].numpy()))
        torch.testing.assert_close(drawn.log_behavior[r], wanted, **CLOSE)
        torch.testing.assert_close(sampler.log_density(drawn, tilt)[r], wanted, **CLOSE)
        assert float(family.smallest_std()[r]) == pytest.approx(np.linalg.eigvalsh(covariance)[0] ** 0.5, rel=1e-12)


@every_change
@torch.no_grad()
def test_a_mixture_family_is_scipys(tilt: Any, factor: float, squared: float, extra: float) -> None:
    """Densities; and in one dimension what is drawn has the mixture's distribution function (Kolmogorov and Smirnov)."""
    for dim, batch in ((DIM, B), (1, 20_000)):
        sampler = spread(make("gaussian_mixture_family", "n_components=4", "init_spread=3", target=Bumps(dim)))
        drawn = sampler.rollout(batch, generators(0, R), tilt)
        family = sampler.family() if tilt is None else sampler.family().tilted(torch.zeros(1), tilt)
        x = drawn.terminal_states().numpy()
        for r in range(R):
            weights = sampler.logits[r].detach().softmax(0).numpy()
            means = factor * sampler.means[r].detach().numpy()
            stds = np.sqrt(squared * sampler.log_stds[r].detach().exp().numpy() ** 2 + extra)
            each = [w * scipy.stats.norm(m, s).pdf(x[r]).prod(-1) for w, m, s in zip(weights, means, stds, strict=True)]
            torch.testing.assert_close(drawn.log_behavior[r], torch.tensor(np.log(sum(each))), **CLOSE)
            assert float(family.smallest_std()[r]) == pytest.approx(stds.min(), rel=1e-12)
            if dim == 1:

                def cdf(y: np.ndarray, parts: Any = (weights, means[:, 0], stds[:, 0])) -> np.ndarray:
                    return sum(w * scipy.stats.norm(m, s).cdf(y) for w, m, s in zip(*parts, strict=True))

                assert scipy.stats.kstest(x[r, :, 0], cdf).pvalue > 1e-3


def test_a_mixture_family_starts_with_equal_weights_and_means_of_a_given_spread() -> None:
    sampler = make("gaussian_mixture_family", "n_components=4", "init_spread=3.0", "init_std=0.5")
    torch.testing.assert_close(sampler.means.detach(), 3 * generators(0, R, "initialization").normal(4, DIM), **CLOSE)
    assert not bool(sampler.logits.any())
    torch.testing.assert_close(sampler.log_stds.detach().exp(), torch.full((R, 4, DIM), 0.5).double(), **CLOSE)


@pytest.mark.parametrize("variant", ["plain", "learned"])
@torch.no_grad()
def test_the_smallest_std_is_that_of_any_row_and_step(variant: str) -> None:
    """Forward and backward, as a line of nodes asks for it; of the plain bridge it is that of a step back."""
    sampler = spread(make("diffusion", *VARIANTS["diffusion"][variant], target=Bumps(1)))
    nodes = torch.linspace(-4, 4, 9, dtype=torch.float64)[:, None]
    states = nodes.expand(R, 9, 1)[:, :, None].expand(R, 9, sampler.n_steps + 1, 1)
    stds = [kernel_at(sampler, states, k, forward=True).std for k in range(sampler.n_steps)]
    stds += [kernel_at(sampler, states, k, forward=False).std for k in range(1, sampler.n_steps)]
    each = torch.cat([std.expand(R, 9, 1, 1) for std in stds], 2)
    torch.testing.assert_close(sampler.smallest_std(nodes), each.flatten(1).amin(1), **CLOSE)
    assert bool((each.amax((1, 2, 3)) > 1.2 * each.amin((1, 2, 3))).all())


# -- processes -----------------------------------------------------------------------------------------------------------

GRID = [0.5, 0.6, 0.8, 0.85, 1.4, 2.5]
NETWORK = ("hidden=[6,5]", "n_frequencies=4")
PROCESSES = {
    "constant": ("n_steps=5", f"grid={GRID}", "sigma=1.3"),
    "linear": ("n_steps=5", f"grid={GRID}", "sigma=1.3", "noise=linear", "sigma_end=0.4"),
    "geometric": ("n_steps=5", "end_time=2.0", "sigma=1.3", "noise=geometric", "sigma_end=0.4"),
    "gaussian_start": ("n_steps=6", f"grid={GRID}", "sigma=1.3", "start_std=0.7"),
}


def variances(name: str) -> list[float]:
    """v_1..v_T of the Brownian motion, by hand."""
    times = [2.0 * i / 5 for i in range(6)] if name == "geometric" else GRID
    v, out = (0.49, [0.49]) if name == "gaussian_start" else (0.0, [])
    for start, end in pairwise(times):
        u = (start - times[0]) / (times[-1] - times[0])
        sigma = {"linear": 1.3 + (0.4 - 1.3) * u, "geometric": 1.3 * (0.4 / 1.3) ** u}.get(name, 1.3)
        v += sigma**2 * (end - start)
        out.append(v)
    return out


@pytest.mark.parametrize("name", PROCESSES)
def test_composed_bridge_kernels_have_the_bridges_marginals(name: str) -> None:
    """x_k given x_T has mean v_k / v_T x_T and variance v_k (v_T - v_k) / v_T; the joint density of a path is the bridge's."""
    sampler, v = make("diffusion", *NETWORK, *PROCESSES[name]), variances(name)
    states = torch.ones(R, 1, sampler.n_steps + 1, DIM).double()
    mean, variance = 1.0, 0.0
    for k in range(sampler.n_steps - 1, 0, -1):
        kernel = kernel_at(sampler, states, k, forward=False)
        shrinkage = float(kernel.mean[0, 0, 0, 0])  # at a state of ones
        mean, variance = mean * shrinkage, shrinkage**2 * variance + float(kernel.std) ** 2
        assert mean == pytest.approx(v[k - 1] / v[-1], rel=1e-12)
        assert variance == pytest.approx(v[k - 1] * (v[-1] - v[k - 1]) / v[-1], rel=1e-12)
    drawn = sampler.backward_rollout(generators(0, R).normal(B, DIM), generators(1, R))
    inner = np.array(v[:-1])
    covariance = np.minimum.outer(inner, inner) * (v[-1] - np.maximum.outer(inner, inner)) / v[-1]
    joint = scipy.stats.multivariate_normal(np.zeros(len(inner)), covariance)
    centered = drawn.states[:, :, 1:-1] - (torch.tensor(inner) / v[-1])[:, None] * drawn.terminal_states()[:, :, None]
    wanted = torch.tensor(joint.logpdf(centered.transpose(2, 3).numpy())).sum(-1)
    torch.testing.assert_close(sampler.evaluate(drawn).trajectory_log_pb, wanted, **CLOSE)


@torch.no_grad()
def test_the_variance_preserving_process_is_its_own_reverse() -> None:
    """Marginals N(0, s^2) throughout, and correlation exp(-sigma^2 t / 2), both ways, on a grid that is not uniform."""
    sampler = make("variance_preserving", *NETWORK, "n_steps=6", f"grid={GRID}", "start_std=0.7", "sigma=1.3")
    states = torch.ones(R, 1, 7, DIM).double()
    start = kernel_at(sampler, states, 0, forward=True)
    assert float(start.std) == pytest.approx(0.7)
    for k in range(1, 6):
        correlation = math.exp(-(1.3**2) * (GRID[k] - GRID[k - 1]) / 2)
        for forward in (True, False):
            kernel = kernel_at(sampler, states, k, forward)
            assert float(kernel.mean[0, 0, 0, 0]) == pytest.approx(correlation, rel=1e-12)
            assert float(kernel.std) == pytest.approx(0.7 * math.sqrt(1 - correlation**2), rel=1e-12)


@pytest.mark.parametrize("name", ["diffusion", "variance_preserving", "gaussian_chain"])
def test_a_learned_backward_policy_starts_as_the_reference(name: str) -> None:
    """And leaves it as soon as its parameters move."""
    small = ("hidden=[6]", "n_layers=4") if name == "gaussian_chain" else (*NETWORK, "n_steps=4")
    learned, reference = (make(name, *small, f"backward={kind}") for kind in ("learned", "reference"))
    drawn = reference.rollout(B, generators(0, R))
    assert torch.equal(learned.evaluate(drawn).log_pb, reference.evaluate(drawn).log_pb)
    moved = spread(learned)
    assert not torch.allclose(moved.evaluate(drawn).log_pb[:, :, 1:], reference.evaluate(drawn).log_pb[:, :, 1:], rtol=1e-3)


# -- the drift, by hand --------------------------------------------------------------------------------------------------


def dense(layer: Any, x: Tensor, r: int) -> Tensor:
    return x @ layer.weight[r] + layer.bias[r]


def network_by_hand(network: Any, x: Tensor, time: float, r: int) -> Tensor:
    """What a step network says of rows x [N, d] at one time in [0, 1]."""
    gelu = torch.nn.functional.gelu
    hidden = dense(network.state, x, r) + time_by_hand(network.time, time, r)
    for layer in network.layers:
        hidden = dense(layer, gelu(hidden), r)
    return dense(network.out, gelu(hidden), r)


def time_by_hand(network: Any, time: float, r: int) -> Tensor:
    angle = time * torch.linspace(0.1, 100, 4, dtype=torch.float64) + network.phase[r]
    return dense(network.out, torch.nn.functional.gelu(dense(network.hidden, torch.cat([angle.sin(), angle.cos()], 1), r)), r)[0]


@pytest.mark.parametrize("process", ["bridge", "variance_preserving"])
@torch.no_grad()
def test_a_step_is_euler_and_maruyamas(process: str) -> None:
    """Mean, standard deviation, corrected reverse and forward-looking flow of every step, from the networks' layers."""
    clip, start_std = 0.8, 0.7
    sampler = spread(
        make(
            "diffusion",
            *(*NETWORK, "n_steps=6", f"grid={GRID}", "sigma=1.3", f"start_std={start_std}", f"process={process}"),
            *("langevin=per_dimension", f"score_clip={clip}", "learn_noise=true", "log_variance_range=3.0"),
            *("backward=learned", "largest_correction=0.4", "flow=true", "forward_looking=true"),
        )
    )
    times = [0.0, *((t - GRID[0]) / (GRID[-1] - GRID[0]) for t in GRID)]  # of the states after 0..6 steps
    drawn = sampler.rollout(B, generators(0, R))
    log_flow = sampler.log_flows()(slice(1, 6), drawn.states[:, :, 1:-1], sampler.target.log_reward(drawn.states[:, :, 1:-1]))
    clipped = 0
    for r in range(R):
        v = start_std**2
        for k in range(6):
            x = drawn.states[r, :, k]
            forward = kernel_at(sampler, drawn.states, k, forward=True)
            if k == 0:
                assert not bool(forward.mean[r].any())
                torch.testing.assert_close(forward.std, torch.full_like(forward.std, start_std), **CLOSE)
                continue
            h = GRID[k] - GRID[k - 1]
            out = network_by_hand(sampler.forward_net, x, times[k], r)
            score = sampler.target.score(x)
            norm = score.norm(dim=1, keepdim=True)
            clipped += int((norm > clip).sum())
            score = torch.where(norm > clip, score * clip / norm, score)
            drift = out[:, :DIM] + time_by_hand(sampler.scale_net, times[k], r) * score
            a, q, gain = 1.0, 1.3 * math.sqrt(h), h
            if process == "variance_preserving":
                a, q = math.exp(-(1.3**2) * h / 2), start_std * math.sqrt(1 - math.exp(-(1.3**2) * h))
                gain = q**2
            torch.testing.assert_close(forward.mean[r, :, 0], a * x + gain * drift, **CLOSE)
            torch.testing.assert_close(forward.std[r, :, 0], q * (1.5 * out[:, DIM:].tanh()).exp(), **CLOSE)
            after = a**2 * v + q**2
            y = drawn.states[r, :, k + 1]
            backward = kernel_at(sampler, drawn.states, k, forward=False)
            correction = 1 + 0.4 * network_by_hand(sampler.backward_net, y, times[k + 1], r).tanh()
            torch.testing.assert_close(backward.mean[r, :, 0], a * v / after * y * correction[:, :DIM], **CLOSE)
            std = (v * q**2 / after * correction[:, DIM:]).sqrt()
            torch.testing.assert_close(backward.std[r, :, 0], std, **CLOSE)
            ahead, behind = (
                sampler.target.log_reward(x),
                normal(x, torch.zeros(()), torch.tensor(math.sqrt(v), dtype=torch.float64)),
            )
            flow = network_by_hand(sampler.flow_net, x, times[k], r)[:, 0] + times[k] * ahead + (1 - times[k]) * behind
            torch.testing.assert_close(log_flow[r, :, k - 1], flow, **CLOSE)
            v = after
    assert 0 < clipped < R * 5 * B


@torch.no_grad()
def test_clipped_scores_are_counted() -> None:
    """As a share of all that were asked for, by replica; the first state of a chain is among them."""
    sampler = spread(make("diffusion", *NETWORK, "n_steps=5", "langevin=scalar", "score_clip=1.0"))
    assert sampler.statistics()["clipped_scores"].tolist() == [0, 0]
    drawn = sampler.rollout(B, generators(0, R))
    longer = sampler.target.score(drawn.states[:, :, :-1]).norm(dim=-1) > 1
    share = longer.double().mean((1, 2))
    assert bool(((share > 0) & (share < 1)).all())
    asked = sampler.score(10 * drawn.states)  # by someone else than the drift: as it is
    torch.testing.assert_close(asked, sampler.target.score(10 * drawn.states), **CLOSE)
    assert sampler.statistics()["clipped_scores"].tolist() == pytest.approx(share.tolist())
    assert make("diffusion", *NETWORK, "n_steps=5").statistics() == {}


@torch.no_grad()
def test_a_gaussian_chain_by_hand() -> None:
    sampler = spread(make("gaussian_chain", "hidden=[6]", "n_layers=3", "init_std=1.2", "flow=true"))
    drawn = sampler.rollout(B, Noise(generators(0, R).normal(3, B, DIM)))
    noise, std = generators(0, R).normal(3, B, DIM), 1.2 / math.sqrt(3)
    for r in range(R):
        z = sampler.mean[r] + sampler.log_std[r].exp() * noise[r, 0]
        torch.testing.assert_close(drawn.states[r, :, 1], z, **CLOSE)
        for k in (1, 2):
            first, gelu, last = sampler.forward_net.networks[k - 1]
            out = dense(last, gelu(dense(first, z, r)), r)
            z = z + out[:, :DIM] + std * out[:, DIM:].exp() * noise[r, k]
            torch.testing.assert_close(drawn.states[r, :, k + 1], z, **CLOSE)
            first, gelu, last = sampler.backward_net.networks[k - 1]
            out = dense(last, gelu(dense(first, z, r)), r)
            kernel = kernel_at(sampler, drawn.states, k, forward=False)
            torch.testing.assert_close(kernel.mean[r, :, 0], k / (k + 1) * z + out[:, :DIM], **CLOSE)
            torch.testing.assert_close(kernel.std[r, :, 0], std * math.sqrt(k / (k + 1)) * out[:, DIM:].exp(), **CLOSE)

"""The protocols by which the five independent choices meet: siblings rely on these and never import one another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from gfn_vi.core.headline import Headline
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.core.types import Evaluation, Need, Role, Trajectories

Tilt = Any
"""A change of the forward policy. It is opaque to everyone but the samplers that take it and the explorations that make it."""

DiscreteTilt = Callable[[Tensor, Tensor], Tensor]
"""(log_probs [..., A], mask [..., A] bool) -> log_probs [..., A] of the behavior policy, normalized over legal actions."""


GaussianTilt = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(steps [K] long, mean [R, N, K, d], std broadcastable to it) -> mean and std of the behavior policy's steps."""


class Target(Protocol):
    """A target has a reward on objects and can be moved to a device.

    Facts are attributes that a target may have besides; each is None, or absent, where nobody knows it: log_Z (float, the log of
    the sum or integral of R), n_modes and mode_index(states); texts(states), how people write the objects [M, *state].
    """

    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R(x) in float64: [...]."""

    def to(self, device: Any) -> Target:
        """Return the same target with its tensors on `device`."""


@runtime_checkable
class DiscreteTarget(Target, Protocol):
    """A pointed graph of states and a reward on the states that can stop.

    n_actions = A, the stop action last; n_backward_actions = A'; horizon = the longest trajectory in steps, stop
    included; state_shape = *state; every_state_stops: the stop action is legal everywhere.
    Features are K-hot when integer ([..., K] indices below n_features, one row of the first layer each) and dense when
    floating ([..., n_features]).
    """

    n_actions: int
    n_backward_actions: int
    horizon: int
    state_shape: tuple[int, ...]
    n_features: int
    every_state_stops: bool

    @property
    def n_modes(self) -> int | None:
        """Return the number of modes, regions of top reward unless a target states others; None where nobody knows."""

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the mode that each state belongs to, -1 for none: [...] long; called only where n_modes is known."""

    def initial(self, *leading: int) -> Tensor:
        """Return the source state, repeated: [*leading, *state]."""

    def forward_mask(self, states: Tensor) -> Tensor:
        """Return which actions are legal: [..., A] bool."""

    def backward_mask(self, states: Tensor) -> Tensor:
        """Return which backward actions are legal: [..., A'] bool; none at the source. None of them undoes the stop step."""

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the states after legal actions [...]: [..., *state]; the stop action leaves the state as it is."""

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the parents under legal backward actions [...]: [..., *state]."""

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the backward action that undoes `actions` from `states`: [...] long; any index in range for the stop action."""

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the action that leads from backstep(states, backward_actions) to `states`: [...] long."""

    def features(self, states: Tensor) -> Tensor:
        """Return the features of states: [..., K] long or [..., n_features] float."""

    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R(x) in float64: [...]."""

    def to(self, device: Any) -> DiscreteTarget:
        """Return the same target with its tensors on `device`."""


@runtime_checkable
class EnumerableTarget(DiscreteTarget, Protocol):
    """A discrete target whose states can be listed; where `enumerable` is False (too large), state_graph raises."""

    @property
    def enumerable(self) -> bool:
        """Return whether state_graph() may be called."""

    def state_graph(self) -> StateGraph:
        """Return the graph of all states and edges; it is built once."""

    def state_index(self, states: Tensor) -> Tensor:
        """Return the row of each state in state_graph().states: [...] long."""


@runtime_checkable
class GraphTarget(DiscreteTarget, Protocol):
    """A target whose states are directed acyclic graphs over n_nodes = d named nodes; [i, j] of a matrix is about i -> j.

    true_graph [d, d] bool: the graph that the data come from, None where nobody knows; n_held_out: rows of data kept apart.
    """

    n_nodes: int
    node_names: tuple[str, ...]
    true_graph: Tensor | None
    n_held_out: int

    def adjacency(self, states: Tensor) -> Tensor:
        """Return the adjacency matrix of each graph: [..., d, d] bool."""

    def paths(self, states: Tensor) -> Tensor:
        """Return whether a directed path of one edge or more leads from i to j: [..., d, d] bool."""

    def held_out_log_likelihood(self, states: Tensor) -> Tensor:
        """Return log p(held-out rows | training rows, G) in float64: [...]; called only where n_held_out > 0."""


class BlockTables(Protocol):
    """The tables of a set of K kinds of blocks with at most S slots each, in classes numbered over all kinds, for networks."""

    @property
    def slot_class(self) -> Tensor:
        """Return the class of each slot, -1 where a kind has no such slot: [K, S] long."""

    @property
    def permutations(self) -> Tensor:
        """Return the slot that each symmetry of a kind moves slot s to: [K, G, S] long."""

    @property
    def permutation_mask(self) -> Tensor:
        """Return which of those are symmetries, and not padding: [K, G] bool."""


@runtime_checkable
class MoleculeTarget(DiscreteTarget, Protocol):
    """A target whose states are trees of at most max_blocks = N blocks, bonded slot to slot; row i of a state is one block.

    n_slots = S, n_kinds = K as in BlockTables; n_block_choices = B. Action (i S + s) B + b attaches block b to
    slot s of row i < N - 1; b alone is the first block; the last action stops; backward action i removes row i. Rows that are
    not in use come last.
    """

    max_blocks: int
    n_slots: int
    n_kinds: int
    n_block_choices: int
    blocks: BlockTables

    def kinds(self, states: Tensor) -> Tensor:
        """Return the kind of each row, -1 where there is no block: [..., N] long."""

    def links(self, states: Tensor) -> Tensor:
        """Return for each slot j S + t, if it is bonded to slot t of row j, or -1: [..., N, S] long."""

    def n_blocks(self, states: Tensor) -> Tensor:
        """Return how many blocks each molecule has: [...] long."""

    def code(self, states: Tensor) -> Tensor:
        """Return a number that is equal exactly for equal molecules: [...] int64."""

    def values(self, states: Tensor) -> Tensor:
        """Return what the reward is made of, in its own units, before floor, scale and power: [...] float64."""

    def molecules(self, states: Tensor) -> list[Any]:
        """Return the sanitized RDKit molecule of each of the states [M, *state]."""

    def smiles(self, states: Tensor) -> list[str]:
        """Return the canonical SMILES of each of the states [M, *state]."""

    def read_objects(self, path: str) -> Tensor:
        """Return the molecules of a file as states [M, *state]. Raises ConfigError for what is none of this space."""


class DensityTarget(Target, Protocol):
    """A density on R^d: log_reward maps [..., d] to [...]. It is differentiable and has a score unless has_score is False."""

    dim: int

    def score(self, states: Tensor) -> Tensor:
        """Return the gradient of log R, in the type of the states and without a graph: [..., d] -> [..., d]."""


class Sampler(Protocol):
    """A sampler holds P_F, P_B, log F and log Z; it is an nn.Module whose parameters have the replica axis first.

    reward_calls [R] long: evaluations of the reward so far, those for metrics included; log_Z [R].
    """

    n_replicas: int
    log_Z: nn.Parameter
    reward_calls: Tensor

    @property
    def offers(self) -> frozenset[Need]:
        """Return the needs that `evaluate` can meet; those that an exploration meets (BEHAVIOR, ON_POLICY) are none of them."""

    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R(x) of states [R, ..., *state] in the parameters' type: [R, ...]; every state is a reward call."""

    def rollout(self, batch: int, rng: ReplicaGenerators, tilt: Tilt | None = None) -> Trajectories:
        """Draw trajectories [R, B] from P_F, or from its tilted version, without gradient."""

    def backward_rollout(self, terminals: Tensor, rng: ReplicaGenerators, log_reward: Tensor | None = None) -> Trajectories:
        """Draw trajectories [R, B] from P_B(. | x) for terminals x [R, B, *state], without gradient or behavior density.

        log_reward [R, B]: log R of the terminals where it is known already, which is then no reward call.
        """

    def log_density(self, trajectories: Trajectories, tilt: Tilt | None = None) -> Tensor:
        """Return log P_F(tau) under the tilted policy, without gradient: [R, B]."""

    def evaluate(self, trajectories: Trajectories, needs: frozenset[Need] = frozenset()) -> Evaluation:
        """Return what the current parameters say of the trajectories; it is differentiable."""

    def statistics(self) -> dict[str, Tensor]:
        """Return the values that are worth recording, each [R]."""

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """Return the parameters of each role; every parameter occurs exactly once."""

    def state_dict(self) -> dict[str, Any]:
        """Return the parameters and buffers."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Continue where `state` was taken."""


class DensitySampler(Sampler, Protocol):
    """A sampler of a density, which has the gradient of log R besides. score_calls [R] long: evaluations of it so far."""

    score_calls: Tensor

    def score(self, states: Tensor) -> Tensor:
        """Return the gradient of log R at states [R, ..., d]: the same shape; every state is a score call."""


class Exploration(Protocol):
    """An exploration draws training trajectories; `seen` counts those per replica so far: the clock of schedules."""

    has_density: bool
    is_on_policy: bool

    def collect(self, sampler: Sampler, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        """Return `batch` trajectories per replica: [R, batch]."""

    def log_density(self, sampler: Sampler, trajectories: Trajectories, seen: int) -> Tensor | None:
        """Return the log-density with which `collect` would draw these trajectories now: [R, B]; None if unknown."""

    def statistics(self) -> dict[str, Tensor]:
        """Return the values that are worth recording, each [R]."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `collect` depends on besides its arguments."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""


class Expectations(Protocol):
    """Exact expectations over trajectories at the current parameters: each [R], differentiable, with natural logarithms.

    l = log P_F(tau) - log P_B(tau | x) - log R(x), u = l + log Z. The first block averages over the trajectories that an
    exploration draws; the divergences are between P_F and P_B = R P_B(tau | x) / Zhat, whatever it draws.
    """

    log_Z: Tensor

    def log_ratio(self) -> Tensor:
        """Return the expectation E[l]: [R]."""

    def residual_square(self) -> Tensor:
        """Return the expectation E[u^2]: [R]."""

    def log_ratio_variance(self) -> Tensor:
        """Return the variance Var[l]: [R]."""

    def steps(self, penalty: Callable[[Tensor], Tensor]) -> Tensor:
        """Return E[sum over steps of penalty(log F(s) + log P_F - log F(s') - log P_B)]: [R]; F learned, R after the stop."""

    def steps_between_stops(self, penalty: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what `steps` returns with F(s) = R(s) / P_F(stop | s), where the stop step balances by itself: [R]."""

    def inflows(self, penalty: Callable[[Tensor], Tensor]) -> Tensor:
        """Return E[sum over visited s but s_0 of penalty(log inflow - log F) + penalty(log F + log P_F(stop) - log R)]: [R]."""

    def subtrajectories(self, lamda: float) -> Tensor:
        """Return E[weighted mean over i < j of the squared residual between s_i and s_j], with weights lamda^(j - i): [R]."""

    def elbo(self) -> Tensor:
        """Return the evidence lower bound -E_{P_F}[l]: [R]."""

    def eubo(self) -> Tensor:
        """Return the evidence upper bound -E_{P_B}[l]: [R]."""

    def kl_forward_backward(self) -> Tensor:
        """Return the divergence KL(P_F, P_B): [R]."""

    def kl_backward_forward(self) -> Tensor:
        """Return the divergence KL(P_B, P_F): [R]."""

    def log_power(self, alpha: float) -> Tensor:
        """Return the log of the sum over trajectories of P_F^alpha (R P_B)^(1 - alpha): [R]."""

    def log_source_flow(self) -> Tensor:
        """Return the log-flow of the source, log R(s_0) - log P_F(stop | s_0): [R]."""


class Objective(Protocol):
    """A loss whose gradient is the estimator; it never reduces over the replicas R."""

    needs: frozenset[Need]

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the loss of each replica: [R]."""

    def statistics(self, evaluation: Evaluation) -> dict[str, Tensor]:
        """Return the values of this batch worth recording (effective sample sizes, baselines), each [R]; nothing is changed."""

    def descends(self, exact: Expectations) -> dict[Role, Tensor] | None:
        """Return the quantity [R] that each role descends in expectation: the estimator estimates the role's gradient of it.

        None where no recursion over the state graph computes it.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the objective remembers between batches (a running baseline)."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""


Arrays = dict[str, Tensor | Sequence[str]]
"""Name -> tensor, or a list of texts: what is written to arrays.npz at the end of a run."""


class Moment(Protocol):
    """One moment of a sampler, as metrics see it; gfn_vi/evaluation/measurement.py adds what discrete samplers share.

    exact: whether this evaluation sums over all states; n_samples: trajectories per replica of its samples, None without any.
    """

    sampler: Sampler
    target: Target
    rng: ReplicaGenerators
    exact: bool
    n_samples: int | None


class References(Protocol):
    """Samples that stand for exact ones of the target; drawn when they are first asked for, refused where they are not good."""

    def prepare(self) -> None:
        """Draw or read them now. Raises ConfigError where they are not good enough."""


class Metric(Protocol):
    """A measurement of a sampler against a target; it draws from the generators of the measurement only.

    All members except the call have defaults in gfn_vi/evaluation/base.py, which says what they mean.
    """

    @property
    def headline(self) -> Headline | None:
        """Return the headline that a run is judged by where this metric is the first that has one; None without one."""

    @property
    def summary(self) -> tuple[str, ...]:
        """Return the names of the metrics that a run's last line shows."""

    @property
    def every(self) -> int | None:
        """Return the trajectories per replica between measurements, None for every evaluation."""

    def records(self, target: Any, exact: bool, sampled: bool) -> Collection[str] | None:
        """Return every name that a call may give, None where they are not known beforehand."""

    def arrays(self, moment: Any) -> Arrays:
        """Return the arrays that pictures of the finished run need."""

    def __call__(self, moment: Any) -> dict[str, Tensor]:
        """Return name -> [R]. `moment` is a Moment; discrete metrics read more of it than the protocol lists."""

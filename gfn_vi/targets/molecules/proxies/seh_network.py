"""The message-passing network behind the sEH proxy: Gilmer et al. (arXiv 1704.01212), as in arXiv 2106.04399.

Twelve steps of h_i <- GRU(LeakyReLU(mean_j W(bond ij) h_j + U h_i + b), h_i) on atoms, a readout by Set2Set (arXiv 1511.06391)
with three steps, and a linear layer. W(bond) comes from a network of the bond's features, which are one of four kinds: so there
are four matrices, and all that a step multiplies by an atom's state is one product for all atoms.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfn_vi.targets.molecules.proxies.atom_graphs import N_FEATURES, N_KINDS, AtomGraphs

WIDTH = 64
N_STEPS = 12
N_READOUT_STEPS = 3
EDGE_WIDTH = 128
# Arrays of the file in their order -> shapes; lin1 and lin2 are a head for single atoms, which the value does not need.
ENTRIES: dict[str, tuple[int, ...]] = {
    "lin0.weight": (WIDTH, N_FEATURES),
    "lin0.bias": (WIDTH,),
    "root.weight": (WIDTH, WIDTH),
    "root.bias": (WIDTH,),
    "edge.0.weight": (EDGE_WIDTH, N_KINDS),
    "edge.0.bias": (EDGE_WIDTH,),
    "edge.2.weight": (WIDTH * WIDTH, EDGE_WIDTH),
    "edge.2.bias": (WIDTH * WIDTH,),
    "gru.weight_ih": (3 * WIDTH, WIDTH),
    "gru.weight_hh": (3 * WIDTH, WIDTH),
    "gru.bias_ih": (3 * WIDTH,),
    "gru.bias_hh": (3 * WIDTH,),
    "lin1.weight": (8 * WIDTH, WIDTH),
    "lin1.bias": (8 * WIDTH,),
    "lin2.weight": (105, 8 * WIDTH),
    "lin2.bias": (105,),
    "lstm.weight_ih": (4 * WIDTH, 2 * WIDTH),
    "lstm.weight_hh": (4 * WIDTH, WIDTH),
    "lstm.bias_ih": (4 * WIDTH,),
    "lstm.bias_hh": (4 * WIDTH,),
    "lin3.weight": (1, 2 * WIDTH),
    "lin3.bias": (1,),
}
UNUSED = ("lin1.", "lin2.")


class SEHNetwork(nn.Module):
    """A value for each molecule, in the precision of the given weights; nothing here is trained."""

    step: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """weights: a tensor for each of ENTRIES, all of one precision and on one device."""
        super().__init__()
        with torch.device("meta"):  # no random number is drawn for weights that are replaced
            self.lin0 = nn.Linear(N_FEATURES, WIDTH)
            self.root = nn.Linear(WIDTH, WIDTH)
            self.edge = nn.Sequential(nn.Linear(N_KINDS, EDGE_WIDTH), nn.LeakyReLU(), nn.Linear(EDGE_WIDTH, WIDTH * WIDTH))
            self.gru = nn.GRUCell(WIDTH, WIDTH)
            self.lstm = nn.LSTMCell(2 * WIDTH, WIDTH)
            self.lin3 = nn.Linear(2 * WIDTH, 1)
        self.load_state_dict({n: w for n, w in weights.items() if not n.startswith(UNUSED)}, assign=True)
        self.requires_grad_(False)
        kinds = torch.eye(N_KINDS, dtype=self.root.weight.dtype, device=self.root.weight.device)
        matrices = self.edge(kinds).view(N_KINDS, WIDTH, WIDTH)
        # an atom's state is multiplied by U and by the matrix of each kind of bond: [64, 5 * 64]
        self.register_buffer("step", torch.cat([self.root.weight.T, *matrices], 1), persistent=False)

    def forward(self, graphs: AtomGraphs) -> Tensor:
        """Return the value of each molecule: [M]."""
        state = functional.leaky_relu(self.lin0(graphs.features.to(self.step.dtype)))
        index, offsets, shares = self._messages(graphs, len(state))
        for _ in range(N_STEPS):
            products = (state @ self.step).view(-1, WIDTH)
            sums = functional.embedding_bag(index, products, offsets, mode="sum", per_sample_weights=shares)
            state = self.gru(functional.leaky_relu(sums + self.root.bias), state)
        return self.lin3(self._readout(state, graphs.n_atoms))[:, 0]

    def _messages(self, graphs: AtomGraphs, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return what each of n atoms adds up: rows of the products, where an atom's rows begin, and the share of each row.

        First U h of the atom itself, then W(kind) h of its neighbors, each with the share 1 / number of neighbors.
        """
        own = torch.arange(n, device=graphs.source.device)
        order = torch.cat([own, graphs.target]).argsort(stable=True)
        n_neighbors = torch.bincount(graphs.target, minlength=n)
        rows = torch.cat([own * (N_KINDS + 1), graphs.source * (N_KINDS + 1) + 1 + graphs.kind])
        shares = torch.cat([torch.ones_like(own, dtype=self.step.dtype), 1 / n_neighbors[graphs.target].to(self.step.dtype)])
        return rows[order], own + n_neighbors.cumsum(0) - n_neighbors, shares[order]

    def _readout(self, state: Tensor, n_atoms: Tensor) -> Tensor:
        """Return Set2Set of the atoms [n, 64] of each molecule: [M, 128]."""
        present = torch.arange(int(n_atoms.max()), device=state.device) < n_atoms[:, None]
        atoms = state.new_zeros(*present.shape, WIDTH)
        atoms[present] = state
        read = query = memory = state.new_zeros(len(n_atoms), WIDTH)
        for _ in range(N_READOUT_STEPS):
            query, memory = self.lstm(torch.cat([query, read], 1), (query, memory))
            attention = (atoms @ query[:, :, None])[..., 0].masked_fill(~present, -torch.inf).softmax(1)
            read = (attention[:, None] @ atoms)[:, 0]
        return torch.cat([query, read], 1)

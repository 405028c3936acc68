"""BDe with uniform prior (BDeu): the score of categories (Buntine 1991; Heckerman, Geiger & Chickering 1995).

Each row of the parents' categories has a Dirichlet prior of alpha / q over the r categories of the node, q the product of the
parents' numbers of categories. With n_u rows whose parents are in configuration u, n_uc of which are in category c,

    local(j, P) = sum_u [lgamma(alpha/q) - lgamma(alpha/q + n_u)] + sum_uc [lgamma(alpha/(q r) + n_uc) - lgamma(alpha/(q r))]

Nothing is counted: lgamma(a + n) - lgamma(a) = log a + log(a + 1) + ... + log(a + n - 1), so the score is a sum over rows of
log(alpha/(q r) + rank) - log(alpha/q + rank), the rank of a row being the number of rows before it that agree with it in (u, c)
and in u. One sort of the rows' codes ranks both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.seeds import is_whole
from gfn_vi.targets.graph_scores import LocalScore, TableScore

# Codes are sums of products in float64, whose products of matrices are fast on every device: exact below 2^53.
MOST_CODES = 2**53
# Rows times sets of one evaluation; some eight arrays of 8 bytes each (130 MB) are alive at once.
MOST_ELEMENTS = 2**21


class BDe:
    """Categories with uniform Dirichlet priors: Markov-equivalent graphs score equally."""

    def __init__(self, equivalent_sample_size: float, levels: int | None) -> None:
        """equivalent_sample_size: alpha, rows that the prior is worth; levels: None where columns are categories, whole numbers.

        A number of levels cuts every column that has more values into so many categories of equal frequency.
        """
        found, key = equivalent_sample_size, "target.score.equivalent_sample_size"
        require(found > 0, key, found, "expected a number of rows > 0")
        is_number = levels is None or (is_whole(levels) and levels >= 2)
        require(is_number, "target.score.levels", levels, "expected a whole number >= 2, or null: columns are categories")
        self.equivalent_sample_size, self.levels = equivalent_sample_size, levels

    def local(self, rows: Tensor, everything: Tensor, names: Sequence[str]) -> LocalScore:
        """Of rows [N, d]; the categories of a column are the values (or levels) that occur in everything [N'', d]."""
        codes, sizes = [], []
        for own, whole, name in zip(rows.T, everything.T, names, strict=True):
            values = whole.unique()
            if self.levels is None:
                is_category = bool((values == values.round()).all())
                advice = f"column {name} is not of whole numbers; give the number of categories to cut columns into, such as 3"
                require(is_category, "target.score.levels", "null", advice)
            elif len(values) > self.levels:
                values = _upper_ends(whole, self.levels)
                advice = f"leaves column {name} in one category, as most rows share its largest value; give more levels"
                require(len(values) > 1, "target.score.levels", self.levels, advice)
            codes.append(torch.searchsorted(values, own.contiguous()))
            sizes.append(len(values))
        return _BDeOfTable(torch.stack(codes), torch.tensor(sizes), self.equivalent_sample_size)


def _upper_ends(column: Tensor, levels: int) -> Tensor:
    """Largest value of each category, increasing: the k-th of L ends after k/L of the rows, and equal values stay together."""
    last = -(-torch.arange(1, levels + 1) * len(column) // levels) - 1
    return column.sort().values[last].unique()


class _BDeOfTable(TableScore):
    def __init__(self, codes: Tensor, sizes: Tensor, equivalent_sample_size: float) -> None:
        """codes [d, N] long: category of each row, below sizes [d]."""
        self.codes, self.sizes, self.alpha = codes, sizes, equivalent_sample_size
        # columns whose codes fit together with those of N different rows and any one column
        limit = MOST_CODES // (max(codes.shape[1], 1) * int(sizes.max()))
        self.blocks: list[slice] = []
        first, product = 0, 1
        for column, size in enumerate(sizes.tolist()):
            if product * size > limit and column > first:
                self.blocks.append(slice(first, column))
                first, product = column, 1
            product *= size
        self.blocks.append(slice(first, len(sizes)))

    def __call__(self, nodes: Tensor, parents: Tensor) -> Tensor:
        """[M], [M, d] -> [M]."""
        at_once = max(1, MOST_ELEMENTS // max(1, self.codes.shape[1]))
        return torch.cat([self._few(n, p) for n, p in zip(nodes.split(at_once), parents.split(at_once), strict=True)])

    def _few(self, nodes: Tensor, parents: Tensor) -> Tensor:
        size = self.sizes[nodes]  # r
        joint = self._configurations(parents).mul_(size[:, None]).add_(self.codes[nodes]).sort(-1).values
        n_configurations = self.sizes.double().where(parents, 1.0).prod(-1)  # q
        of_node = (self.alpha / (n_configurations * size))[:, None] + _rank_in_run(joint)
        of_parents = (self.alpha / n_configurations)[:, None] + _rank_in_run(joint.div_(size[:, None], rounding_mode="floor"))
        return of_node.div_(of_parents).log_().sum(-1)

    def _configurations(self, parents: Tensor) -> Tensor:
        """A whole number for each row, equal where the parents' categories are equal: [M, d] -> [M, N] long."""
        code = torch.zeros(len(parents), self.codes.shape[1], dtype=torch.long, device=parents.device)
        for number, block in enumerate(self.blocks):
            sizes = self.sizes[block].where(parents[:, block], 1)
            place = sizes.cumprod(-1) // sizes  # product of the sizes before
            weights = place.where(parents[:, block], 0).double()
            within = (weights @ self.codes[block].double()).long()
            code = within if number == 0 else _dense_rank(code) * sizes.prod(-1, keepdim=True) + within
        return code


def _rank_in_run(sorted_codes: Tensor) -> Tensor:
    """How many equal codes stand before each: [M, N], sorted along N -> [M, N] long."""
    place = torch.arange(sorted_codes.shape[-1], device=sorted_codes.device)
    is_first = torch.ones_like(sorted_codes, dtype=torch.bool)
    torch.ne(sorted_codes[:, 1:], sorted_codes[:, :-1], out=is_first[:, 1:])
    start = place.where(is_first, 0).cummax(-1).values
    return place - start


def _dense_rank(codes: Tensor) -> Tensor:
    """Codes below the number of rows, equal where they were equal: [M, N] -> [M, N]."""
    ordered, order = codes.sort(-1)
    is_new = torch.zeros_like(ordered)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.empty_like(codes).scatter_(-1, order, is_new.cumsum(-1))

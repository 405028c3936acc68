"""BDe with uniform prior (BDeu): the score of categories (Buntine 1991; Heckerman, Geiger & Chickering 1995).

Each row of the parents' categories has a Dirichlet prior of alpha / q over the r categories of the node, q the product of the
parents' numbers of categories. With n_u rows whose parents are in configuration u, n_uc of which are in category c,

    local(j, P) = sum_u [lgamma(alpha/q) - lgamma(alpha/q + n_u)] + sum_uc [lgamma(alpha/(q r) + n_uc) - lgamma(alpha/(q r))]

Rows that agree in all columns are one row with a weight. Configurations are numbers, for a batch of sets one product of
matrices. Where a set has no more configurations than there are different rows, n_uc are added up in a table, elsewhere they are
differences of cumulative weights after a sort: no loop over sets, and no limit on parents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.seeds import is_whole
from gfn_vi.targets.dags.scores import LocalScore, TableScore

# Codes are sums of products in float64, whose products of matrices are fast on every device: exact below 2^53.
MOST_CODES = 2**53
# Different rows times sets of one evaluation, of which some ten arrays of 8 bytes are alive at once: 80 MB.
MOST_ELEMENTS = 2**20


class BDe:
    """The score of categories with uniform Dirichlet priors, under which Markov-equivalent graphs score equally.

    kind: what its columns are; with levels, numbers are cut into categories.
    """

    def __init__(self, equivalent_sample_size: float, levels: int | None) -> None:
        """equivalent_sample_size: alpha, the rows that the prior is worth; levels: None where columns are categories already.

        A number of levels cuts every column that has more values into so many categories of equal frequency.
        """
        found, key = equivalent_sample_size, "target.score.equivalent_sample_size"
        require(0 < found < math.inf, key, found, "expected a number of rows > 0, and finite")
        is_number = levels is None or (is_whole(levels) and levels >= 2)
        require(is_number, "target.score.levels", levels, "expected a whole number >= 2, or null: columns are categories")
        self.equivalent_sample_size, self.levels = equivalent_sample_size, levels
        self.kind = "categories" if levels is None else None

    def local(self, rows: Tensor, training: Tensor, names: Sequence[str]) -> LocalScore:
        """Return the local score of rows [N, d]; the categories of a column are its values (or levels) in training [N'', d].

        What is cut into levels has a category for every number. Raises ConfigError for a column without categories, and for a
        value that is none of them, by the column's name.
        """
        codes, sizes = [], []
        for own, whole, name in zip(rows.T, training.T, names, strict=True):
            values = whole.unique()
            if self.levels is None:
                is_category = bool((values == values.round()).all())
                advice = (
                    f"column {name} is not of whole numbers; give the number of categories to cut columns into, such as 3, or, "
                    "where a CSV file has whole numbers, leave them as they are: target.data.standardize=false; a score of "
                    "numbers: score@target.score=bge"
                )
                require(is_category, "target.score.levels", "null", advice)
            elif len(values) > self.levels:
                values = _upper_ends(whole, self.levels)
                advice = f"leaves column {name} in one category, as most rows share its largest value; give more levels"
                require(len(values) > 1, "target.score.levels", self.levels, advice)
                codes.append(torch.searchsorted(values[:-1], own.contiguous()))  # the last category has no upper end
                sizes.append(len(values))
                continue
            unseen = own[~torch.isin(own, values)].unique()
            advice = (
                f"{len(unseen)} categories of column {name} are in held-out rows only, and what training has never seen has no "
                "probability; hold out other rows (another target.data.seed) or fewer, or merge rare categories"
            )
            require(len(unseen) == 0, "target.data", f"{name}={float(unseen[0]) if len(unseen) else ''}", advice)
            codes.append(torch.searchsorted(values, own.contiguous()))
            sizes.append(len(values))
        return _BDeOfTable(torch.stack(codes), torch.tensor(sizes), self.equivalent_sample_size)


def _upper_ends(column: Tensor, levels: int) -> Tensor:
    """Return the largest value of each category: the k-th of L ends after k/L of the rows [N], and equal values stay together."""
    last = -(-torch.arange(1, levels + 1) * len(column) // levels) - 1
    return column.sort().values[last].unique()


class _BDeOfTable(TableScore):
    def __init__(self, codes: Tensor, sizes: Tensor, equivalent_sample_size: float) -> None:
        """codes [d, N] long: the category of each row; sizes [d] long: the number of categories of each column."""
        self.codes, self.weights = torch.unique(codes, dim=1, return_counts=True)  # [d, U], [U]
        self.sizes, self.alpha = sizes, equivalent_sample_size
        # Blocks of columns whose numbers fit into a code together with those of U rows and of any one column
        limit = MOST_CODES // (len(self.weights) * int(sizes.max()))
        self.blocks: list[slice] = []
        first, product = 0, 1
        for column, size in enumerate(sizes.tolist()):
            if product * size > limit and column > first:
                self.blocks.append(slice(first, column))
                first, product = column, 1
            product *= size
        self.blocks.append(slice(first, len(sizes)))

    def __call__(self, nodes: Tensor, parents: Tensor) -> Tensor:
        """Return the local scores of nodes [M] long with parents [M, d] bool: [M] float64."""
        n_rows = len(self.weights)
        n_configurations = self.sizes.double().where(parents, 1.0).prod(-1)  # q
        fits_a_table = n_configurations * self.sizes[nodes] <= n_rows
        score = torch.empty_like(n_configurations)
        for evaluate, these in ((self._by_cells, fits_a_table), (self._by_runs, ~fits_a_table)):
            for chunk in these.nonzero()[:, 0].split(max(1, MOST_ELEMENTS // n_rows)):
                if len(chunk) == 0:  # no set is of this kind
                    continue
                score[chunk] = evaluate(nodes[chunk], parents[chunk], n_configurations[chunk])
        return score

    def _by_cells(self, nodes: Tensor, parents: Tensor, n_configurations: Tensor) -> Tensor:
        """Return the local scores by a table of all configurations: [M], [M, d], [M] -> [M]."""
        sizes, of_parents = self.sizes[nodes], self._configurations(parents)

        def evidence(codes: Tensor, n_codes: Tensor) -> Tensor:
            weights = self.weights.double().expand_as(codes)
            table = weights.new_zeros(len(codes), int(n_codes.max())).scatter_add_(1, codes, weights)
            return _summed(_log_rising(self.alpha / n_codes[:, None], table))

        joint = of_parents * sizes[:, None] + self.codes[nodes]
        return evidence(joint, n_configurations * sizes) - evidence(of_parents, n_configurations)

    def _by_runs(self, nodes: Tensor, parents: Tensor, n_configurations: Tensor) -> Tensor:
        """Return the local scores by a sort, after which equal codes are neighbors: [M], [M, d], [M] -> [M]."""
        sizes = self.sizes[nodes]
        joint, order = (self._configurations(parents) * sizes[:, None] + self.codes[nodes]).sort(-1)
        weights = self.weights[order]
        until = weights.cumsum(-1)  # weight of all rows up to this one
        end = torch.ones_like(joint[:, :1], dtype=torch.bool)

        def evidence(codes: Tensor, n_codes: Tensor) -> Tensor:
            differs = codes[:, 1:] != codes[:, :-1]
            is_first, is_last = torch.cat([end, differs], 1), torch.cat([differs, end], 1)
            before = (until - weights).where(is_first, 0).cummax(-1).values
            return _summed(_log_rising(self.alpha / n_codes[:, None], until - before).where(is_last, 0.0))

        of_parents = joint.div(sizes[:, None], rounding_mode="floor")  # sorted, as joint is
        return evidence(joint, n_configurations * sizes) - evidence(of_parents, n_configurations)

    def _configurations(self, parents: Tensor) -> Tensor:
        """Return a number below q for each row, equal where the parents' categories are: [M, d] -> [M, U] long."""
        code = torch.zeros(len(parents), len(self.weights), dtype=torch.long, device=parents.device)
        for number, block in enumerate(self.blocks):
            sizes = self.sizes[block].where(parents[:, block], 1)
            place = sizes.cumprod(-1) // sizes  # product of the sizes before
            weights = place.where(parents[:, block], 0).double()
            within = (weights @ self.codes[block].double()).long()
            code = within if number == 0 else _dense_rank(code) * sizes.prod(-1, keepdim=True) + within
        return code


def _log_rising(prior: Tensor, counts: Tensor) -> Tensor:
    """Return lgamma(prior + n) - lgamma(prior), exactly 0 for n = 0: [M, 1], [M, K] -> [M, K]."""
    return torch.lgamma(prior + counts) - torch.lgamma(prior)


def _summed(values: Tensor) -> Tensor:
    """Add one after the other, so that a sum does not depend, to the last bit, on what else is in the batch: [M, K] -> [M].

    A run that goes on from a checkpoint computes sets in other batches than the run that it continues.
    """
    return values.cumsum(-1)[:, -1]


def _dense_rank(codes: Tensor) -> Tensor:
    """Return codes below the number of different ones, equal where they were equal: [M, U] -> [M, U]."""
    ordered, order = codes.sort(-1)
    is_new = torch.zeros_like(ordered)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.empty_like(codes).scatter_(-1, order, is_new.cumsum(-1))

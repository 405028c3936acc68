"""Points in the unit square: those of a file, or as many as a model of them draws."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import derived_seed
from gfn_vi.targets.checks import check_whole
from gfn_vi.targets.csv_reading import KEY, checked_format, read_file, read_points


class Points:
    """The points of the file at `path`, one line of names, then two numbers a line; where it is null, counts are drawn."""

    def __init__(
        self,
        path: str | None,
        separator: str,
        seed: int,
        digest: str | None,
        columns: list[str] | None,
        decimal: str,
        thousands: str | None,
        missing: list[str | float],
    ) -> None:
        r"""separator: one character, or \t; seed: of the draw; digest: of the file, or null.

        columns: names of the two coordinates, null for the only two columns; decimal, thousands: characters within a number;
        missing: texts and numbers that mean a missing value.
        """
        self.format, self.columns = checked_format(separator, decimal, thousands, missing), columns
        check_whole(seed, 0, "target.data.seed")
        self.path, self.seed, self.digest = path, seed, digest

    def counts(self, n: int, mean: Tensor, factor: Tensor) -> Tensor:
        """Return the number of points in each of n x n cells, row by row of the first coordinate: [n * n] float64.

        mean [n * n] and factor [n * n, n * n] (L L' = covariance): of the log-intensity where the points are drawn.
        """
        if self.path is None:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, "data/points"))
            noise = torch.randn(n * n, dtype=torch.float64, generator=generator)
            return torch.poisson((mean + factor @ noise).exp() / n**2, generator=generator)
        points = read_points(self.path, read_file(self.path, self.digest), self.format, self.columns)
        outside = ((points < 0) | (points > 1)).any(1)
        if bool(outside.any()):
            first = int(outside.long().argmax())
            x, y = points[first].tolist()
            why = f"{int(outside.sum())} of {len(points)} points lie outside the unit square, the first of them ({x:g}, {y:g})"
            require(False, KEY, self.path, f"{why}: scale both coordinates to [0, 1]")
        cell = (points * n).long().clamp(max=n - 1)  # the far edge belongs to the last cell
        return torch.bincount(cell[:, 0] * n + cell[:, 1], minlength=n * n).double()

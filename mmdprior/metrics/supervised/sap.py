"""SAP score with linear support vector machines on single codes (Kumar et al., 2018)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.factors import Factor
from mmdprior.metrics.supervised.groups import sorted_rows
from mmdprior.metrics.supervised.table import Part, Table

__all__ = ["sap"]

_COST = 0.01
_ROWS = 10_000
"""Number of rows for which the cost holds. It is scaled to other numbers, which keeps the score."""
_ITERATIONS = 50
_TOLERANCE = 1e-6
"""Largest Newton step, in units of standardised codes, at which a fit stops."""
_STRIDE = 4.0
"""Distance between classes in a sort key; codes are from 0 to 1 in it, and thresholds from -1 to 2."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of 1, x and x^2 over the rows of one class on one side of a threshold, for every code.

    Attributes:
        keys: (d, n) class * stride + x scaled to [0, 1], in ascending order.
        totals: (2, d, n + 1) cumulative sums of x and x^2 in this order.
        first: (classes,) position of the first row of every class.
        last: (classes,) position after the last row of every class.
        low: (d, 1) smallest x.
        width: (d, 1) range of x.
    """

    keys: Float[Tensor, "d n"]
    totals: Float[Tensor, "2 d n_plus_1"]
    first: Int[Tensor, "classes"]
    last: Int[Tensor, "classes"]
    low: Float[Tensor, "d 1"]
    width: Float[Tensor, "d 1"]

    @classmethod
    def of(cls, x: Float[Tensor, "d n"], classes: Int[Tensor, "n"], count: int) -> "Sums":
        """Return the sums of codes x."""
        low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
        width = torch.where(high > low, high - low, 1.0)
        keys = sorted_rows((x - low) / width + _STRIDE * classes)
        counts = torch.bincount(classes, minlength=count)
        last = counts.cumsum(0)
        values = (
            keys - _STRIDE * torch.arange(count, device=x.device).repeat_interleave(counts)
        ) * width + low
        totals = x.new_zeros(2, len(x), x.shape[1] + 1)
        totals[0, :, 1:] = values.cumsum(1)
        totals[1, :, 1:] = values.square_().cumsum(1)
        return cls(keys, totals, last - counts, last, low, width)

    @classmethod
    def of_all(cls, x: Float[Tensor, "d n"]) -> "Sums":
        """Return the sums of codes x that are all of one class."""
        return cls.of(x, torch.zeros(x.shape[1], dtype=torch.long, device=x.device), 1)

    def beyond(self, threshold: Float[Tensor, "d k"], above: Bool[Tensor, "d k"]) -> Float[Tensor, "3 d k"]:
        """Return the sums over the rows of class k with x above a threshold, or below it.

        Args:
            threshold: threshold per code and class; infinite for no or for all rows.
            above: (d, k) whether to sum above the threshold.
        """
        scaled = ((threshold - self.low) / self.width).clamp(-1, 2)
        offset = _STRIDE * torch.arange(len(self.first), device=scaled.device)
        place = torch.searchsorted(self.keys, scaled + offset)
        low, high = torch.where(above, place, self.first), torch.where(above, self.last, place)
        sums = (self.totals.gather(2, place.expand(2, *place.shape)) for place in (high, low))
        return torch.cat([(high - low)[None].to(self.totals), torch.sub(*sums)])


@dataclass(frozen=True, eq=False)
class Machines:
    """Objective of one linear machine per code and class, as in LIBLINEAR with one class against the rest.

    w^2 / 2 + b^2 / 2 + sum_i c_i max(0, 1 - y_i (w x_i + b))^2, where y is 1 in the class and -1 elsewhere.
    Sums over sorted codes make every evaluation independent of the number of rows.

    Attributes:
        own: sums over the rows of every class.
        every: sums over all rows.
        cost: (classes,) weight of the rows of the class, C n / (classes * rows of the class).
        cost_of_rest: (classes,) weight of the other rows: C, and that of the other class if there are two.
    """

    own: Sums
    every: Sums
    cost: Float[Tensor, "classes"]
    cost_of_rest: Float[Tensor, "classes"]

    @classmethod
    def of(
        cls, x: Float[Tensor, "d n"], classes: Int[Tensor, "n"], count: int, every: Sums | None = None
    ) -> "Machines":
        """Return the objective of codes x; every class must occur.

        Args:
            x: codes of every row.
            classes: class of every row.
            count: number of classes.
            every: sums over all rows, if known.
        """
        every_row = _COST * _ROWS / len(classes)
        cost = every_row * len(classes) / (count * torch.bincount(classes, minlength=count).to(x))
        rest = cost.flip(0) if count == 2 else torch.full_like(cost, every_row)
        return cls(Sums.of(x, classes, count), every or Sums.of_all(x), cost, rest)

    def evaluate(self, w: Float[Tensor, "d k"], b: Float[Tensor, "d k"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the value and the Newton step in w and in b."""
        # Rows of the class are active where w x < 1 - b, the others where w x > -1 - b.
        n, s, q = self.cost * self.own.beyond(_crossing(w, 1 - b), w < 0)
        crossing, above = _crossing(w, -1 - b), w >= 0
        m, t, r = self.cost_of_rest * (self.every.beyond(crossing, above) - self.own.beyond(crossing, above))
        value = (w.square() + b.square()) / 2
        value = value + (1 - b).square() * n - 2 * (1 - b) * w * s + w.square() * q
        value = value + (1 + b).square() * m + 2 * (1 + b) * w * t + w.square() * r
        # Gradient, and the Hessian of the active rows.
        in_w = w - 2 * ((1 - b) * s - w * q) + 2 * ((1 + b) * t + w * r)
        in_b = b - 2 * ((1 - b) * n - w * s) + 2 * ((1 + b) * m + w * t)
        ww, wb, bb = 1 + 2 * (q + r), 2 * (s + t), 1 + 2 * (n + m)
        determinant = ww * bb - wb.square()
        return value, (wb * in_b - bb * in_w) / determinant, (wb * in_w - ww * in_b) / determinant

    def fit(self) -> tuple[Float[Tensor, "d k"], Float[Tensor, "d k"]]:
        """Return the minimum by Newton's method with halved steps."""
        w = self.cost.new_zeros(len(self.every.keys), len(self.cost))
        b, share = torch.zeros_like(w), torch.ones_like(w)
        value, step_w, step_b = self.evaluate(w, b)
        for _ in range(_ITERATIONS):
            new_w, new_b = w + share * step_w, b + share * step_b
            candidate = self.evaluate(new_w, new_b)
            better = candidate[0] <= value
            w, b = torch.where(better, new_w, w), torch.where(better, new_b, b)
            current = (value, step_w, step_b)
            value, step_w, step_b = (
                torch.where(better, new, old) for new, old in zip(candidate, current, strict=True)
            )
            share = torch.where(better, 1.0, share / 2)
            if bool((share * torch.maximum(step_w.abs(), step_b.abs()) < _TOLERANCE).all()):
                break
        return w, b


def _crossing(w: Tensor, margin: Tensor) -> Tensor:
    """Return the x where w x crosses the margin; for w = 0, infinity with the sign of the margin."""
    infinite = torch.where(margin > 0, torch.inf, -torch.inf)
    return torch.where(w == 0, infinite, margin / torch.where(w == 0, 1.0, w))


def sap(table: Table) -> Part:
    """Return the mean over factors of the gap in test accuracy of the two best single codes.

    The classifiers are linear support vector machines with C = 0.01 and balanced classes (Locatello et al.,
    2019), on standardised codes. C is that of 10,000 rows, and is scaled to other numbers of rows. With one
    active code, the second accuracy is that of the most frequent level.
    """
    columns, gaps = [], []
    every = Sums.of_all(table.train_z.T.contiguous())
    for train, test in zip(table.train_factors, table.test_factors, strict=True):
        accuracy, most_frequent = _accuracies(table, train, test, every)
        columns.append(accuracy)
        pair = accuracy if table.active > 1 else torch.cat([accuracy, accuracy.new_tensor([most_frequent])])
        best = pair.topk(2).values
        gaps.append(best[0] - best[1])
    part = Part({}, matrices={"sap": torch.stack(columns, 1)})
    part.add_mean("sap", torch.stack(gaps), table.factors)
    return part


def _accuracies(table: Table, train: Factor, test: Factor, every: Sums) -> tuple[Float[Tensor, "d"], float]:
    """Return the test accuracy of every code, and that of the most frequent level.

    Args:
        table: codes.
        train: factor of the training rows.
        test: factor of the test rows.
        every: sums over all training rows.
    """
    rows, levels, classes = train.classes()
    held_out = test.levels >= 0
    z, target = table.test_z[held_out], test.levels[held_out]
    if len(levels) < 2 or len(target) == 0:
        return torch.full((z.shape[1],), math.nan, dtype=z.dtype, device=z.device), math.nan
    x = table.train_z[rows].T.contiguous()
    w, b = Machines.of(x, classes, len(levels), every if bool(rows.all()) else None).fit()
    hits = [
        levels[torch.addcmul(b[j, :, None], w[j, :, None], z[:, j]).max(0).indices] == target
        for j in range(z.shape[1])
    ]
    frequent = levels[classes.bincount().argmax()]
    return torch.stack(hits).to(z).mean(1), float((frequent == target).double().mean())

"""`Factor`: a label of the data, and the latent dimensions that hold its value."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, nearest
from mmdprior.priors.arguments import is_number, positive_int, positive_number

__all__ = ["Factor", "FactorKind", "as_factors", "columns_of", "label_values", "labels_of_factors"]

FactorKind = Literal["discrete", "ordinal", "circular", "continuous"]

_QUADRATURE = 64
"""Values that stand for the distribution of a continuous factor."""


@dataclass(frozen=True)
class Factor:
    """A label of the data, and the latent dimensions that hold its value.

    A value has a position on the dimensions:

    - one dimension: values at equal distances, from the lowest to the highest, or in a given ``order``;
    - two dimensions of a circular factor, or of a discrete one with at least three values: points of a
      circle;
    - as many dimensions as a discrete factor has values: one dimension per value (one-hot).

    Every dimension of the positions has mean 0 and variance 1 if all values are equally likely.

    Attributes:
        name: name of the label.
        dims: latent dimensions that hold it.
        kind: ``discrete`` (classes without order), ``ordinal``, ``circular`` or ``continuous``.
        levels: number of values, which are 0 to levels - 1; None for a continuous factor, and for a circular
            one whose values are from ``low`` to ``high``.
        low: smallest value of a factor without levels.
        high: largest value of a factor without levels; of a circular one, the value that equals ``low``.
        noise: standard deviation of the codes around the position.
        weights: probability of each level; equal by default.
        order: levels of a discrete factor on one dimension from left to right; ascending by default. Classes
            that are easily confused should be neighbours.

    Raises:
        InputError: dims that do not suit the kind, or an argument out of range.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Factor
        >>> Factor("scale", (1,), "ordinal", levels=3).positions(torch.tensor([0, 1, 2])).flatten()
        tensor([-1.2247,  0.0000,  1.2247])
        >>> circle = Factor("orientation", (2, 3), "circular", levels=4)
        >>> circle.read(circle.positions(torch.tensor([0, 1, 3])) + 0.1).tolist()
        [0.0, 1.0, 3.0]
    """

    name: str
    dims: Sequence[int]
    kind: FactorKind = "ordinal"
    levels: int | None = None
    low: float = 0.0
    high: float = 1.0
    noise: float = 0.1
    weights: Sequence[float] | None = None
    order: Sequence[int] | None = None

    def __post_init__(self) -> None:
        where = f"factors.{self.name}"
        if self.kind not in get_args(FactorKind):
            kinds = ", ".join(get_args(FactorKind))
            raise InputError(f"{where}.kind: {self.kind!r} received; give one of {kinds}")
        dims = self.dims if isinstance(self.dims, Sequence) and not isinstance(self.dims, str) else ()
        if not dims or any(isinstance(dim, bool) or not isinstance(dim, int) or dim < 0 for dim in dims):
            raise InputError(f"{where}.dims: {self.dims!r} received; give a list of dimensions, such as [0]")
        object.__setattr__(self, "dims", tuple(dims))
        positive_number(f"{where}.noise", self.noise)
        if self.levels is not None and positive_int(f"{where}.levels", self.levels) < 2:
            raise InputError(f"{where}.levels: {self.levels} received; give at least 2")
        if self.levels is None and self.kind in ("discrete", "ordinal"):
            raise InputError(f"{where}.levels: missing; give the number of values")
        if self.levels is not None and self.kind == "continuous":
            raise InputError(f"{where}.levels: {self.levels} received; give low and high of a continuous one")
        if not is_number(self.low) or not is_number(self.high) or not self.low < self.high:
            raise InputError(f"{where}.high: {self.high!r} received; give a number above low ({self.low!r})")
        self._check_weights(where)
        self._check_count(where)
        if self.order is not None:
            object.__setattr__(self, "order", tuple(self.order))
            one_dimension = self.kind == "discrete" and len(self.dims) == 1
            if not one_dimension or sorted(self.order) != list(range(self.levels or 0)):
                raise InputError(
                    f"{where}.order: {list(self.order)} received; give the levels of a discrete factor on "
                    "one dimension, each once"
                )

    def _check_weights(self, where: str) -> None:
        if self.weights is None:
            return
        weights = tuple(self.weights)
        object.__setattr__(self, "weights", weights)
        valid = all(is_number(weight) and weight >= 0 for weight in weights)
        if len(weights) != (self.levels or 0) or not valid or not math.isclose(sum(weights), 1, abs_tol=1e-5):
            raise InputError(
                f"{where}.weights: {list(weights)} received; give {self.levels or 0} probabilities that sum "
                "to 1"
            )

    def _check_count(self, where: str) -> None:
        counts: dict[str, tuple[str, set[int]]] = {
            "ordinal": ("one dimension", {1}),
            "continuous": ("one dimension", {1}),
            "circular": ("two dimensions", {2}),
            "discrete": (f"1, 2 or {self.levels} dimensions", {1, 2, self.levels or 1}),
        }
        text, allowed = counts[self.kind]
        if len(self.dims) not in allowed:
            raise InputError(f"{where}.dims: {list(self.dims)} received; a {self.kind} factor needs {text}")

    @property
    def has_positions(self) -> bool:
        """Whether every value has a position on the dimensions."""
        return True

    @property
    def one_hot(self) -> bool:
        """Whether there is one dimension per value."""
        return self.kind == "discrete" and len(self.dims) > 1 and len(self.dims) == self.levels

    def positions(self, values: Float[Tensor, "n"] | Tensor) -> Float[Tensor, "n m"]:
        """Return the positions of values on the dimensions.

        Args:
            values: (n,) values of the label.
        """
        values = values if values.is_floating_point() else values.to(torch.get_default_dtype())
        if self.one_hot:
            count = self.levels or 0
            hot = (values[:, None] == torch.arange(count, device=values.device)).to(values.dtype)
            return (hot - 1 / count) * (count / math.sqrt(count - 1))
        if len(self.dims) == 2:
            angle = 2 * math.pi * self._share_of_period(values)
            return math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
        return (self._scaled(values) * self._half_width)[:, None]

    def unit_positions(self, values: Float[Tensor, "n"]) -> Float[Tensor, "n m"]:
        """Return the positions of values on the scale of 0 to 1."""
        if len(self.dims) == 1:
            return (self._scaled(values)[:, None] + 1) / 2
        return (self.positions(values) / math.sqrt(2) + 1) / 2

    def read(self, codes: Float[Tensor, "n m"]) -> Float[Tensor, "n"]:
        """Return the value whose position is nearest to each code; for a continuous factor, any value.

        Args:
            codes: (n, m) codes on the dimensions of the factor.
        """
        if self.kind == "continuous":
            share = (codes[:, 0] / self._half_width + 1) / 2
            return self.low + (self.high - self.low) * share.clamp(0, 1)
        if self.levels is None:
            share = torch.atan2(codes[:, 1], codes[:, 0]) / (2 * math.pi)
            return self.low + (self.high - self.low) * share.remainder(1)
        table = self.positions(torch.arange(self.levels, device=codes.device).to(codes.dtype))
        return (codes[:, None] - table).square().sum(2).argmin(1).to(codes.dtype)

    def support(self) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
        """Return all values and their probabilities; 64 values where there are no levels."""
        if self.levels is not None:
            values = torch.arange(self.levels, dtype=torch.float64)
            weights = self.weights or [1 / self.levels] * self.levels
            return values, torch.tensor(weights, dtype=torch.float64)
        share = (torch.arange(_QUADRATURE, dtype=torch.float64) + 0.5) / _QUADRATURE
        return self.low + (self.high - self.low) * share, torch.full_like(share, 1 / _QUADRATURE)

    def similarity(
        self, a: Float[Tensor, "n"], b: Float[Tensor, "m"], bandwidth: float
    ) -> Float[Tensor, "n m"]:
        """Return a kernel of the values: equality of classes, otherwise an RBF of their distance.

        Args:
            a: values of the label.
            b: values of the label.
            bandwidth: length-scale as a share of the range, or of the radius of the circle.
        """
        if self.kind == "discrete":
            return (a[:, None] == b).to(a.dtype)
        if self.kind == "circular":
            share = self._share_of_period(a)[:, None] - self._share_of_period(b)
            return torch.exp(-2 * (torch.sin(math.pi * share) / bandwidth).square())
        difference = (self._scaled(a)[:, None] - self._scaled(b)) / 2
        return torch.exp(-0.5 * (difference / bandwidth).square())

    @property
    def _half_width(self) -> float:
        """Position of the largest value on one dimension."""
        return math.sqrt(3 if self.levels is None else 3 * (self.levels - 1) / (self.levels + 1))

    def _scaled(self, values: Tensor) -> Tensor:
        """Return values on the scale of -1 to 1."""
        if self.order is not None:
            # A sum over levels: a table would have to be copied to the device at every step.
            places = [place * (values == level) for place, level in enumerate(self.order)]
            values = torch.stack(places).sum(0) + 0 * values  # NaN stays NaN
        low, high = (self.low, self.high) if self.levels is None else (0, self.levels - 1)
        return 2 * (values - low) / (high - low) - 1

    def _share_of_period(self, values: Tensor) -> Tensor:
        return (values - self.low) / (self.high - self.low) if self.levels is None else values / self.levels


def as_factors(factors: object) -> list[Factor]:
    """Return factors from a mapping of settings by name, as in YAML, or a sequence of `Factor`.

    Raises:
        InputError: another type, no factor, an unknown setting, or a dimension in two factors.

    Example:
        >>> from mmdprior.priors.factor import as_factors
        >>> as_factors({"digit": {"dims": [0, 1], "kind": "discrete", "levels": 10}})[0].name
        'digit'
    """
    if isinstance(factors, Mapping):
        made = [_factor(str(name), settings) for name, settings in factors.items()]
    elif isinstance(factors, Sequence) and all(isinstance(factor, Factor) for factor in factors):
        made = list(factors)
    else:
        raise InputError(f"factors: {type(factors).__name__} received; give settings by name of the label")
    if not made:
        raise InputError("factors: none received; give at least one")
    owner: dict[int, str] = {}
    for factor in made:
        for dim in factor.dims:
            if dim in owner:
                raise InputError(
                    f"factors.{factor.name}.dims: dimension {dim} also received for {owner[dim]}; give each "
                    "dimension to one factor"
                )
            owner[dim] = factor.name
    return made


def _factor(name: str, settings: Any) -> Factor:
    known = [key for key in Factor.__dataclass_fields__ if key != "name"]
    if not isinstance(settings, Mapping) or "dims" not in settings:
        raise InputError(f"factors.{name}: {settings!r} received; give a mapping with dims, kind and levels")
    for key in settings:
        if key not in known:
            raise InputError(f"factors.{name}.{key}: unknown key; {nearest(str(key), known)}")
    return Factor(name, **settings)


def columns_of(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Return some columns of a tensor. Unlike ``x[..., dims]``, this copies no indices to the device.

    Example:
        >>> import torch
        >>> from mmdprior.priors.factor import columns_of
        >>> columns_of(torch.tensor([[1.0, 2.0, 3.0]]), [2, 0]).tolist()
        [[3.0, 1.0]]
    """
    return torch.stack([x[..., dim] for dim in dims], -1)


def labels_of_factors(factors: Sequence[Factor], names: Sequence[str], labels: Tensor) -> Tensor:
    """Return the label columns of factors, after checking that the data have them and their values.

    Args:
        factors: the factors.
        names: one name per label column.
        labels: (n, k) labels; NaN, or negative in integer labels, where missing.

    Raises:
        InputError: the data have no such label, no row has it, or it has values that the factor has not.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Factor
        >>> from mmdprior.priors.factor import labels_of_factors
        >>> labels_of_factors([Factor("x", (0,), levels=8)], ("y", "x"), torch.tensor([[1, 5]])).tolist()
        [[5]]
    """
    for factor in factors:
        if factor.name not in names:
            known = ", ".join(names) or "missing"
            raise InputError(f"prior.factors: {factor.name!r} received; the labels of the data are {known}")
    columns = labels[:, [list(names).index(factor.name) for factor in factors]]
    values = label_values(columns.cpu(), torch.float64)
    for factor, column in zip(factors, values.unbind(1), strict=True):
        _check_values(factor, column[~column.isnan()])
    return columns


def _check_values(factor: Factor, values: Tensor) -> None:
    where = f"prior.factors.{factor.name}"
    if not len(values):
        raise InputError(f"{where}: no row of the data has this label; leave it out, or label some")
    low, high = float(values.min()), float(values.max())
    last = factor.high if factor.levels is None else factor.levels - 1
    first = factor.low if factor.levels is None else 0
    if low < first or high > last:
        expected = f"{first:g} to {last:g}"
        raise InputError(f"{where}: values from {low:g} to {high:g} received; the prior has {expected}")
    if factor.levels is not None and bool((values != values.round()).any()):
        raise InputError(
            f"{where}: values between integers received; give classes from 0, or kind: continuous"
        )


def label_values(labels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return labels as floating-point numbers with NaN for missing ones.

    Missing values are NaN in floating-point labels, and negative in integer ones.

    Example:
        >>> import torch
        >>> from mmdprior.priors.factor import label_values
        >>> label_values(torch.tensor([[3, -1]])).tolist()
        [[3.0, nan]]
    """
    if labels.is_floating_point():
        return labels.to(dtype)
    values = labels.to(dtype)
    return torch.where(values < 0, torch.nan, values)

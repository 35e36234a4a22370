"""The contract `Quantiser` and its implementations: codes to a finite number of values per dimension."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.seeding import generator_options

__all__ = ["FSQ", "QLAE", "Quantiser", "QuantiserTraining", "UniformQuantiser", "levels_of"]

QuantiserTraining = Literal["straight_through", "noise", "after"]
"""How a quantiser takes part in training."""


class Quantiser(nn.Module, ABC):
    """Scalar quantiser of every code dimension, between posterior (and flow) and decoder.

    Regularizers and scores see the continuous codes z; only the decoder receives quantised ones. In
    evaluation mode the decoder receives ``values(indices(z))``. In training mode ``train`` decides:

    - ``straight_through``: the same values. Their gradient is that of ``continuous(z)``.
    - ``noise``: ``continuous(z)`` plus uniform noise on the cell of a level, ``cell_width`` wide.
    - ``after``: ``continuous(z)``, so that only evaluation quantises.

    A subclass implements `indices`, `values` and, where its values have other units than the codes,
    `continuous`.

    Args:
        dim: number of code dimensions d.
        levels: number of levels of every dimension, or one number per dimension.
        train: what the decoder receives in training.

    Attributes:
        levels: number of levels per dimension.

    Raises:
        InputError: fewer than 2 levels, another number of them than d, or an unknown ``train``.

    Example:
        The signs of the codes:

        >>> import torch
        >>> from mmdprior.models import Quantiser
        >>> class Sign(Quantiser):
        ...     def __init__(self, dim: int) -> None:
        ...         super().__init__(dim, levels=2)
        ...     def indices(self, z):
        ...         return (z > 0).long()
        ...     def values(self, indices):
        ...         return 2.0 * indices - 1
        >>> Sign(3)(torch.tensor([[0.2, -3.0, 1.5]]))
        tensor([[ 1., -1.,  1.]])
    """

    def __init__(
        self, dim: int, levels: int | Sequence[int] = 8, train: QuantiserTraining = "straight_through"
    ) -> None:
        super().__init__()
        if train not in get_args(QuantiserTraining):
            expected = ", ".join(get_args(QuantiserTraining))
            raise InputError(f"train: {train!r} received; expected one of {expected}")
        self.levels = levels_of(levels, dim)
        self.train_by = train

    @property
    def adapts(self) -> bool:
        """Whether training differs from training without the quantiser, True by default.

        A flow that is fitted after training needs a quantiser that does not.
        """
        return True

    @property
    def dim(self) -> int:
        """Number of code dimensions d."""
        return len(self.levels)

    @abstractmethod
    def indices(self, z: Float[Tensor, "n d"]) -> Int[Tensor, "n d"]:
        """Return the level of every code, from 0.

        Args:
            z: continuous codes.
        """

    @abstractmethod
    def values(self, indices: Int[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return what the decoder receives for levels.

        Args:
            indices: level of every code, from 0.
        """

    def continuous(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return codes in the units of `values`, without rounding; by default the codes themselves."""
        return z

    def cell_width(self) -> Tensor:
        """Return the distance of two levels, as a number or per dimension, for ``train: noise``.

        Raises:
            InputError: the levels have no common distance.
        """
        raise InputError(f"train: 'noise' received; {type(self).__name__} has no common cell width")

    def loss(self, z: Float[Tensor, "n d"]) -> Float[Tensor, ""] | None:
        """Return a loss that training adds to the reconstruction loss; None, the default, for none.

        Args:
            z: continuous codes of the global batch.
        """
        return None

    def forward(
        self, z: Float[Tensor, "n d"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        """Return what the decoder receives for codes.

        Args:
            z: continuous codes.
            generator: source of the noise of ``train: noise``; by default torch's global generator.
        """
        if not self.training:
            return self.values(self.indices(z))
        if self.train_by == "after":
            return self.continuous(z)
        if self.train_by == "noise":
            device = z.device if generator is None else generator.device
            uniform = torch.rand(z.shape, **generator_options(generator), device=device, dtype=z.dtype)
            return self.continuous(z) + (uniform.to(z.device) - 0.5) * self.cell_width()
        smooth = self.continuous(z)
        return smooth + (self.values(self.indices(z)) - smooth).detach()


def levels_of(levels: int | Sequence[int], dim: int) -> tuple[int, ...]:
    """Return one number of levels per dimension.

    Args:
        levels: number of levels of every dimension, or one number per dimension.
        dim: number of dimensions d.

    Raises:
        InputError: fewer than 2 levels, or another number of them than d.

    Example:
        >>> from mmdprior.models.quantiser import levels_of
        >>> levels_of(4, dim=3), levels_of([8, 5, 5], dim=3)
        ((4, 4, 4), (8, 5, 5))
    """
    counts = (levels,) * dim if isinstance(levels, int) else tuple(levels)
    if len(counts) != dim:
        raise InputError(f"levels: {len(counts)} numbers received; give one per dimension, {dim}")
    if min(counts) < 2:
        raise InputError(f"levels: {min(counts)} received; give at least 2")
    return counts


class UniformQuantiser(Quantiser):
    """L equal cells between two bounds, whose centres are the values.

    Codes outside of the bounds belong to the outer cells. For a box prior, give its ``low`` and ``high``. If
    the codes follow the prior, every level is equally likely, and the mean squared error is that of a uniform
    cell, ((high - low) / L)^2 / 12. In training the gradient of codes outside of the bounds is zero, as that
    of clamped codes. Otherwise they could move away without an effect on the decoder.

    Args:
        dim: number of code dimensions d.
        levels: number of levels of every dimension, or one number per dimension.
        train: what the decoder receives in training; see `Quantiser`. With ``noise``, codes clamped to the
            bounds plus noise.
        low: lower bound of every dimension; with ``robust`` the one before training.
        high: upper bound of every dimension; with ``robust`` the one before training.
        bounds: ``fixed``, or ``robust`` for bounds per dimension that follow the codes in training: the
            quantiles ``tail`` and 1 - ``tail`` of the batch, averaged over about 100 batches.
        tail: share of the codes of a batch below and above ``robust`` bounds.

    Raises:
        InputError: bounds that are not in order, or a tail outside of [0, 0.5).

    Example:
        >>> import torch
        >>> from mmdprior.models import UniformQuantiser
        >>> quantiser = UniformQuantiser(3, levels=4).eval()
        >>> z = torch.tensor([[-0.9, 0.1, 5.0]])
        >>> quantiser.indices(z), quantiser(z)
        (tensor([[0, 2, 3]]), tensor([[-0.7500,  0.2500,  0.7500]]))
    """

    _AVERAGED = 100

    low: Tensor
    high: Tensor
    counts: Tensor
    updates: Tensor

    def __init__(
        self,
        dim: int,
        levels: int | Sequence[int] = 8,
        train: QuantiserTraining = "straight_through",
        low: float = -1.0,
        high: float = 1.0,
        bounds: Literal["fixed", "robust"] = "fixed",
        tail: float = 0.005,
    ) -> None:
        super().__init__(dim, levels, train)
        if not low < high:
            raise InputError(f"low, high: {low:g} and {high:g} received; give low below high")
        if bounds not in ("fixed", "robust"):
            raise InputError(f"bounds: {bounds!r} received; expected fixed or robust")
        if not 0 <= tail < 0.5:
            raise InputError(f"tail: {tail:g} received; expected a share in [0, 0.5)")
        self.robust, self.tail = bounds == "robust", tail
        self.register_buffer("low", torch.full((dim,), float(low)))
        self.register_buffer("high", torch.full((dim,), float(high)))
        self.register_buffer("counts", torch.tensor(self.levels), persistent=False)
        self.register_buffer("updates", torch.zeros(()))

    @property
    def adapts(self) -> bool:
        """Whether the decoder receives quantised codes in training, or the bounds follow the codes."""
        return self.train_by != "after" or self.robust

    def indices(self, z: Float[Tensor, "n d"]) -> Int[Tensor, "n d"]:
        """Return the cell of every code; codes outside of the bounds are in the outer cells."""
        cells = ((z - self.low) / self.cell_width()).floor().long()
        return torch.minimum(cells.clamp(min=0), self.counts - 1)

    def values(self, indices: Int[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the centres of cells."""
        return self.low + (indices + 0.5) * self.cell_width()

    def continuous(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return codes clamped to the bounds; the codes themselves with ``after``."""
        return z if self.train_by == "after" else torch.minimum(torch.maximum(z, self.low), self.high)

    def cell_width(self) -> Tensor:
        """Return the width of the cells of every dimension."""
        return (self.high - self.low) / self.counts

    def forward(
        self, z: Float[Tensor, "n d"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        """Return what the decoder receives for codes; in training, ``robust`` bounds are updated first."""
        if self.training and self.robust:
            self._follow(z.detach())
        return super().forward(z, generator)

    def _follow(self, z: Float[Tensor, "n d"]) -> None:
        self.updates += 1
        # The plain mean of the first batches, so that the bounds before training do not bias it.
        share = torch.clamp(1 / self.updates, min=1 / self._AVERAGED)
        self.low.lerp_(torch.quantile(z, self.tail, dim=0).to(self.low), share)
        self.high.lerp_(torch.quantile(z, 1 - self.tail, dim=0).to(self.high), share)


class FSQ(Quantiser):
    """Finite scalar quantisation (Mentzer et al., arXiv 2309.15505, appendix A.1).

    Codes z are bounded by tanh to an interval with L integers and rounded to them. The values are the
    integers divided by floor(L / 2), in [-1, 1]. For an even number of levels, tanh is shifted as published:
    the integers are -L/2 ... L/2 - 1, and z = 0 is in the cell of the integer 0. Two levels are -1 and 0.

    Args:
        dim: number of code dimensions d.
        levels: number of levels of every dimension, or one number per dimension.
        train: what the decoder receives in training; see `Quantiser`. With ``after``, bounded codes.

    Example:
        >>> import torch
        >>> from mmdprior.models import FSQ
        >>> quantiser = FSQ(3, levels=5).eval()
        >>> z = torch.tensor([[-3.0, 0.1, 0.6]])
        >>> quantiser.indices(z), quantiser(z)
        (tensor([[0, 2, 3]]), tensor([[-1.0000,  0.0000,  0.5000]]))
    """

    _EPS = 1e-3

    half_range: Tensor
    half_width: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(
        self, dim: int, levels: int | Sequence[int] = 8, train: QuantiserTraining = "straight_through"
    ) -> None:
        super().__init__(dim, levels, train)
        counts = torch.tensor(self.levels, dtype=torch.float64)
        half_range = (counts - 1) * (1 - self._EPS) / 2
        offset = torch.where(counts % 2 == 1, 0.0, 0.5)
        # tan as in the published code, although atanh would map z = 0 to the middle of a cell.
        shift = torch.tan(offset / half_range)
        for name, value in (("half_range", half_range), ("offset", offset), ("shift", shift)):
            self.register_buffer(name, value.float(), persistent=False)
        self.register_buffer("half_width", (counts // 2).float(), persistent=False)

    def indices(self, z: Float[Tensor, "n d"]) -> Int[Tensor, "n d"]:
        """Return the rounded codes, counted from the lowest integer."""
        return (self._bounded(z).round() + self.half_width).long()

    def values(self, indices: Int[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the integers divided by floor(L / 2)."""
        return (indices - self.half_width) / self.half_width

    def continuous(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return bounded codes divided by floor(L / 2)."""
        return self._bounded(z) / self.half_width

    def cell_width(self) -> Tensor:
        """Return the distance of two values, 1 / floor(L / 2)."""
        return 1 / self.half_width

    def _bounded(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.tanh(z + self.shift) * self.half_range - self.offset


class QLAE(Quantiser):
    """Latent quantisation with learned values (Hsu et al., arXiv 2305.18378).

    Every dimension has a codebook of L learned numbers, which start at equal distances in [-0.5, 0.5]. The
    value of a code is the nearest of them. `loss` adds the quantisation loss, which moves the numbers to the
    codes, and the commitment loss, which moves the codes to the numbers. The published method trains with
    AdamW and weight decay 0.1: ``trainer: {optimizer: adamw, weight_decay: 0.1}``.

    Args:
        dim: number of code dimensions d.
        levels: number of levels of every dimension.
        train: what the decoder receives in training: ``straight_through``, or ``after``, where only the
            quantisation loss remains: the numbers follow the codes, but do not change the networks.
        quantisation: weight of the quantisation loss mean((sg(z) - value)^2).
        commitment: weight of the commitment loss mean((z - sg(value))^2).

    Raises:
        InputError: ``train`` is ``noise``, since the levels have no common distance.

    Example:
        >>> import torch
        >>> from mmdprior.models import QLAE
        >>> quantiser = QLAE(3, levels=3).eval()
        >>> quantiser(torch.tensor([[-0.4, 0.1, 7.0]]))
        tensor([[-0.5000,  0.0000,  0.5000]], grad_fn=<GatherBackward0>)
    """

    def __init__(
        self,
        dim: int,
        levels: int = 10,
        train: Literal["straight_through", "after"] = "straight_through",
        quantisation: float = 0.01,
        commitment: float = 0.01,
    ) -> None:
        super().__init__(dim, levels, train)
        if self.train_by == "noise":
            self.cell_width()
        self.quantisation, self.commitment = quantisation, commitment
        self.codebook = nn.Parameter(torch.linspace(-0.5, 0.5, levels).repeat(dim, 1))

    def indices(self, z: Float[Tensor, "n d"]) -> Int[Tensor, "n d"]:
        """Return the nearest number of the codebook of every dimension."""
        return (z[..., None] - self.codebook).abs().argmin(-1)

    def values(self, indices: Int[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the numbers of the codebooks."""
        return self.codebook.T.gather(0, indices)

    def loss(self, z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the weighted quantisation and commitment losses, means over codes and dimensions."""
        value = self.values(self.indices(z.detach()))
        loss = self.quantisation * (z.detach() - value).square().mean()
        if self.train_by == "after":
            return loss
        return loss + self.commitment * (z - value.detach()).square().mean()

"""Users' targets with slots among their arguments, under names that the package does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmdprior.data import ImageSet, Source, Subset
from mmdprior.kernels import RBF, Kernel, Sum
from mmdprior.priors import Prior, Product
from mmdprior.regularizers import MMD, Regularizer
from mmdprior.training import Schedule


class Mixed(Regularizer):
    """A penalty with a slot of every form."""

    def __init__(
        self,
        goal: Prior,
        near: Kernel,
        far: Kernel | None = None,
        more: Sequence[Kernel] = (),
        base: Regularizer | None = None,
        rise: Schedule | None = None,
        squash: Callable[[Tensor], Tensor] | None = None,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        kernels = [near, *([far] if far is not None else []), *more]
        self.inner = MMD(goal, Sum(kernels))
        self.kernels, self.base, self.rise, self.squash, self.strength = kernels, base, rise, squash, strength

    def forward(self, latent, *, step=0, labels=None):
        codes = latent.sample if self.squash is None else self.squash(latent.sample)
        value = self.strength * self.inner(codes)
        if self.base is not None:
            value = value + self.base(latent, step=step)
        return value if self.rise is None else value * self.rise(step)


def my_penalty(prior: Prior, kernel: Kernel, other: Kernel | None = None) -> Regularizer:
    return MMD(prior, kernel if other is None else Sum([kernel, other]))


def with_default(shape: Kernel = RBF(2.0), goal: Prior | None = None, dim: int = 0) -> Regularizer:  # noqa: B008
    penalty = my_penalty(goal, shape)
    penalty.given_dim = dim
    return penalty


def side_by_side(parts: list[Prior]) -> Prior:
    return Product(parts)


def shifted(n: int, dim: int, origin: Prior, shift: float = 1.0) -> Tensor:
    return origin.sample(n) + shift


def twice(inner: Kernel) -> Kernel:
    return Sum([inner, inner])


def slower(step: int, inner: Schedule, factor: int = 2) -> float:
    return inner(step // factor)


def first(images: Source, count: int = 100) -> ImageSet:
    return Subset(images.train, torch.arange(count))


def capped(x: Tensor, limit: float = 1.0) -> Tensor:
    return x.clamp(-limit, limit)


def plain_union(activation: str | Callable[[Tensor], Tensor] = "relu", dim: int = 4) -> Regularizer:
    """An argument that is no slot: a callable next to plain values."""
    return my_penalty(Product([]), RBF())


def hidden_argument(weight: float) -> Regularizer:
    """A required argument that no config can set: weight is a key of the section."""
    return my_penalty(Product([]), RBF())

"""The contract of a bijection: an invertible map of R^d, between encoder and decoder."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError

__all__ = ["Bijection", "Blocks", "Chain", "Inverse"]


class Bijection(nn.Module, ABC):
    """An invertible map z = f(h) of R^d, applied to every row.

    Two methods are required:

    - ``forward_and_log_det(h)``: z, and log |det dz/dh| of each row;
    - ``inverse(z)``: the h with f(h) = z.

    ``spec()`` is needed only to save a bijection in a file. In evaluation mode a row of the output depends
    only on the same row of the input, outputs have the dtype and device of the input, and nothing is random.
    `mmdprior.testing.check_bijection` tests all of this.

    Args:
        dim: number of dimensions d.

    Raises:
        InputError: dim is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from mmdprior.flows import Bijection
        >>> class Doubled(Bijection):
        ...     def forward_and_log_det(self, h):
        ...         return 2 * h, h.new_full((len(h),), self.dim * math.log(2))
        ...
        ...     def inverse(self, z):
        ...         return z / 2
        >>> import math
        >>> double = Doubled(3)
        >>> double(torch.ones(1, 3)).tolist(), double.inverse(torch.ones(1, 3)).tolist()
        ([[2.0, 2.0, 2.0]], [[0.5, 0.5, 0.5]])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise InputError(f"dim: {dim!r} received; give an integer of at least 1")
        self.dim = dim

    def forward(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return z = f(h)."""
        return self.forward_and_log_det(h)[0]

    @abstractmethod
    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return z = f(h), and log |det dz/dh| of each row."""

    @abstractmethod
    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the h with f(h) = z."""

    def inverted(self) -> "Bijection":
        """Return the inverse map as a bijection that shares this one's parameters."""
        return Inverse(self)

    def spec(self) -> dict[str, Any]:
        """Return the class name and the constructor arguments as plain values, for a file.

        Raises:
            InputError: the class does not define it.
        """
        raise InputError(f"spec: not defined by {type(self).__name__}; define spec() to save the bijection")


class Inverse(Bijection):
    """The inverse of another bijection, h = f^-1(z), with shared parameters.

    Args:
        base: bijection to invert.

    Example:
        >>> import torch
        >>> from mmdprior.flows import Inverse, Permutation
        >>> cycle = Permutation([1, 2, 0])
        >>> codes = torch.tensor([[0.0, 1.0, 2.0]])
        >>> Inverse(cycle)(cycle(codes)).tolist()
        [[0.0, 1.0, 2.0]]
    """

    def __init__(self, base: Bijection) -> None:
        super().__init__(base.dim)
        self.base = base

    def forward(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the inverse image under the base."""
        return self.base.inverse(h)

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return the inverse image, and the log-determinant of the inverse."""
        z = self.base.inverse(h)
        return z, -self.base.forward_and_log_det(z)[1]

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the image under the base."""
        return self.base(z)

    def inverted(self) -> Bijection:
        """Return the base."""
        return self.base

    def spec(self) -> dict[str, Any]:
        """Return the class name and the base."""
        return {"name": "Inverse", "base": self.base.spec()}


class Chain(Bijection):
    """Bijections applied one after another: z = f_k(.. f_2(f_1(h))).

    Args:
        parts: at least one bijection, all of the same dimension, in the order of application.

    Raises:
        InputError: there are no parts, or their dimensions differ.

    Example:
        >>> import torch
        >>> from mmdprior.flows import ActNorm, Chain, Permutation
        >>> chain = Chain([ActNorm(3), Permutation([2, 0, 1])])
        >>> chain(torch.tensor([[0.0, 1.0, 2.0]])).tolist()
        [[2.0, 0.0, 1.0]]
    """

    def __init__(self, parts: Sequence[Bijection]) -> None:
        if not parts:
            raise InputError("parts: an empty list received; give at least one bijection")
        super().__init__(parts[0].dim)
        for part in parts:
            if part.dim != self.dim:
                raise InputError(f"parts: dim {part.dim} received after {self.dim}; give equal dimensions")
        self.parts = nn.ModuleList(parts)

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return z, and the sum of the log-determinants of the parts."""
        log_det = h.new_zeros(len(h))
        for part in self._parts():
            h, part_log_det = part.forward_and_log_det(h)
            log_det = log_det + part_log_det
        return h, log_det

    def forward(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return z."""
        for part in self._parts():
            h = part(h)
        return h

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the inverse image: the inverses of the parts in reverse order."""
        for part in reversed(self._parts()):
            z = part.inverse(z)
        return z

    def spec(self) -> dict[str, Any]:
        """Return the class name and the parts."""
        return {"name": "Chain", "parts": [part.spec() for part in self._parts()]}

    def _parts(self) -> list[Bijection]:
        return [part for part in self.parts if isinstance(part, Bijection)]


class Blocks(Bijection):
    """Bijections of separate groups of dimensions, such as those of the blocks of a product prior.

    Args:
        parts: one bijection per group.
        dims: dimensions of each group; every dimension is in exactly one.

    Raises:
        InputError: a dimension is in no group or in two, or a part has another dimension than its group.

    Example:
        >>> import torch
        >>> from mmdprior.flows import ActNorm, Blocks, Permutation
        >>> blocks = Blocks([Permutation([1, 0]), ActNorm(1)], dims=[[0, 2], [1]])
        >>> blocks(torch.tensor([[0.0, 1.0, 2.0]])).tolist()
        [[2.0, 1.0, 0.0]]
    """

    def __init__(self, parts: Sequence[Bijection], dims: Sequence[Sequence[int]]) -> None:
        order = [i for group in dims for i in group]
        if sorted(order) != list(range(len(order))) or len(parts) != len(dims):
            raise InputError(f"dims: {dims} received; assign each dimension to one of {len(parts)} parts")
        super().__init__(len(order))
        for part, group in zip(parts, dims, strict=True):
            if part.dim != len(group):
                raise InputError(f"dims: {len(group)} dimensions received for a part of {part.dim}")
        self.parts = nn.ModuleList(parts)
        self._dims = [list(group) for group in dims]
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("positions", torch.tensor(order).argsort(), persistent=False)
        self.order: Tensor
        self.positions: Tensor

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return z, and the sum of the log-determinants of the groups."""
        pairs = [part.forward_and_log_det(group) for part, group in self._groups(h)]
        z = torch.cat([z for z, _ in pairs], 1)[:, self.positions]
        return z, torch.stack([log_det for _, log_det in pairs]).sum(0)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the inverse image, group by group."""
        return torch.cat([part.inverse(group) for part, group in self._groups(z)], 1)[:, self.positions]

    def spec(self) -> dict[str, Any]:
        """Return the class name, the parts and their dimensions."""
        parts = [part.spec() for part in self.parts if isinstance(part, Bijection)]
        return {"name": "Blocks", "parts": parts, "dims": self._dims}

    def _groups(self, x: Tensor) -> list[tuple[Bijection, Tensor]]:
        columns = x[:, self.order].split([len(group) for group in self._dims], 1)
        parts = [part for part in self.parts if isinstance(part, Bijection)]
        return list(zip(parts, columns, strict=True))

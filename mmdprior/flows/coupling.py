"""Coupling layers: one part of the dimensions sets an increasing map of each of the others."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection, Chain
from mmdprior.flows.linear import InvertibleLinear, soft_bound
from mmdprior.flows.spline import knots_from_parameters, rational_quadratic, rational_quadratic_inverse
from mmdprior.precision import full_precision

__all__ = ["AffineCoupling", "Coupling", "SplineCoupling", "coupling_flow", "trainable_flow"]

_REACH = 8.0
"""Size of the inputs of a network from which they saturate, in standard deviations of whitened codes.

Codes far out then get bounded shifts. Otherwise these grow from layer to layer, and with them the error of
the inverse.
"""


class _Conditioner(nn.Module):
    """A multilayer perceptron whose last layer starts at zero, evaluated in full precision."""

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden]):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear([inputs, *hidden][-1], outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        # Forward and inverse evaluate this network at inputs that differ by rounding. With the few digits of
        # TF32 or bfloat16 their outputs would differ, and the inverse would be wrong.
        with full_precision(x.device.type):
            inside = x / (1 + (x / _REACH).square()).sqrt()
            return self.last(self.layers(inside.to(self.last.weight))).to(x)


class Coupling(Bijection):
    """Base of couplings: z_b = g(h_b; network(h_a)) for the transformed dimensions b, and z_a = h_a.

    Args:
        dim: number of dimensions d, at least 2.
        transformed: the dimensions b, at least one and not all.
        numbers: outputs of the network per transformed dimension.
        hidden: units of the network's hidden layers.
        dropout: probability that a hidden unit is dropped in training mode.

    Raises:
        InputError: dimensions are out of range or repeated, or no dimension is kept.
    """

    def __init__(
        self, dim: int, transformed: Sequence[int], numbers: int, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__(dim)
        changed = sorted(set(transformed))
        if len(changed) != len(transformed) or not set(changed) < set(range(dim)) or not changed:
            raise InputError(
                f"transformed: {list(transformed)} received; give some, but not all, of 0 to {dim - 1}"
            )
        kept = [i for i in range(dim) if i not in changed]
        self.hidden, self.dropout, self.numbers = list(hidden), dropout, numbers
        self.network = _Conditioner(len(kept), numbers * len(changed), hidden, dropout)
        self.register_buffer("kept", torch.tensor(kept), persistent=False)
        self.register_buffer("changed", torch.tensor(changed), persistent=False)
        self.kept: Tensor
        self.changed: Tensor

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return z, and the sum of the log-slopes of the transformed dimensions."""
        values, log_slopes = self._map(h[:, self.changed], self._parameters_of(h))
        return h.index_copy(1, self.changed, values), log_slopes.sum(1)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return h; z_a = h_a gives the same network outputs."""
        return z.index_copy(1, self.changed, self._unmap(z[:, self.changed], self._parameters_of(z)))

    def _parameters_of(self, x: Tensor) -> Float[Tensor, "n b numbers"]:
        return self.network(x[:, self.kept]).unflatten(1, (len(self.changed), self.numbers))

    @abstractmethod
    def _map(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and log-slopes of the increasing functions with these parameters."""

    @abstractmethod
    def _unmap(self, y: Tensor, parameters: Tensor) -> Tensor:
        """Return the inverse of the increasing functions."""


class AffineCoupling(Coupling):
    """z_b = exp(s(h_a)) h_b + t(h_a), the coupling of RealNVP (Dinh et al., arXiv 1605.08803).

    Args:
        dim: number of dimensions d, at least 2.
        transformed: the dimensions b.
        hidden: units of the network's hidden layers.
        dropout: probability that a hidden unit is dropped in training mode.
        bound: soft bound of |s|, so that the inverse stays accurate.

    Raises:
        InputError: dimensions are out of range or repeated, or no dimension is kept.

    Example:
        >>> import torch
        >>> from mmdprior.flows import AffineCoupling
        >>> coupling = AffineCoupling(3, transformed=[0, 2])
        >>> coupling(torch.tensor([[0.0, 1.0, 2.0]])).tolist()
        [[0.0, 1.0, 2.0]]
    """

    def __init__(
        self,
        dim: int,
        transformed: Sequence[int],
        hidden: Sequence[int] = (256, 256),
        dropout: float = 0.0,
        bound: float = 2.0,
    ) -> None:
        super().__init__(dim, transformed, 2, hidden, dropout)
        self.bound = bound

    def _map(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(parameters)
        return x * log_scale.exp() + shift, log_scale

    def _unmap(self, y: Tensor, parameters: Tensor) -> Tensor:
        log_scale, shift = self._scale_and_shift(parameters)
        return (y - shift) * (-log_scale).exp()

    def _scale_and_shift(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = parameters.unbind(-1)
        return soft_bound(raw, self.bound), shift

    def spec(self) -> dict[str, Any]:
        """Return the class name and the constructor arguments."""
        arguments = {"dim": self.dim, "transformed": self.changed.tolist(), "hidden": self.hidden}
        return {"name": "AffineCoupling", **arguments, "dropout": self.dropout, "bound": self.bound}


class SplineCoupling(Coupling):
    """Couplings by rational-quadratic splines (Durkan et al., arXiv 1906.04032), linear beyond the bound.

    Args:
        dim: number of dimensions d, at least 2.
        transformed: the dimensions b.
        hidden: units of the network's hidden layers.
        dropout: probability that a hidden unit is dropped in training mode.
        bins: number of bins of each spline.
        bound: splines act on [-bound, bound].

    Raises:
        InputError: dimensions are out of range or repeated, no dimension is kept, or bins is below 1.

    Example:
        >>> import torch
        >>> from mmdprior.flows import SplineCoupling
        >>> coupling = SplineCoupling(3, transformed=[1])
        >>> codes = torch.randn(5, 3)
        >>> bool((coupling.inverse(coupling(codes)) - codes).abs().max() < 1e-5)
        True
    """

    def __init__(
        self,
        dim: int,
        transformed: Sequence[int],
        hidden: Sequence[int] = (256, 256),
        dropout: float = 0.0,
        bins: int = 8,
        bound: float = 5.0,
    ) -> None:
        if bins < 1:
            raise InputError(f"bins: {bins} received; give at least 1")
        super().__init__(dim, transformed, 3 * bins + 1, hidden, dropout)
        self.bins, self.bound = bins, bound

    def _map(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return rational_quadratic(x, knots_from_parameters(parameters, self.bound))

    def _unmap(self, y: Tensor, parameters: Tensor) -> Tensor:
        return rational_quadratic_inverse(y, knots_from_parameters(parameters, self.bound))

    def spec(self) -> dict[str, Any]:
        """Return the class name and the constructor arguments."""
        arguments = {"dim": self.dim, "transformed": self.changed.tolist(), "hidden": self.hidden}
        return {
            "name": "SplineCoupling",
            **arguments,
            "dropout": self.dropout,
            "bins": self.bins,
            "bound": self.bound,
        }


def coupling_flow(
    dim: int,
    layers: int = 8,
    hidden: Sequence[int] = (256, 256),
    transform: Literal["affine", "spline"] = "affine",
    dropout: float = 0.0,
    bins: int = 8,
    seed: int = 0,
) -> Chain:
    """Return a chain of couplings that transform random halves of the dimensions in turn.

    Layers come in pairs: the second of a pair transforms the half that the first kept. Dimensions are not
    permuted, and all layers start as the identity, so z_i starts at h_i.

    Args:
        dim: number of dimensions d, at least 2.
        layers: number of couplings.
        hidden: units of the hidden layers of each network.
        transform: ``affine`` or ``spline``.
        dropout: probability that a hidden unit is dropped in training mode.
        bins: number of bins of a spline; not used by affine couplings.
        seed: seed of the halves. The networks' weights come from torch's global generator.

    Raises:
        InputError: dim is below 2, layers is below 1, or an unknown transform.

    Example:
        >>> import torch
        >>> from mmdprior.flows import coupling_flow
        >>> flow = coupling_flow(4, layers=2, hidden=[16])
        >>> codes = torch.randn(3, 4)
        >>> bool((flow(codes) == codes).all())
        True
    """
    if dim < 2:
        raise InputError(f"dim: {dim} received; couplings need at least 2")
    if layers < 1:
        raise InputError(f"layers: {layers} received; give at least 1")
    if transform not in ("affine", "spline"):
        raise InputError(f"transform: {transform!r} received; give affine or spline")
    generator = torch.Generator().manual_seed(seed)
    parts: list[Bijection] = []
    while len(parts) < layers:
        order = torch.randperm(dim, generator=generator).tolist()
        for half in (order[: dim // 2], order[dim // 2 :])[: layers - len(parts)]:
            if transform == "affine":
                parts.append(AffineCoupling(dim, sorted(half), hidden, dropout))
            else:
                parts.append(SplineCoupling(dim, sorted(half), hidden, dropout, bins))
    return Chain(parts)


def trainable_flow(
    dim: int,
    layers: int = 8,
    hidden: Sequence[int] = (256, 256),
    transform: Literal["affine", "spline"] = "affine",
    dropout: float = 0.1,
    bins: int = 8,
    seed: int = 0,
) -> Chain:
    """Return the flow that ``model: {flow: coupling}`` names: couplings between two learnable linear maps.

    It starts as the identity. Its initial weights depend on the seed only, and the global generator is left
    unchanged, so that encoder and decoder start as they do without a flow.

    Args:
        dim: number of dimensions d.
        layers: number of couplings; none are used in one dimension.
        hidden: units of the hidden layers of each network.
        transform: ``affine`` or ``spline``.
        dropout: probability that a hidden unit is dropped in training.
        bins: number of bins of a spline; not used by affine couplings.
        seed: seed of the halves and of the initial weights.

    Example:
        >>> from mmdprior.flows import trainable_flow
        >>> len(trainable_flow(4, layers=2, hidden=[16]).parts)
        3
    """
    if dim == 1:
        return Chain([InvertibleLinear(1)])
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        couplings = coupling_flow(dim, layers, hidden, transform, dropout, bins, seed)
    return Chain([InvertibleLinear(dim), couplings, InvertibleLinear(dim)])

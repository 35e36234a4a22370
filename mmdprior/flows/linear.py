"""Linear bijections: whitening, learnable matrices, scales and permutations."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection
from mmdprior.precision import in_float64

__all__ = ["ActNorm", "FixedLinear", "InvertibleLinear", "Permutation", "soft_bound", "whitening"]

_SMALLEST_VARIANCE = 1e-10
"""Smallest eigenvalue of a covariance that is divided by, relative to the largest."""


def soft_bound(x: Tensor, bound: float) -> Tensor:
    """Return bound tanh(x / bound): x near zero, and always between -bound and bound."""
    return bound * torch.tanh(x / bound)


class FixedLinear(Bijection):
    """The affine map z = A (h - mean) + shift with stored numbers; the identity by default.

    Products and solves are in float64, so that the inverse is exact up to the rounding of z.

    Args:
        dim: number of dimensions d.
        matrix: A, (d, d), invertible; the identity by default.
        mean: (d,) vector that is subtracted first; zero by default.
        shift: (d,) vector that is added last; zero by default.

    Raises:
        InputError: a shape is wrong, or the matrix is singular.

    Example:
        >>> import torch
        >>> from mmdprior.flows import FixedLinear
        >>> map = FixedLinear(2, torch.tensor([[2.0, 0.0], [0.0, 0.5]]), shift=torch.ones(2))
        >>> map(torch.ones(1, 2)).tolist(), map.inverse(torch.ones(1, 2)).tolist()
        ([[3.0, 1.5]], [[0.0, 0.0]])
    """

    def __init__(
        self,
        dim: int,
        matrix: Tensor | None = None,
        mean: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> None:
        super().__init__(dim)
        dtype = torch.get_default_dtype()
        matrix = torch.eye(dim, dtype=dtype) if matrix is None else matrix.to(dtype).clone()
        mean = torch.zeros(dim, dtype=dtype) if mean is None else mean.to(dtype).clone()
        shift = torch.zeros(dim, dtype=dtype) if shift is None else shift.to(dtype).clone()
        for name, value, shape in (
            ("matrix", matrix, (dim, dim)),
            ("mean", mean, (dim,)),
            ("shift", shift, (dim,)),
        ):
            if value.shape != shape:
                raise InputError(f"{name}: shape {tuple(value.shape)} received; expected {shape}")
        if not bool(torch.isfinite(torch.linalg.slogdet(matrix.double()).logabsdet)):
            raise InputError("matrix: singular; give an invertible matrix")
        self.register_buffer("matrix", matrix)
        self.register_buffer("mean", mean)
        self.register_buffer("shift", shift)
        self.matrix: Tensor
        self.mean: Tensor
        self.shift: Tensor

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return A (h - mean) + shift, and log |det A|."""
        matrix, mean, shift = (in_float64(value) for value in (self.matrix, self.mean, self.shift))
        z = (in_float64(h) - mean) @ matrix.T + shift
        log_det = torch.linalg.slogdet(matrix).logabsdet.to(h)
        return z.to(h), log_det.expand(len(h))

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return A^-1 (z - shift) + mean."""
        matrix, mean, shift = (in_float64(value) for value in (self.matrix, self.mean, self.shift))
        return (torch.linalg.solve(matrix, (in_float64(z) - shift).T).T + mean).to(z)

    def spec(self) -> dict[str, Any]:
        """Return the class name and the dimension; the numbers are in the state dict."""
        return {"name": "FixedLinear", "dim": self.dim}


def whitening(codes: Float[Tensor, "n d"], kind: Literal["zca", "pca"] = "zca") -> FixedLinear:
    """Return the linear map that gives codes mean zero and covariance I.

    ``zca``, W = C^-1/2, is the whitening nearest to the codes: it minimises E |z - (h - mean)|^2 (Kessy et
    al., The American Statistician 72, 2018). ``pca`` has the principal components in descending order.
    Directions whose variance is below 1e-10 of the largest are divided by that floor.

    Args:
        codes: at least two rows.
        kind: ``zca`` or ``pca``.

    Raises:
        InputError: fewer than two rows, constant codes, or an unknown kind.

    Example:
        >>> import torch
        >>> from mmdprior.flows import whitening
        >>> codes = torch.randn(1000, 3) @ torch.randn(3, 3) + 5
        >>> z = whitening(codes)(codes)
        >>> bool((z.T.cov() - torch.eye(3)).abs().max() < 1e-4)
        True
    """
    if kind not in ("zca", "pca"):
        raise InputError(f"kind: {kind!r} received; give zca or pca")
    if codes.ndim != 2 or len(codes) < 2:
        raise InputError(f"codes: shape {tuple(codes.shape)} received; give (n, d) with at least 2 rows")
    exact = in_float64(codes.detach())
    mean = exact.mean(0)
    covariance = (exact - mean).T @ (exact - mean) / (len(exact) - 1)
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    if not bool(eigenvalues[-1] > 0):
        raise InputError("codes: constant; give codes that vary")
    scaled = vectors / eigenvalues.clamp(min=_SMALLEST_VARIANCE * eigenvalues[-1]).sqrt()
    matrix = scaled @ vectors.T if kind == "zca" else scaled.flip(1).T
    return FixedLinear(codes.shape[1], matrix, mean).to(codes.device)


class InvertibleLinear(Bijection):
    """A learnable linear map z = L U h + shift, with unit lower and upper triangular factors; starts as I.

    The diagonal of U is exp(s) with s softly bounded, so the map is always invertible and its log-determinant
    is sum s (Kingma & Dhariwal, arXiv 1807.03039, section 3.2).

    Args:
        dim: number of dimensions d.
        bound: largest absolute logarithm of a diagonal entry.

    Example:
        >>> import torch
        >>> from mmdprior.flows import InvertibleLinear
        >>> InvertibleLinear(2)(torch.tensor([[1.0, 2.0]])).tolist()
        [[1.0, 2.0]]
    """

    def __init__(self, dim: int, bound: float = 3.0) -> None:
        super().__init__(dim)
        self.bound = bound
        self.lower = nn.Parameter(torch.zeros(dim, dim))
        self.upper = nn.Parameter(torch.zeros(dim, dim))
        self.log_diagonal = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return L U h + shift, and the sum of the logarithms of the diagonal of U."""
        lower, upper, log_diagonal = self._factors()
        z = in_float64(h) @ (lower @ upper).T + in_float64(self.shift)
        return z.to(h), log_diagonal.sum().to(h).expand(len(h))

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return U^-1 L^-1 (z - shift)."""
        lower, upper, _ = self._factors()
        x = (in_float64(z) - in_float64(self.shift)).T
        x = torch.linalg.solve_triangular(lower, x, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, x, upper=True).T.to(z)

    def spec(self) -> dict[str, Any]:
        """Return the class name and the constructor arguments."""
        return {"name": "InvertibleLinear", "dim": self.dim, "bound": self.bound}

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return L, U and the logarithm of the diagonal of U, in float64."""
        lower, upper, raw = (in_float64(value) for value in (self.lower, self.upper, self.log_diagonal))
        log_diagonal = soft_bound(raw, self.bound)
        identity = torch.eye(self.dim, dtype=lower.dtype, device=lower.device)
        return lower.tril(-1) + identity, upper.triu(1) + torch.diag(log_diagonal.exp()), log_diagonal


class ActNorm(Bijection):
    """A learnable scale and shift per dimension, z = exp(s) h + shift; the identity at the start.

    Args:
        dim: number of dimensions d.
        bound: largest absolute value of s; values near zero are unchanged.

    Example:
        >>> import torch
        >>> from mmdprior.flows import ActNorm
        >>> codes = 3 * torch.randn(1000, 2) + 1
        >>> z = ActNorm(2).fit(codes)(codes)
        >>> bool((z.std(0) - 1).abs().max() < 1e-3)
        True
    """

    def __init__(self, dim: int, bound: float = 10.0) -> None:
        super().__init__(dim)
        self.bound = bound
        self.raw_log_scale = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    @torch.no_grad()
    def fit(self, codes: Float[Tensor, "n d"]) -> "ActNorm":
        """Set scale and shift so that z has mean zero and standard deviation one; return the map.

        Raises:
            InputError: fewer than two rows, or a dimension is constant.
        """
        if codes.ndim != 2 or len(codes) < 2:
            raise InputError(f"codes: shape {tuple(codes.shape)} received; give (n, d) with at least 2 rows")
        deviation = codes.std(0)
        if not bool((deviation.log().abs() < self.bound).all()):
            raise InputError(
                f"codes: standard deviations {deviation.tolist()} received; expected |log std| below "
                f"{self.bound:g}; rescale the codes"
            )
        log_scale = -deviation.log()
        self.raw_log_scale.copy_(self.bound * torch.atanh(log_scale / self.bound))
        self.shift.copy_(-codes.mean(0) / deviation)
        return self

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return exp(s) h + shift, and sum s."""
        log_scale = soft_bound(self.raw_log_scale.to(h), self.bound)
        return h * log_scale.exp() + self.shift.to(h), log_scale.sum().expand(len(h))

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return exp(-s) (z - shift)."""
        return (z - self.shift.to(z)) * torch.exp(-soft_bound(self.raw_log_scale.to(z), self.bound))

    def spec(self) -> dict[str, Any]:
        """Return the class name and the constructor arguments."""
        return {"name": "ActNorm", "dim": self.dim, "bound": self.bound}


class Permutation(Bijection):
    """A fixed reordering of the dimensions: z_i = h_order[i].

    Args:
        order: each of 0 .. d - 1 once.

    Raises:
        InputError: an entry is missing or repeated.

    Example:
        >>> import torch
        >>> from mmdprior.flows import Permutation
        >>> Permutation([2, 0, 1])(torch.tensor([[0.0, 1.0, 2.0]])).tolist()
        [[2.0, 0.0, 1.0]]
    """

    def __init__(self, order: Sequence[int]) -> None:
        if sorted(order) != list(range(len(order))):
            raise InputError(f"order: {list(order)} received; give each of 0 to {len(order) - 1} once")
        super().__init__(len(order))
        self.register_buffer("order", torch.tensor(list(order)), persistent=False)
        self.order: Tensor

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return the reordered columns, and zero."""
        return h[:, self.order], h.new_zeros(len(h))

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the columns in their original order."""
        return z[:, self.order.argsort()]

    def spec(self) -> dict[str, Any]:
        """Return the class name and the order."""
        return {"name": "Permutation", "order": self.order.tolist()}

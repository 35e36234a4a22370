"""Priors made from priors."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.precision import full_matmul
from mmdprior.priors.copula import Correlated
from mmdprior.priors.empirical import check, check_draws
from mmdprior.priors.gaussian import FullGaussian, LowRankGaussian
from mmdprior.priors.marginals import (
    AffineMarginal,
    AtomsMarginal,
    MixtureMarginal,
    NormalMarginal,
    UniformMarginal,
    one_each,
)
from mmdprior.priors.prior import Marginal, Moments, Prior, numbers

__all__ = ["Affine", "Product", "Rotation", "Transform"]


class Product(Prior):
    """Independent blocks side by side.

    Args:
        blocks: priors; by default the dimensions of the product are those of the blocks, one after
            another.
        dims: for each block the dimensions of the product that it takes, in its own order.

    Raises:
        InputError: no blocks, or dims that are not one list a block, of its length, that together take
            every dimension once.
    """

    def __init__(self, blocks: Sequence[Prior], dims: Sequence[Sequence[int]] | None = None) -> None:
        if not blocks:
            raise InputError("blocks: an empty list received; give at least one prior")
        super().__init__(sum(block.dim for block in blocks))
        order = range(self.dim) if dims is None else _order(dims, [block.dim for block in blocks])
        self.blocks = nn.ModuleList(blocks)
        self._order: list[int] | None = None if list(order) == list(range(self.dim)) else list(order)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points, block after block from one generator."""
        return self._placed(torch.cat([block.sample(n, generator) for block in self.parts()], dim=1))

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z: the sum over blocks."""
        ordered = z if self._order is None else z[:, self._order]
        parts = ordered.split([block.dim for block in self.parts()], dim=1)
        return torch.stack(
            [block.log_prob(part) for block, part in zip(self.parts(), parts, strict=True)]
        ).sum(0)

    def moments(self) -> Moments:
        """Mean and covariance, zero between blocks."""
        moments = [block.moments() for block in self.parts()]
        mean = torch.cat([m.mean for m in moments])
        covariance = torch.block_diag(*[m.covariance for m in moments])
        return Moments(self._placed(mean), self._placed(self._placed(covariance).T).T)

    @property
    def independent(self) -> bool:
        """Whether the dimensions within every block are independent."""
        return all(block.independent for block in self.parts())

    def marginals(self) -> list[Marginal]:
        """Return the blocks' marginals, each at its dimension."""
        found = [marginal for block in self.parts() for marginal in block.marginals()]
        return [found[i] for i in self._places()]

    def parts(self) -> list[Prior]:
        """Return the blocks."""
        return [block for block in self.blocks if isinstance(block, Prior)]

    def placed(self) -> list[tuple[list[int], Prior]]:
        """Return each block with the dimensions that it occupies."""
        order = list(range(self.dim) if self._order is None else self._order)
        found = []
        for block in self.parts():
            found.append((order[: block.dim], block))
            order = order[block.dim :]
        return found

    def _placed(self, values: Tensor) -> Tensor:
        """Move the last axis from the order of the blocks to that of the product."""
        return values if self._order is None else values[..., self._places()]

    def _places(self) -> list[int]:
        """Return, for each dimension, where it stands in the order of the blocks."""
        order = range(self.dim) if self._order is None else self._order
        return sorted(range(self.dim), key=order.__getitem__)


def _order(dims: Sequence[Sequence[int]], widths: Sequence[int]) -> list[int]:
    """Return the dimensions in the order of the blocks, checked to be all of them once."""
    if len(dims) != len(widths):
        raise InputError(f"dims: {len(dims)} lists received; give one for each of {len(widths)} blocks")
    owner: dict[int, int] = {}
    total = sum(widths)
    for block, (taken, width) in enumerate(zip(dims, widths, strict=True)):
        for dim in taken:
            if isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim < total:
                raise InputError(
                    f"dims: {dim!r} received for block {block}; dimensions are 0 to {total - 1}, and "
                    f"{_missing(dims, total)}"
                )
            if dim in owner:
                raise InputError(
                    f"dims: dimension {dim} is taken by blocks {owner[dim]} and {block}; give it to one"
                )
            owner[dim] = block
        if len(taken) != width:
            raise InputError(
                f"dims: {len(taken)} dimensions received for block {block}, which has {width}; "
                f"{_missing(dims, total)}"
            )
    return [dim for taken in dims for dim in taken]


def _missing(dims: Sequence[Sequence[int]], total: int) -> str:
    """Say which dimensions no block takes."""
    gap = sorted(set(range(total)) - {dim for taken in dims for dim in taken})
    if not gap:
        return "no other is left to take"
    return f"no block takes dimension {', '.join(map(str, gap))}"


class Affine(Prior):
    """z = A x + shift for x from a base prior.

    Marginals exist where the base is Gaussian, whatever A, and where every row of A has one entry
    other than zero.

    Args:
        base: the prior of x.
        matrix: A, (d, d of the base).
        shift: one number, or one a dimension.

    Raises:
        InputError: a matrix of another width than the base, or a shift that is not d long.
    """

    def __init__(
        self,
        base: Prior,
        matrix: Tensor | Sequence[Sequence[float]],
        shift: float | Sequence[float] = 0.0,
    ) -> None:
        table = numbers("matrix", matrix)
        if table.ndim != 2 or table.shape[1] != base.dim or not bool(torch.isfinite(table).all()):
            raise InputError(
                f"matrix: shape {tuple(table.shape)} received; give rows of {base.dim} finite numbers "
                "(the base's dim)"
            )
        super().__init__(len(table))
        self.base = base
        self.register_buffer("matrix", table.clone())
        self.register_buffer("shift", self._vector("shift", shift))
        self.matrix: Tensor
        self.shift: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return full_matmul(self.base.sample(n, generator), self.matrix.T) + self.shift

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z: that of the base at x, less log |det A|.

        Raises:
            InputError: a matrix that is not square and invertible, or a base without density.
        """
        if self.dim != self.base.dim:
            raise InputError(f"matrix: {tuple(self.matrix.shape)} has no log_prob; it must be square")
        matrix = self.matrix.to(z)
        log_det = torch.linalg.slogdet(matrix).logabsdet
        if not bool(torch.isfinite(log_det)):
            raise InputError("matrix: singular, so there is no log_prob; give an invertible one")
        x = torch.linalg.solve(matrix, (z - self.shift.to(z)).T).T
        return self.base.log_prob(x) - log_det

    def moments(self) -> Moments:
        """Mean and covariance, A m + shift and A C A'."""
        moments = self.base.moments()
        covariance = full_matmul(full_matmul(self.matrix, moments.covariance), self.matrix.T)
        return Moments(full_matmul(self.matrix, moments.mean[:, None])[:, 0] + self.shift, covariance)

    @property
    def independent(self) -> bool:
        """Whether the base is, and every dimension of z has one of x to itself."""
        return self.base.independent and self._one_to_one() and bool((self._used().sum(0) <= 1).all())

    def marginals(self) -> list[Marginal]:
        """Return the marginals, of a Gaussian base or of single entries rescaled.

        Raises:
            InputError: neither.
        """
        if self._one_to_one():
            marginals, source = self.base.marginals(), self._used().int().argmax(1)
            factors = self.matrix.gather(1, source[:, None])[:, 0]
            rows = zip(source.tolist(), factors.tolist(), self.shift.tolist(), strict=True)
            return [_rescaled(marginals[j], factor, shift) for j, factor, shift in rows]
        if is_gaussian(self.base):
            moments = self.moments()
            variances = moments.covariance.diagonal()
            if bool((variances > 0).all()):
                return one_each(NormalMarginal, moments.mean, variances.sqrt())
        return super().marginals()

    def _used(self) -> Tensor:
        return self.matrix != 0

    def _one_to_one(self) -> bool:
        return bool((self._used().sum(1) == 1).all())


class Rotation(Affine):
    """A base prior turned by a fixed random rotation, uniform over SO(d).

    The rotation is the Q factor of a normal matrix with its signs made unique (Mezzadri, Notices AMS
    54, 2007), drawn on the CPU in float64, so that a seed means the same rotation everywhere.

    Args:
        base: the prior to turn.
        seed: of the rotation.
    """

    def __init__(self, base: Prior, seed: int = 0) -> None:
        super().__init__(base, _rotation(base.dim, seed))


class Transform(Prior):
    """z = fn(x) for x from a base prior.

    One draw is taken at construction, so that a function that cannot serve fails there. Equal
    generator states give equal draws as long as fn itself draws nothing.

    Args:
        base: the prior of x.
        fn: a function of an (n, d of the base) tensor that returns (n, d).
        dim: number of dimensions d; that of the first draw by default.

    Raises:
        InputError: not callable, or draws that are not a finite floating (n, dim) tensor.
    """

    def __init__(self, base: Prior, fn: Callable[[Tensor], Tensor], dim: int | None = None) -> None:
        if not callable(fn):
            raise InputError(f"fn: {fn!r} received; give a function of an (n, {base.dim}) tensor")
        super().__init__(_width(base, fn) if dim is None else dim)
        self.base = base
        self.fn = fn
        check_draws(self)

    @property
    def _name(self) -> str:
        fn = getattr(self.fn, "func", self.fn)
        return f"transform {getattr(fn, '__name__', type(fn).__name__)}"

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        with torch.no_grad():
            draws = self.fn(self.base.sample(n, generator))
        return check(draws, n, self.dim, self._name).to(self.device, self.dtype)


def is_gaussian(prior: Prior) -> bool:
    """Log whether a prior is known to be jointly Gaussian."""
    if isinstance(prior, (FullGaussian, LowRankGaussian)):
        return True
    if isinstance(prior, Affine):
        return is_gaussian(prior.base)
    if isinstance(prior, Product):
        return all(is_gaussian(block) for block in prior.parts())
    if isinstance(prior, Correlated) or prior.independent:
        return all(isinstance(marginal, NormalMarginal) for marginal in prior.marginals())
    return False


def _rescaled(marginal: Marginal, factor: float, shift: float) -> Marginal:
    """Return the distribution of shift + factor X, in X's own family where it is closed under that."""
    if isinstance(marginal, NormalMarginal):
        return NormalMarginal(shift + factor * marginal.mean, abs(factor) * marginal.scale)
    if isinstance(marginal, UniformMarginal):
        return UniformMarginal(*sorted([shift + factor * marginal.low, shift + factor * marginal.high]))
    if isinstance(marginal, AtomsMarginal):
        atoms, order = (shift + factor * marginal.atoms).sort()
        return AtomsMarginal(atoms, marginal.weights[order])
    if isinstance(marginal, MixtureMarginal):
        return MixtureMarginal(marginal.weights, [_rescaled(part, factor, shift) for part in marginal.parts])
    return AffineMarginal(marginal, factor, shift)


def _rotation(dim: int, seed: int) -> Tensor:
    normal = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    q[:, 0] *= torch.sign(torch.linalg.det(q))
    return q


def _width(base: Prior, fn: Callable[[Tensor], Tensor]) -> int:
    with torch.no_grad(), torch.random.fork_rng([]):
        draws = fn(base.sample(8))
    if not isinstance(draws, Tensor) or draws.ndim != 2:
        shape = tuple(draws.shape) if isinstance(draws, Tensor) else type(draws).__name__
        raise InputError(f"fn: {shape} returned; return (n, d) numbers")
    return draws.shape[1]

"""Priors made from other priors: products, affine maps, rotations and functions of draws."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.precision import full_matmul
from mmdprior.priors.arguments import number_table
from mmdprior.priors.copula import Correlated
from mmdprior.priors.gaussian import FullGaussian, LowRankGaussian
from mmdprior.priors.marginals import (
    AffineMarginal,
    AtomsMarginal,
    MixtureMarginal,
    NormalMarginal,
    UniformMarginal,
    per_dimension,
)
from mmdprior.priors.prior import (
    Marginal,
    Moments,
    Prior,
    check_draws,
    function_name,
    output_width,
    require_draws,
)
from mmdprior.tracing import is_traced

__all__ = ["Affine", "Product", "Rotation", "Transform"]


class Product(Prior):
    """Independent blocks, each with a prior of its dimensions.

    Args:
        blocks: priors of the blocks. By default the first block has the first dimensions, and so on.
        dims: dimensions of the product that each block fills, one list per block.

    Raises:
        InputError: there are no blocks, or the lists of dims do not assign every dimension to one block.

    Example:
        >>> from mmdprior.priors import Gaussian, GaussianMixture, Product
        >>> prior = Product([GaussianMixture.ring(6), Gaussian(3)])
        >>> prior.sample(10).shape
        torch.Size([10, 5])
        >>> swapped = Product([Gaussian(1, mean=7.0), Gaussian(1)], dims=[[1], [0]])
        >>> swapped.moments().mean.tolist()
        [0.0, 7.0]
    """

    def __init__(self, blocks: Sequence[Prior], dims: Sequence[Sequence[int]] | None = None) -> None:
        if not blocks:
            raise InputError("blocks: an empty list received; give at least one prior")
        super().__init__(sum(block.dim for block in blocks))
        order = range(self.dim) if dims is None else _order(dims, [block.dim for block in blocks])
        self.blocks = nn.ModuleList(blocks)
        # Dimensions of the product in the order of the blocks; None where that is 0, 1, .., d - 1.
        self._order: list[int] | None = None if list(order) == list(range(self.dim)) else list(order)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points, one block after another from the same generator."""
        draws = [block.sample(n, generator) for block in self.parts()]
        return self._to_product_order(torch.cat(draws, dim=1))

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z: the sum over blocks."""
        ordered = z if self._order is None else z[:, self._order]
        columns = ordered.split([block.dim for block in self.parts()], dim=1)
        return torch.stack(
            [block.log_prob(part) for block, part in zip(self.parts(), columns, strict=True)]
        ).sum(0)

    def moments(self) -> Moments:
        """Return mean and covariance; covariances between blocks are zero."""
        moments = [block.moments() for block in self.parts()]
        mean = torch.cat([m.mean for m in moments])
        covariance = torch.block_diag(*[m.covariance for m in moments])
        rows_ordered = self._to_product_order(covariance).T
        return Moments(self._to_product_order(mean), self._to_product_order(rows_ordered).T)

    @property
    def independent(self) -> bool:
        """Whether the dimensions within every block are independent."""
        return all(block.independent for block in self.parts())

    def marginals(self) -> list[Marginal]:
        """Return the marginals of the blocks, in the order of the product's dimensions."""
        in_block_order = [marginal for block in self.parts() for marginal in block.marginals()]
        return [in_block_order[i] for i in self._positions()]

    def parts(self) -> list[Prior]:
        """Return the priors of the blocks."""
        return [block for block in self.blocks if isinstance(block, Prior)]

    def placed(self) -> list[tuple[list[int], Prior]]:
        """Return for each block the dimensions that it fills, and its prior."""
        order = list(range(self.dim) if self._order is None else self._order)
        blocks = []
        for block in self.parts():
            blocks.append((order[: block.dim], block))
            order = order[block.dim :]
        return blocks

    def _to_product_order(self, values: Tensor) -> Tensor:
        """Move the last axis from the order of the blocks to that of the product's dimensions."""
        return values if self._order is None else values[..., self._positions()]

    def _positions(self) -> list[int]:
        """Return the position of each dimension of the product in the order of the blocks."""
        order = range(self.dim) if self._order is None else self._order
        return sorted(range(self.dim), key=order.__getitem__)


def _order(dims: Sequence[Sequence[int]], widths: Sequence[int]) -> list[int]:
    """Return the dimensions in the order of the blocks, after checking that each appears once."""
    if len(dims) != len(widths):
        raise InputError(f"dims: {len(dims)} lists received; give one for each of {len(widths)} blocks")
    owner: dict[int, int] = {}
    total = sum(widths)
    for block, (block_dims, width) in enumerate(zip(dims, widths, strict=True)):
        for dim in block_dims:
            if isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim < total:
                raise InputError(
                    f"dims: {dim!r} received for block {block}; dimensions are 0 to {total - 1}, and "
                    f"{_unassigned(dims, total)}"
                )
            if dim in owner:
                raise InputError(
                    f"dims: dimension {dim} is in blocks {owner[dim]} and {block}; assign it to one"
                )
            owner[dim] = block
        if len(block_dims) != width:
            raise InputError(
                f"dims: {len(block_dims)} dimensions received for block {block}, which has {width}; "
                f"{_unassigned(dims, total)}"
            )
    return [dim for block_dims in dims for dim in block_dims]


def _unassigned(dims: Sequence[Sequence[int]], total: int) -> str:
    """Return a phrase that lists the dimensions that no block has."""
    missing = sorted(set(range(total)) - {dim for block_dims in dims for dim in block_dims})
    if not missing:
        return "every dimension is already assigned"
    return f"no block has dimension {', '.join(map(str, missing))}"


class Affine(Prior):
    """The distribution of z = A x + shift, for x from a base prior.

    ``marginals`` exist where the base is Gaussian, and where every row of A has exactly one nonzero entry.

    Args:
        base: prior of x.
        matrix: A, (d, dim of the base).
        shift: shift, one number or one per dimension.

    Raises:
        InputError: the matrix does not have one column per dimension of the base, or the shift is not d long.

    Example:
        >>> from mmdprior.priors import Affine, Uniform
        >>> prior = Affine(Uniform(2), [[1.0, 1.0], [0.0, 3.0]], shift=[5.0, 0.0])
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> prior.moments().mean.tolist()
        [5.0, 0.0]
    """

    def __init__(
        self,
        base: Prior,
        matrix: Tensor | Sequence[Sequence[float]],
        shift: float | Sequence[float] = 0.0,
    ) -> None:
        expected = f"rows of {base.dim} finite numbers (the base's dim)"
        table = number_table("matrix", matrix, expected, columns=base.dim)
        super().__init__(len(table))
        self.base = base
        self.register_buffer("matrix", table)
        self.register_buffer("shift", self._vector("shift", shift))
        self.matrix: Tensor
        self.shift: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return full_matmul(self.base.sample(n, generator), self.matrix.T) + self.shift

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z: log p(x) - log |det A|.

        Raises:
            InputError: the matrix is not square or not invertible, or the base has no density.
        """
        if self.dim != self.base.dim:
            raise InputError(f"matrix: {tuple(self.matrix.shape)} has no log_prob; it must be square")
        matrix = self.matrix.to(z)
        log_det = torch.linalg.slogdet(matrix).logabsdet
        if not is_traced() and not bool(torch.isfinite(log_det)):
            raise InputError("matrix: singular, so there is no log_prob; give an invertible one")
        # The variant that does not check for singular matrices, and so does not wait for a GPU.
        x = torch.linalg.solve_ex(matrix, (z - self.shift.to(z)).T).result.T
        return self.base.log_prob(x) - log_det

    def moments(self) -> Moments:
        """Return mean A m + shift and covariance A C A', for mean m and covariance C of the base."""
        moments = self.base.moments()
        covariance = full_matmul(full_matmul(self.matrix, moments.covariance), self.matrix.T)
        return Moments(full_matmul(self.matrix, moments.mean[:, None])[:, 0] + self.shift, covariance)

    @property
    def independent(self) -> bool:
        """Whether the base is, and every dimension of z depends on one dimension of x that no other uses."""
        uses = (self.matrix != 0).sum(0)
        return self.base.independent and self._rescales_only() and bool((uses <= 1).all())

    def marginals(self) -> list[Marginal]:
        """Return the rescaled marginals of the base, or normal ones where the base is Gaussian.

        Raises:
            InputError: a row of A mixes dimensions of a base that is not Gaussian.
        """
        if self._rescales_only():
            marginals, source = self.base.marginals(), (self.matrix != 0).int().argmax(1)
            factors = self.matrix.gather(1, source[:, None])[:, 0]
            rows = zip(source.tolist(), factors.tolist(), self.shift.tolist(), strict=True)
            return [_rescaled(marginals[j], factor, shift) for j, factor, shift in rows]
        if _is_gaussian(self.base):
            moments = self.moments()
            variances = moments.covariance.diagonal()
            # A row of zeros gives a constant, which is not a normal distribution.
            if bool((variances > 0).all()):
                return per_dimension(NormalMarginal, moments.mean, variances.sqrt())
        return super().marginals()

    def _rescales_only(self) -> bool:
        """Return whether every dimension of z is a multiple of one dimension of x, plus the shift."""
        return bool(((self.matrix != 0).sum(1) == 1).all())


def _is_gaussian(prior: Prior) -> bool:
    """Return whether a prior is known to be jointly Gaussian."""
    if isinstance(prior, (FullGaussian, LowRankGaussian)):
        return True
    if isinstance(prior, Affine):
        return _is_gaussian(prior.base)
    if isinstance(prior, Product):
        return all(_is_gaussian(block) for block in prior.parts())
    if isinstance(prior, Correlated) or prior.independent:
        return all(isinstance(marginal, NormalMarginal) for marginal in prior.marginals())
    return False


def _rescaled(marginal: Marginal, factor: float, shift: float) -> Marginal:
    """Return the distribution of shift + factor X, in the family of X where that contains it.

    Families of this package keep their closed forms; atoms stay exact.
    """
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


class Rotation(Affine):
    """A base prior rotated by a fixed random rotation, uniform over SO(d).

    Args:
        base: prior to rotate.
        seed: seed of the rotation. A seed gives the same rotation on every device.

    Example:
        >>> from mmdprior.priors import Laplace, Rotation
        >>> prior = Rotation(Laplace(3), seed=1)
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> round(float(prior.matrix.det()), 4)
        1.0
    """

    def __init__(self, base: Prior, seed: int = 0) -> None:
        super().__init__(base, _random_rotation(base.dim, seed))


def _random_rotation(dim: int, seed: int) -> Tensor:
    """Return the Q factor of a normal matrix with unique signs (Mezzadri, Notices AMS 54, 2007)."""
    normal = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    # A positive diagonal of R makes Q unique and therefore uniform over the orthogonal group O(d).
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    # A reflection (determinant -1) becomes a rotation.
    q[:, 0] *= torch.sign(torch.linalg.det(q))
    return q


class Transform(Prior):
    """The distribution of z = fn(x), for x from a base prior.

    The constructor draws once, so that a function with wrong output fails there. Equal generator states give
    equal draws if fn draws no random numbers itself.

    Args:
        base: prior of x.
        fn: function that maps an (n, dim of the base) tensor to (n, d).
        dim: number of dimensions d; by default that of the first draw.

    Raises:
        InputError: fn is not callable, or does not return finite floating-point (n, dim) tensors.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Gaussian, Transform
        >>> prior = Transform(Gaussian(2), torch.exp)
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> bool((prior.sample(10) > 0).all())
        True
    """

    def __init__(self, base: Prior, fn: Callable[[Tensor], Tensor], dim: int | None = None) -> None:
        if not callable(fn):
            raise InputError(f"fn: {fn!r} received; give a function of an (n, {base.dim}) tensor")
        super().__init__(output_width(lambda: fn(base.sample(8)), "fn") if dim is None else dim)
        self.base = base
        self.fn = fn
        check_draws(self)

    @property
    def _name(self) -> str:
        return f"transform {function_name(self.fn)}"

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        with torch.no_grad():
            draws = self.fn(self.base.sample(n, generator))
        return require_draws(draws, n, self.dim, self._name).to(self.device, self.dtype)

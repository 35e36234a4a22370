"""From N(0, I) to a prior: exact maps where they are known, and what atoms and surfaces need."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection, Blocks, Chain
from mmdprior.flows.exact import BallMap, MixtureMap
from mmdprior.flows.linear import FixedLinear
from mmdprior.flows.marginals import MarginalMap, has_atoms
from mmdprior.priors import (
    Affine,
    Ball,
    Correlated,
    Factorized,
    FullGaussian,
    GaussianMixture,
    GroupSparse,
    LowRankGaussian,
    Prior,
    Product,
    Sphere,
)
from mmdprior.priors.marginals import AtomsMarginal, MixtureMarginal, NormalMarginal, UniformMarginal
from mmdprior.priors.prior import Marginal
from mmdprior.seeding import stream

__all__ = ["Dequantized", "Hazy", "dequantized", "gaussian_to"]

_HAZE = 0.05
"""Standard deviation of added noise, in units of the standard deviation of the prior."""

_ATOM_DRAWS, _ATOM_SHARE = 4096, 0.01
"""Draws searched for repeated values, and the share of distinct draws that one value may have."""


def gaussian_to(prior: Prior, fit: Callable[[Prior], Bijection] | None = None) -> Bijection | None:
    """Return a bijection that sends N(0, I) to a prior.

    It is exact for independent continuous dimensions, Gaussians, mixtures of Gaussians, Gaussian copulas,
    balls, groups with noise, and for affine maps and products of these.

    Args:
        prior: prior to reach.
        fit: used for every block of the prior without an exact map.

    Returns:
        The map; None where no exact one is known and ``fit`` is not given.

    Raises:
        InputError: the prior has atoms, so that no bijection reaches it.

    Example:
        >>> import torch
        >>> from mmdprior.flows import gaussian_to
        >>> from mmdprior.priors import Uniform
        >>> gaussian_to(Uniform(2))(torch.zeros(1, 2)).tolist()
        [[0.0, 0.0]]
    """
    if isinstance(prior, Product):
        return _product(prior, fit)
    if prior.independent:
        marginals = prior.marginals()
        if any(has_atoms(marginal) for marginal in marginals):
            raise InputError(_atoms_message(prior))
        return MarginalMap(marginals)
    exact = _dependent(prior, fit)
    if exact is not None or fit is None:
        return exact
    if _draws_repeat(prior):
        raise InputError(_atoms_message(prior))
    return fit(prior)


def _dependent(prior: Prior, fit: Callable[[Prior], Bijection] | None) -> Bijection | None:
    """Return the exact map to a prior with dependent dimensions, if it is known."""
    match prior:
        case FullGaussian():
            return FixedLinear(prior.dim, prior.factor, shift=prior.mean)
        case LowRankGaussian():
            factor = torch.linalg.cholesky(prior.covariance.double())
            return FixedLinear(prior.dim, factor, shift=prior.mean)
        case GaussianMixture():
            return MixtureMap(*prior.components())
        case Ball():
            return BallMap(prior.dim, prior.radius)
        case Correlated():
            marginals = prior.marginals()
            if any(has_atoms(marginal) for marginal in marginals):
                raise InputError(_atoms_message(prior))
            return Chain([FixedLinear(prior.dim, prior.factor), MarginalMap(marginals)])
        case GroupSparse():
            if prior.noise == 0:
                raise InputError(_atoms_message(prior))
            return _groups(prior)
        case Affine() if prior.dim == prior.base.dim:
            base = gaussian_to(prior.base, fit)
            linear = FixedLinear(prior.dim, prior.matrix, shift=prior.shift)
            return None if base is None else Chain([base, linear])
    return None


def _product(prior: Product, fit: Callable[[Prior], Bijection] | None) -> Bijection | None:
    placed = prior.placed()
    maps = [gaussian_to(block, fit) for _, block in placed]
    known = [map for map in maps if map is not None]
    return Blocks(known, [dims for dims, _ in placed]) if len(known) == len(maps) else None


def _groups(prior: GroupSparse) -> Bijection:
    """Return one map per group: an active or inactive group is a mixture of two Gaussians around zero."""
    size = prior.group_size
    weights = torch.tensor([prior.probability, 1 - prior.probability])
    scales = torch.tensor([[prior.scale], [prior.noise]]).expand(2, size)
    maps = [MixtureMap(weights, torch.zeros(2, size), scales) for _ in range(prior.dim // size)]
    return Blocks(maps, [list(range(i, i + size)) for i in range(0, prior.dim, size)])


def _atoms_message(prior: Prior) -> str:
    return (
        f"prior: {type(prior).__name__} has values of positive probability, which no invertible map of "
        "continuous codes reaches; set dequantize (--dequantize) to spread each over a cell"
    )


def _draws_repeat(prior: Prior) -> bool:
    """Return whether some value of a dimension is repeated in more than 1 % of the distinct draws."""
    draws = prior.sample(_ATOM_DRAWS, stream(0, "atoms", device=prior.device)).unique(dim=0)
    for column in draws.T:
        counts = column.unique(return_counts=True)[1]
        if len(draws) < _ATOM_DRAWS * _ATOM_SHARE or int(counts.max()) > max(1, _ATOM_SHARE * len(draws)):
            return True
    return False


class Dequantized(Factorized):
    """Independent dimensions with given marginals, such as cells that replace the values of a grid.

    Args:
        marginals: one distribution per dimension.

    Example:
        >>> from mmdprior.flows import Dequantized
        >>> from mmdprior.priors import Uniform
        >>> Dequantized(Uniform(3).marginals()).sample(10).shape
        torch.Size([10, 3])
    """

    def __init__(self, marginals: Sequence[Marginal]) -> None:
        super().__init__(len(marginals))
        self._marginals = list(marginals)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points: the quantiles of uniform draws."""
        u = self._uniform((n, self.dim), generator).double().clamp(min=2.0**-54)
        columns = [marginal.quantile(u[:, i]) for i, marginal in enumerate(self._marginals)]
        return torch.stack(columns, 1).to(self.dtype)

    def marginals(self) -> list[Marginal]:
        """Return the given distributions."""
        return self._marginals


class Hazy(Prior):
    """A prior plus normal noise, so that one on a curve or surface has a density.

    Args:
        base: prior to draw from.
        noise: standard deviation of the noise.

    Example:
        >>> from mmdprior.flows import Hazy
        >>> from mmdprior.priors import Sphere
        >>> Hazy(Sphere(3), 0.05).sample(10).shape
        torch.Size([10, 3])
    """

    def __init__(self, base: Prior, noise: float) -> None:
        super().__init__(base.dim)
        self.base, self.noise = base, noise

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points of the base and add noise."""
        return self.base.sample(n, generator) + self.noise * self._normal((n, self.dim), generator)


def dequantized(prior: Prior) -> Prior:
    """Return the nearest prior with a density: values become cells, and surfaces get normal noise.

    A value becomes the uniform distribution on the cell that is closer to it than to the other values, so
    that rounding z to the nearest value gives the prior itself. A grid becomes its box. The zero of a spike
    becomes N(0, (0.05 slab)^2). Other priors get normal noise of 0.05 of their standard deviation.

    Args:
        prior: any prior; one with a density is returned as it is.

    Example:
        >>> from mmdprior.flows import dequantized
        >>> from mmdprior.priors import Bernoulli
        >>> draws = dequantized(Bernoulli(3)).sample(1000)
        >>> bool((draws > -0.5).all()), bool((draws < 1.5).all())
        (True, True)
    """
    match prior:
        case Product():
            placed = prior.placed()
            return Product([dequantized(block) for _, block in placed], [dims for dims, _ in placed])
        case GroupSparse() if prior.noise == 0 and not prior.independent:
            return GroupSparse(
                prior.dim, prior.group_size, prior.probability, prior.scale, _HAZE * prior.scale
            )
        case Affine() if prior.dim == prior.base.dim:
            return Affine(dequantized(prior.base), prior.matrix, prior.shift.tolist())
        case Correlated() if any(has_atoms(marginal) for marginal in prior.marginals()):
            return Correlated(Dequantized([_spread(m) for m in prior.marginals()]), prior.correlation)
    if prior.independent:
        marginals = prior.marginals()
        return Dequantized([_spread(m) for m in marginals]) if any(map(has_atoms, marginals)) else prior
    return hazy(prior) if _on_surface(prior) or _draws_repeat(prior) else prior


def hazy(prior: Prior) -> Prior:
    """Return a prior with normal noise of 0.05 of its standard deviation, so that it has a density."""
    draws = prior.sample(_ATOM_DRAWS, stream(0, "haze", device=prior.device))
    return Hazy(prior, _HAZE * float(draws.std(0).mean()))


def _on_surface(prior: Prior) -> bool:
    """Return whether a prior is known to have no density because it is on a curve or surface."""
    return isinstance(prior, Sphere) or getattr(prior, "noise", None) == 0


def _spread(marginal: Marginal) -> Marginal:
    """Return a continuous distribution close to one with atoms."""
    if isinstance(marginal, AtomsMarginal):
        return _cells(marginal)
    if not isinstance(marginal, MixtureMarginal) or not has_atoms(marginal):
        return marginal
    scale = max((part.scale for part in marginal.parts if isinstance(part, NormalMarginal)), default=1.0)
    parts: list[Marginal] = []
    weights: list[float] = []
    for weight, part in zip(marginal.weights, marginal.parts, strict=True):
        atoms = part.atoms.tolist() if isinstance(part, AtomsMarginal) else None
        if atoms is None:
            parts, weights = [*parts, part], [*weights, weight]
        else:
            parts += [NormalMarginal(atom, _HAZE * scale) for atom in atoms]
            weights += [weight * float(share) for share in part.weights]  # type: ignore[attr-defined]
    return MixtureMarginal(weights, parts)


def _cells(marginal: AtomsMarginal) -> Marginal:
    """Return the mixture of uniform distributions on the cells around the atoms."""
    atoms = marginal.atoms.double()
    if len(atoms) == 1:
        return UniformMarginal(float(atoms) - 0.5, float(atoms) + 0.5)
    middles = (atoms[1:] + atoms[:-1]) / 2
    # The outer cells are as wide on their outer side as on their inner side.
    edges = torch.cat([2 * atoms[:1] - middles[:1], middles, 2 * atoms[-1:] - middles[-1:]])
    widths = edges.diff()
    if torch.allclose(marginal.weights.double() * widths.sum(), widths, rtol=1e-6):
        return UniformMarginal(float(edges[0]), float(edges[-1]))
    cells = [UniformMarginal(*pair) for pair in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    return MixtureMarginal(marginal.weights.tolist(), cells)

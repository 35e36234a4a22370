"""Conditional priors p(z | s): the distribution of a code, given labels of its image.

==================  ====================================================================================
`Factors`           labels on chosen dimensions, with noise; the other dimensions follow a free prior
`PerClass`          a prior per class of one label
`ClassMixture`      a mixture of Gaussians whose components are the classes of one label
==================  ====================================================================================
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.priors.compose import Product
from mmdprior.priors.factor import Factor, as_factors, columns_of, label_values, labels_of_factors
from mmdprior.priors.gaussian import Gaussian
from mmdprior.priors.mixture import GaussianMixture, probabilities
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = ["ClassMixture", "ConditionalPrior", "Factors", "Given", "PerClass"]


class ConditionalPrior(Prior):
    """A prior that also has a distribution p(z | s) for every value s of some labels.

    A subclass sets ``factors`` and writes `sample`, with the argument ``given``. Without it, `sample` draws
    from the marginal p(z), labels included. `mmdprior.regularizers.ConditionalMMD` compares codes with
    ``sample(n, given=labels)``.

    Attributes:
        factors: the labels, in the order of the columns of ``given``, each with its dimensions.

    Example:
        Codes whose mean is the label:

        >>> import torch
        >>> from mmdprior.priors import ConditionalPrior, Factor
        >>> class Shifted(ConditionalPrior):
        ...     factors = (Factor("age", (0,), "continuous", low=0.0, high=100.0),)
        ...     def sample(self, n, generator=None, given=None):
        ...         if given is None:
        ...             given = 100 * self._uniform((n, 1), generator)
        ...         return given + self._normal((n, 1), generator)
        >>> Shifted(1).sample(3, given=torch.tensor([[20.0], [40.0], [60.0]])).shape
        torch.Size([3, 1])
    """

    factors: tuple[Factor, ...]

    @abstractmethod
    def sample(
        self, n: int, generator: torch.Generator | None = None, given: Tensor | None = None
    ) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n independent points; equal generator states give equal draws.

        Args:
            n: number of draws.
            generator: source of randomness; torch's global generator by default.
            given: (n, k) values of the labels, one row per draw; NaN in floating-point labels, and negative
                numbers in integer ones, are missing and drawn from their distribution. None, the default,
                for labels that are all missing.
        """

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the columns of ``given``."""
        return tuple(factor.name for factor in self.factors)

    def read(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the labels that codes have under the prior, one column per label."""
        columns = [factor.read(columns_of(z, factor.dims)) for factor in self.factors]
        return torch.stack(columns, 1)

    def _values(self, n: int, given: Tensor) -> Tensor:
        """Return labels as floating-point numbers on the device, NaN where missing."""
        if given.shape != (n, len(self.factors)):
            raise InputError(
                f"given: shape {tuple(given.shape)} received; give ({n}, {len(self.factors)}), one column "
                f"per label: {', '.join(self.label_names)}"
            )
        return label_values(given, self.dtype).to(self.device)


class Given(Prior):
    """A conditional prior given fixed values of some labels.

    Args:
        prior: conditional prior.
        values: values by name of the label; labels without one are drawn from their distribution.

    Raises:
        InputError: the prior is not conditional, or has no such label or value.

    Example:
        >>> from mmdprior.priors import ClassMixture, GaussianMixture, Given
        >>> threes = Given(ClassMixture(GaussianMixture.ring(10), label="digit"), {"digit": 3})
        >>> threes.prior.read(threes.sample(4)).flatten().tolist()
        [3.0, 3.0, 3.0, 3.0]
    """

    def __init__(self, prior: Prior, values: Mapping[str, int | float]) -> None:
        if not isinstance(prior, ConditionalPrior):
            raise InputError(f"given: {type(prior).__name__} has no labels; give a conditional prior")
        super().__init__(prior.dim)
        known = prior.label_names
        for name in values:
            if name not in known:
                raise InputError(f"given: {name!r} received; the labels of the prior are {', '.join(known)}")
        row = [float(values.get(name, torch.nan)) for name in known]
        self.prior = prior
        self.register_buffer("row", torch.tensor([row]))
        self.row: Tensor
        fixed = [factor for factor in prior.factors if factor.name in values]
        labels_of_factors(fixed, known, self.row)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.prior.sample(n, generator, self.row.expand(n, -1))


class Factors(Product, ConditionalPrior):
    """Labels on chosen dimensions, with noise; the remaining dimensions follow a free prior.

    Given a label s, its dimensions are T(s) + noise, where T is `Factor.positions`. Without labels, this is
    the product of the mixtures over all values and the free prior. A continuous factor has a mixture of 64
    components.

    Args:
        dim: number of dimensions d.
        factors: settings by name of the label, those of `Factor`: ``{scale: {dims: [1], kind: ordinal,
            levels: 6, noise: 0.05}}``; or a list of `Factor`.
        rest: prior of the remaining dimensions, in their order; N(0, I) by default.

    Raises:
        InputError: settings that do not suit, a dimension out of range or in two factors, or a free prior of
            another dimension.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Factors
        >>> prior = Factors(3, {"x": {"dims": [1], "kind": "ordinal", "levels": 3, "noise": 0.01}})
        >>> prior.sample(2, given=torch.tensor([[0], [2]]))[:, 1].round(decimals=1).tolist()
        [-1.2..., 1.2...]
        >>> prior.sample(5).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        dim: int,
        factors: Mapping[str, Mapping[str, Any]] | Sequence[Factor],
        rest: Prior | None = None,
    ) -> None:
        known = as_factors(factors)
        taken = [d for factor in known for d in factor.dims]
        for factor in known:
            if max(factor.dims) >= dim:
                raise InputError(
                    f"factors.{factor.name}.dims: {list(factor.dims)} received; dimensions are 0 to {dim - 1}"
                )
        free = [d for d in range(dim) if d not in taken]
        if rest is None:
            rest = Gaussian(len(free)) if free else None
        elif rest.dim != len(free):
            raise InputError(f"rest: dim {rest.dim} received; the factors leave {len(free)} dimensions")
        blocks = [_mixture(factor) for factor in known]
        dims = [list(factor.dims) for factor in known]
        super().__init__([*blocks, *([rest] if rest else [])], [*dims, *([free] if rest else [])])
        self.factors = tuple(known)

    def sample(
        self, n: int, generator: torch.Generator | None = None, given: Tensor | None = None
    ) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points; see `ConditionalPrior.sample`."""
        if given is None:
            return super().sample(n, generator)
        values = self._values(n, given)
        blocks, columns = self.parts(), []
        for factor, block, value in zip(self.factors, blocks, values.unbind(1), strict=False):
            # Draws of rows with a missing value are those of the mixture over all values.
            free = block.sample(n, generator)
            near = factor.positions(value) + factor.noise * self._normal((n, block.dim), generator)
            columns.append(torch.where(value.isnan()[:, None], free, near))
        columns += [block.sample(n, generator) for block in blocks[len(self.factors) :]]
        return columns_of(torch.cat(columns, 1), self._positions())


def _mixture(factor: Factor) -> GaussianMixture:
    """Return the distribution of the dimensions of a factor."""
    values, weights = factor.support()
    return GaussianMixture(factor.positions(values), factor.noise, weights)


class PerClass(ConditionalPrior):
    """A prior per class of one label: p(z | s = c) is the prior number c.

    Args:
        priors: one prior per class, all of the same dimension.
        label: name of the label.
        weights: probabilities of the classes; equal by default.

    Raises:
        InputError: fewer than two priors, or priors of different dimensions.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Gaussian, PerClass
        >>> prior = PerClass([Gaussian(2, mean=-5.0), Gaussian(2, mean=5.0)], label="digit")
        >>> (prior.sample(3, given=torch.tensor([[0], [1], [1]])) > 0).all(1).tolist()
        [False, True, True]
    """

    def __init__(
        self, priors: Sequence[Prior], label: str = "label", weights: Sequence[float] | None = None
    ) -> None:
        if len(priors) < 2:
            raise InputError(f"priors: {len(priors)} received; give one per class, at least 2")
        super().__init__(priors[0].dim)
        for number, prior in enumerate(priors):
            if prior.dim != self.dim:
                raise InputError(f"priors.{number}: dim {prior.dim} received; the first has {self.dim}")
        self.priors = nn.ModuleList(priors)
        self.register_buffer("weights", probabilities(weights, len(priors)))
        self.weights: Tensor
        self.factors = (_class_label(label, self.dim, len(priors)),)

    def sample(
        self, n: int, generator: torch.Generator | None = None, given: Tensor | None = None
    ) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points; see `ConditionalPrior.sample`. Every prior is drawn from n times."""
        drawn = _draw_classes(self.weights, self._uniform((n,), generator))
        classes = drawn if given is None else _with_missing(self._values(n, given)[:, 0], drawn)
        draws = torch.stack([prior.sample(n, generator) for prior in self._parts()], 1)
        return draws.gather(1, classes[:, None, None].expand(-1, 1, self.dim))[:, 0]

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z, of the mixture over classes."""
        return torch.logsumexp(self._joint(z), 1)

    def read(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        """Return the most probable class of each row of z, (n, 1)."""
        return self._joint(z).argmax(1, keepdim=True).to(z.dtype)

    def moments(self) -> Moments:
        """Return mean and covariance of the mixture over classes."""
        moments = [prior.moments() for prior in self._parts()]
        means = torch.stack([m.mean for m in moments])
        mean = self.weights @ means
        within = torch.einsum("c,cij->ij", self.weights, torch.stack([m.covariance for m in moments]))
        return Moments(mean, within + (means - mean).T @ (self.weights[:, None] * (means - mean)))

    def _joint(self, z: Tensor) -> Tensor:
        """Return log p(z, c), one column per class."""
        log_probs = torch.stack([prior.log_prob(z) for prior in self._parts()], 1)
        return log_probs + self.weights.to(z).log()

    def _parts(self) -> list[Prior]:
        return [prior for prior in self.priors if isinstance(prior, Prior)]


class ClassMixture(ConditionalPrior):
    """A mixture of Gaussians whose components are the classes of one label, in their order.

    Args:
        base: a mixture of Gaussians with diagonal covariances.
        label: name of the label.

    Raises:
        InputError: the base is no such mixture, or has one component.

    Example:
        >>> import torch
        >>> from mmdprior.priors import ClassMixture, GaussianMixture
        >>> prior = ClassMixture(GaussianMixture.ring(10), label="digit")
        >>> draws = prior.sample(3, given=torch.tensor([[7], [0], [3]]))
        >>> prior.read(draws).flatten().tolist()
        [7.0, 0.0, 3.0]
    """

    def __init__(self, base: Prior, label: str = "label") -> None:
        super().__init__(base.dim)
        count = len(base.components()[0])
        if count < 2:
            raise InputError("base: 1 component received; give one per class, at least 2")
        self.base = base
        self.factors = (_class_label(label, self.dim, count),)

    def sample(
        self, n: int, generator: torch.Generator | None = None, given: Tensor | None = None
    ) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points; see `ConditionalPrior.sample`."""
        weights, means, scales = self.base.components()
        drawn = _draw_classes(weights, self._uniform((n,), generator))
        classes = drawn if given is None else _with_missing(self._values(n, given)[:, 0], drawn)
        return means[classes] + scales[classes] * self._normal((n, self.dim), generator)

    def read(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        """Return the most probable class of each row of z, (n, 1)."""
        weights, means, scales = (part.to(z) for part in self.base.components())
        standardised = (z[:, None] - means) / scales
        joint = weights.log() - scales.log().sum(1) - 0.5 * standardised.square().sum(2)
        return joint.argmax(1, keepdim=True).to(z.dtype)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z."""
        return self.base.log_prob(z)

    def moments(self) -> Moments:
        """Return mean and covariance."""
        return self.base.moments()

    @property
    def independent(self) -> bool:
        """Whether the dimensions of the base are independent."""
        return self.base.independent

    def marginals(self) -> list[Marginal]:
        """Return the marginals of the base."""
        return self.base.marginals()

    def components(self) -> tuple[Float[Tensor, "k"], Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Return weights (k,), means (k, d) and standard deviations (k, d)."""
        return self.base.components()


def _class_label(name: str, dim: int, count: int) -> Factor:
    """Return the factor of a label on which all dimensions depend."""
    return ClassLabel(name, tuple(range(dim)), "discrete", levels=count)


class ClassLabel(Factor):
    """A label whose classes have distributions of all dimensions, in place of positions."""

    @property
    def has_positions(self) -> bool:
        """Whether every value has a position on the dimensions: no."""
        return False

    def _check_count(self, where: str) -> None:
        pass


def _draw_classes(weights: Tensor, uniform: Tensor) -> Tensor:
    """Return a class per uniform draw, by the inverse cdf of the weights."""
    # Without the last edge, 1 up to rounding, no index exceeds the last class.
    return torch.searchsorted(weights.cumsum(0)[:-1].contiguous(), uniform, right=True)


def _with_missing(values: Tensor, drawn: Tensor) -> Tensor:
    """Return given classes, and drawn ones where they are missing."""
    return torch.where(values.isnan(), drawn, values.nan_to_num(0.0).long())

"""MMD between codes and a conditional prior, given labels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.kernels import RBF, Kernel
from mmdprior.latent import Latent
from mmdprior.precision import full_precision
from mmdprior.priors.arguments import positive_int, positive_number
from mmdprior.priors.compose import Product
from mmdprior.priors.conditional import ConditionalPrior
from mmdprior.priors.factor import Factor, columns_of
from mmdprior.regularizers.label_penalty import LabelPenalty
from mmdprior.seeding import stream
from mmdprior.tracing import may_store_results

__all__ = ["ConditionalMMD"]


class ConditionalMMD(LabelPenalty):
    """MMD^2 between (z, s) and (y, s), where y ~ p(z | s) is drawn for the same labels s.

    The kernel is k(z, z') l(s, s'). With n rows and m draws y_i per row,

        MMD^2 = mean_{i != j} l(s_i, s_j) [k(z_i, z_j) - 2 k(z_i, y_j) + k(y_i, y_j)],

    where terms with y are means over its draws. It is unbiased, because pairs of a row with itself are left
    out of all three terms. l is equality of classes, and an RBF of the distance between ordinal, circular or
    continuous values. With equality it is sum_c pi_c^2 MMD^2(q(z|c), p(z|c)), pi_c the share of class c: a
    class with one row has no pair and does not contribute, and neither does a class without rows.

    ``terms`` has ``conditional_mmd``, the value, and ``conditional_<label>`` of every label.

    Args:
        prior: conditional prior: ``factors``, ``per_class``, ``class_mixture``, or your own.
        kernel: k; by default a sum of RBFs of length-scales 0.2, 0.5, 1 and 2.
        per_factor: whether to add one MMD per label, of the dimensions that hold it; False compares all
            dimensions given all labels at once, and leaves out rows with a missing label.
        draws: number m of prior draws per row.
        label_bandwidth: length-scale of l, as a share of the range of a label.
        normalise: divide by the mean of l over pairs, so that labels with many values have the same weight
            as those with few.
        seed: draw from the random stream of (seed, step). None, the default, draws from torch's global
            generator.

    Raises:
        InputError: the prior is not conditional, or an argument is out of range.

    Example:
        >>> from mmdprior.priors import ClassMixture, GaussianMixture
        >>> penalty = ConditionalMMD(ClassMixture(GaussianMixture.ring(10)), seed=0)
        >>> labels = torch.randint(10, (256, 1))
        >>> codes = penalty.prior.sample(256, given=labels)
        >>> bool(penalty(codes, labels=labels) < penalty(codes.flip(0), labels=labels))
        True
    """

    def __init__(
        self,
        prior: ConditionalPrior,
        kernel: Kernel | None = None,
        per_factor: bool = True,
        draws: int = 4,
        label_bandwidth: float = 0.1,
        normalise: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(prior)
        if kernel is not None and not isinstance(kernel, Kernel):
            raise InputError(f"kernel: {kernel!r} received; give a kernel of mmdprior.kernels, such as RBF()")
        self.kernel = RBF(1.0, factors=[0.04, 0.25, 1.0, 4.0]) if kernel is None else kernel
        self.per_factor = per_factor
        self.draws = positive_int("draws", draws)
        self.label_bandwidth = positive_number("label_bandwidth", label_bandwidth)
        self.normalise = normalise
        self.seed = seed
        self._groups = self._grouped(prior)
        self.kernels = nn.ModuleList(self._bound(dims) for _, dims, _ in self._groups)

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        holders = "; ".join(f"{name} on {dims}" for name, dims, _ in self._groups)
        kernel = f"{type(self.kernel).__name__}({self.kernel.extra_repr()})"
        return f"conditional mmd to {type(self.prior).__name__}({self.prior.dim}) under {kernel}: {holders}"

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a labelled batch; zero where no two rows share observed labels."""
        z, values = self.labelled(latent, labels)
        y = self._draw(values, step).to(z)
        terms = {}
        for (name, dims, columns), kernel in zip(self._groups, self.kernels, strict=True):
            assert isinstance(kernel, Kernel)
            weights = self._pair_weights(
                columns_of(values, columns), [self.prior.factors[c] for c in columns]
            )
            generator = None if self.seed is None else stream(self.seed, f"kernel {name}", step)
            with full_precision(z.device.type):
                terms[name] = self._mmd(columns_of(z, dims), columns_of(y, dims), weights, kernel, generator)
        total = torch.stack(list(terms.values())).sum()
        if may_store_results():
            self.terms = {f"conditional_{name}": term.detach() for name, term in terms.items()}
            self.terms = {"conditional_mmd": total.detach(), **self.terms}
        return total

    def _grouped(self, prior: ConditionalPrior) -> list[tuple[str, list[int], list[int]]]:
        """Return name, dimensions and label columns of every MMD."""
        if self.per_factor:
            return [(factor.name, list(factor.dims), [i]) for i, factor in enumerate(prior.factors)]
        return [("joint", list(range(prior.dim)), list(range(len(prior.factors))))]

    def _bound(self, dims: Sequence[int]) -> Kernel:
        """Return the kernel for some dimensions of the prior."""
        if len(dims) == self.prior.dim:
            return self.kernel.bind(self.prior)
        if isinstance(self.prior, Product):
            for block_dims, block in self.prior.placed():
                if block_dims == list(dims):
                    return self.kernel.bind(block)
        return self.kernel

    def _draw(self, values: Tensor, step: int) -> Float[Tensor, "n m d"]:
        """Draw m codes per row from the prior, given the labels of the row."""
        n = len(values)
        generator = None
        if self.seed is not None:
            generator = stream(self.seed, "conditional prior", step, self.prior.device)
        given = values.repeat_interleave(self.draws, 0)
        return self.prior.sample(n * self.draws, generator, given).unflatten(0, (n, self.draws))

    def _pair_weights(self, values: Tensor, factors: Sequence[Factor]) -> Float[Tensor, "n n"]:
        """Return l(s_i, s_j) of pairs of different rows without missing labels; zero for other pairs."""
        known = ~values.isnan().any(1)
        weights = (known[:, None] & known).to(values.dtype).fill_diagonal_(0)
        for factor, column in zip(factors, values.nan_to_num(0.0).unbind(1), strict=True):
            weights = weights * factor.similarity(column, column, self.label_bandwidth)
        # Normalised so that the weighted sum over pairs is the mean over pairs of rows with labels.
        count = known.sum().to(values.dtype)
        total = weights.sum() if self.normalise else count * (count - 1)
        return weights / total.clamp(min=torch.finfo(values.dtype).tiny)

    def _mmd(
        self,
        z: Float[Tensor, "n d"],
        y: Float[Tensor, "n m d"],
        weights: Float[Tensor, "n n"],
        kernel: Kernel,
        generator: torch.Generator | None,
    ) -> Float[Tensor, ""]:
        """Return sum_ij w_ij [k(z_i, z_j) - 2 k(z_i, y_j) + k(y_i, y_j)]."""
        n, m, _ = y.shape
        draws = y.flatten(0, 1)
        kernel = kernel.adapt(z, draws, generator)
        within = kernel(z, z)
        across = kernel(z, draws).view(n, n, m).mean(2)
        prior = kernel(draws, draws).view(n, m, n, m).mean((1, 3))
        return (weights * (within - 2 * across + prior)).sum()

"""Maximum mean discrepancy between the aggregate posterior and a prior."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels import RBF, Kernel
from mmdprior.latent import Latent
from mmdprior.priors import PriorLike, as_prior
from mmdprior.regularizers.regularizer import Regularizer, codes_of
from mmdprior.seeding import stream

__all__ = ["Estimator", "MMD", "mmd"]

Estimator = Literal["unbiased", "biased"]


def mmd(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    kernel: Kernel,
    estimator: Estimator = "unbiased",
) -> Float[Tensor, ""]:
    """Estimate MMD^2 = E k(x,x') - 2 E k(x,y) + E k(y,y') from two samples.

    ``unbiased`` is the U-statistic (Gretton et al., JMLR 13, 2012, lemma 6): off-diagonal means within
    each set, the full mean across; it may be negative, so take neither root nor log. ``biased`` is the
    V-statistic (eq. 5): full means, at least zero, too large by 2(1 - E k)/n under the null when
    k(x, x) = 1 and n = m.

    Args:
        x: one sample, n >= 2.
        y: the other, m >= 2.
        kernel: evaluated in float32 at least.
        estimator: ``unbiased`` or ``biased``.

    Raises:
        InputError: samples of different width, an unknown estimator, or fewer than two rows for the
            unbiased one.
    """
    _check_estimator(estimator)
    if estimator == "unbiased" and min(len(x), len(y)) < 2:
        raise InputError(f"mmd: {len(x)} and {len(y)} rows received; the unbiased estimator needs 2")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    x, y = x.to(dtype), y.to(dtype)
    kernel = kernel.adapt(x, y)
    within = _mean_within(kernel(x, x), estimator) + _mean_within(kernel(y, y), estimator)
    return within - 2 * kernel(x, y).mean()


class MMD(Regularizer):
    """MMD^2 between the codes of a batch, z ~ q(z), and a prior p (arXiv 2510.11953).

    The value is the estimate of `mmd` between the batch and fresh draws from the prior.

    Args:
        prior: anything that `as_prior` takes.
        kernel: ``RBF()`` (l = sqrt(d)) by default; bound to the prior here.
        estimator: ``unbiased`` or ``biased``.
        num_samples: prior draws per value; as many as the batch has rows by default.
        seed: draw from the stream of (seed, step), the same on every device of a run and after a
            resume; None draws from torch's global generator.

    Raises:
        InputError: something that cannot be sampled, an unknown estimator, or num_samples below 2.
    """

    def __init__(
        self,
        prior: PriorLike,
        kernel: Kernel | None = None,
        estimator: Estimator = "unbiased",
        num_samples: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        _check_estimator(estimator)
        if num_samples is not None and num_samples < 2:
            raise InputError(f"num_samples: {num_samples} received; give at least 2")
        self.prior = as_prior(prior)
        self.kernel = (RBF() if kernel is None else kernel).bind(self.prior)
        self.estimator: Estimator = estimator
        self.num_samples = num_samples
        self.seed = seed

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Ask for a prior of the latent's dimension."""
        if self.prior.dim != dim:
            raise InputError(f"prior: dim {self.prior.dim} received; the latent has {dim}")

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch of at least two codes.

        Raises:
            InputError: codes of another dimension than the prior, or a batch of one.
        """
        z = codes_of(latent)
        self.check(dim=z.shape[1], stochastic=False)
        value = mmd(z, self._draw(len(z), step).to(z.device), self.kernel, self.estimator)
        self.terms = {"mmd": value.detach()}
        return value

    def _draw(self, n: int, step: int) -> Tensor:
        n = self.num_samples or n
        if self.seed is None:
            return self.prior.sample(n)
        return self.prior.sample(n, stream(self.seed, "prior", step, self.prior.device))


def _check_estimator(estimator: str) -> None:
    if estimator not in get_args(Estimator):
        raise InputError(f"estimator: {estimator!r} received; give one of {get_args(Estimator)}")


def _mean_within(gram: Float[Tensor, "n n"], estimator: Estimator) -> Float[Tensor, ""]:
    if estimator == "biased":
        return gram.mean()
    n = len(gram)
    return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))

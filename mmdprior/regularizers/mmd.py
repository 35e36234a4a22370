"""Maximum mean discrepancy between the aggregate posterior and a prior."""

import logging
import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.kernels import RBF, Kernel
from mmdprior.kernels.embedding import embedding, null_variance
from mmdprior.latent import Latent
from mmdprior.priors import PriorLike, as_prior
from mmdprior.regularizers.estimators import (
    Biased,
    Estimator,
    FromFunction,
    KnownPrior,
    Unbiased,
    as_estimator,
)
from mmdprior.regularizers.regularizer import Regularizer, codes_of
from mmdprior.seeding import stream

__all__ = ["CodeQueue", "MMD", "mmd"]


class CodeQueue(nn.Module):
    """The last codes seen, first in, first out; part of the state dict.

    Args:
        size: how many; 0 keeps none.
        dim: number of latent dimensions.

    Raises:
        InputError: a negative size.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 0:
            raise InputError(f"queue: {size} received; give a number of codes >= 0")
        self.size = size
        self.register_buffer("codes", torch.zeros(size, dim))
        self.codes: Tensor
        self._filled = 0

    def joined(self, z: Tensor, *, keep: bool) -> Tensor:
        """Return a batch with the past codes below it, and keep it for later if asked.

        The values are those of the codes; the gradient of the batch is scaled by the growth of the sample.
        """
        if self.size == 0:
            return z
        past = self.codes[: self._filled].to(z, copy=True)
        if keep:
            recent = torch.cat([z.detach().to(self.codes), self.codes[: self._filled]])[: self.size]
            self.codes[: len(recent)] = recent
            self._filled = len(recent)
        if len(past) == 0:
            return z
        growth = (len(z) + len(past)) / len(z)
        return torch.cat([growth * z - (growth - 1) * z.detach(), past])

    def get_extra_state(self) -> Tensor:
        """Return how many codes are there, for the state dict."""
        return torch.tensor(self._filled)

    def set_extra_state(self, state: Tensor) -> None:
        """Take back how many codes are there."""
        self._filled = int(state)


_log = logging.getLogger(__name__)


def mmd(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    kernel: Kernel,
    estimator: Literal["unbiased", "biased", "block"] | Estimator = "unbiased",
) -> Float[Tensor, ""]:
    """Estimate MMD^2 = E k(x,x') - 2 E k(x,y) + E k(y,y') from two samples.

    Peak memory does not grow with n^2: large samples are compared block by block.

    Args:
        x: one sample, n >= 2.
        y: the other, m >= 2.
        kernel: evaluated in float32 at least.
        estimator: ``unbiased``, the U-statistic, which may be negative, so take neither root nor log of it;
            ``biased``, the V-statistic; ``block``, the mean of U-statistics of 64 rows; or an `Estimator`.

    Raises:
        InputError: samples of different width, an unknown estimator, or fewer than two rows for the
            unbiased one.
    """
    how = as_estimator(estimator)
    if not isinstance(how, Biased) and min(len(x), len(y)) < 2:
        raise InputError(f"mmd: {len(x)} and {len(y)} rows received; the unbiased estimator needs 2")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    x, y = x.to(dtype), y.to(dtype)
    kernel = kernel.adapt(x, y)
    return weighted(how(x, y, kernel), kernel, how)


class MMD(Regularizer):
    """MMD^2 between the codes of a batch, z ~ q(z), and a prior p (arXiv 2510.11953).

    Terms for the log, besides ``mmd``: ``standardised``, MMD^2 in standard deviations of its null (a batch of
    prior draws in place of the codes), comparable across kernels, priors and batch sizes; and each
    part of a kernel that is a sum, ANOVA's orders among them.

    Args:
        prior: anything that `as_prior` takes.
        kernel: ``RBF()`` (l = sqrt(d)) by default; bound to the prior here.
        estimator: ``auto`` takes ``known_prior`` where the pair of kernel and prior has a mean embedding and
            ``unbiased`` elsewhere, and says which in `describe`; or ``biased``, ``block``, an
            `Estimator`, or a function of (z, y, kernel).
        num_samples: prior draws per value; as many as there are codes by default.
        queue: codes of past batches to compare along, without a gradient; the batch's own gradient is
            scaled by (n + queue) / n, so that the weight keeps its meaning.
        seed: draw from the stream of (seed, step), the same on every device of a run and after a
            resume; None draws from torch's global generator.

    Raises:
        InputError: something that cannot be sampled, an unknown estimator, ``known_prior`` for a pair without
            an embedding, or num_samples below 2.
    """

    def __init__(
        self,
        prior: PriorLike,
        kernel: Kernel | None = None,
        estimator: str | Estimator | Callable[[Tensor, Tensor, Kernel], Tensor] = "auto",
        num_samples: int | None = None,
        queue: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if num_samples is not None and num_samples < 2:
            raise InputError(f"num_samples: {num_samples} received; give at least 2")
        self.prior = as_prior(prior)
        self.kernel = (RBF() if kernel is None else kernel).bind(self.prior)
        self.estimator = self._choose(estimator, num_samples)
        self.num_samples = num_samples
        self.seed = seed
        self.queue = CodeQueue(queue, self.prior.dim)
        self._null: float | None = None
        _log.info("%s", self.describe())

    def _choose(self, estimator: object, num_samples: int | None) -> Estimator:
        if estimator not in ("auto", "known_prior"):
            return as_estimator(estimator)
        found = embedding(self.kernel, self.prior) if num_samples is None or estimator != "auto" else None
        if found is not None:
            return KnownPrior(found)
        if estimator == "known_prior":
            raise InputError(
                f"estimator: 'known_prior' received; {type(self.prior).__name__} has no closed mean "
                f"embedding under {type(self.kernel).__name__}; leave it to 'auto', or give 'unbiased'"
            )
        return Unbiased()

    def describe(self) -> str:
        """Say in a line what is compared, and how."""
        draws = f"{self.num_samples or 'as many'} prior draws"
        if isinstance(self.estimator, KnownPrior):
            draws = "the prior by its mean embedding, no draws"
        past = f", {self.queue.size} past codes" if self.queue.size else ""
        return (
            f"mmd to {type(self.prior).__name__}({self.prior.dim}) under "
            f"{type(self.kernel).__name__}({self.kernel.extra_repr()}); estimate: "
            f"{type(self.estimator).__name__}, {draws}{past}"
        )

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
        if len(z) < 2 and not isinstance(self.estimator, Biased):
            raise InputError(f"mmd: {len(z)} rows received; the unbiased estimator needs 2")
        z = self.queue.joined(z.to(torch.promote_types(z.dtype, torch.float32)), keep=self.training)
        y = self._draw(len(z), step).to(z) if self.estimator.uses_draws else None
        kernel = self.kernel.adapt(z, z if y is None else y, self._stream("kernel", step))
        parts = self.estimator(z, y, kernel)
        value = weighted(parts, kernel, self.estimator)
        self._log(parts.detach(), value.detach(), kernel, z.detach(), y)
        return value

    def _log(self, parts: Tensor, value: Tensor, kernel: Kernel, z: Tensor, y: Tensor | None) -> None:
        if self._null is None:
            self._null = null_variance(self.kernel, self.prior)
        count = len(z) if y is None else len(y)
        deviation = math.sqrt(self._null * self.estimator.spread(len(z), count))
        self.terms = {"mmd": value, "standardised": (value - self._bias(kernel, z, y)) / deviation}
        if len(parts) > 1:
            self.terms |= dict(zip(kernel.part_names, parts, strict=True))

    @torch.no_grad()
    def _bias(self, kernel: Kernel, z: Tensor, y: Tensor | None) -> Tensor | float:
        """Return what the diagonals add to the biased estimate; zero for the others."""
        if not isinstance(self.estimator, Biased) or y is None:
            return 0.0
        parts = torch.stack(
            [kernel.means_within(c, unbiased=False) - kernel.means_within(c, unbiased=True) for c in (z, y)]
        )
        return weighted(parts.sum(0), kernel, self.estimator)

    def _draw(self, n: int, step: int) -> Tensor:
        return self.prior.sample(self.num_samples or n, self._stream("prior", step))

    def _stream(self, name: str, step: int) -> torch.Generator | None:
        return None if self.seed is None else stream(self.seed, name, step, self.prior.device)


def weighted(parts: Float[Tensor, "p"], kernel: Kernel, estimator: Estimator) -> Float[Tensor, ""]:
    """Add the estimates of a kernel's parts by their weights; a user's function has returned the sum."""
    if isinstance(estimator, FromFunction) or kernel.part_weights == (1.0,):
        return parts[0]
    terms = [weight * part for weight, part in zip(kernel.part_weights, parts, strict=True)]
    return torch.stack(terms).sum()

"""Maximum mean discrepancy between the aggregate posterior and a prior."""

import logging
import math
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.kernels import WAE_IMQ, Kernel
from mmdprior.kernels.embedding import embedding
from mmdprior.kernels.function import KernelLike, as_kernel
from mmdprior.kernels.null_variance import null_variance
from mmdprior.kernels.reach import is_flat, out_of_reach
from mmdprior.latent import Latent
from mmdprior.precision import full_precision_dtype
from mmdprior.priors import PriorLike, as_prior
from mmdprior.priors.arguments import positive_int
from mmdprior.priors.snapshot import Snapshot
from mmdprior.regularizers.estimators import (
    Biased,
    Estimator,
    FromFunction,
    KnownPrior,
    Unbiased,
    as_estimator,
)
from mmdprior.regularizers.regularizer import Regularizer, check_codes, codes_of
from mmdprior.regularizers.sparse_warning import SparseWarning
from mmdprior.seeding import stream
from mmdprior.tracing import constant_in_graphs, may_store_results

__all__ = ["CodeQueue", "MMD", "mmd"]

_logger = logging.getLogger(__name__)

_CHECKED_ROWS = 64
"""Codes and prior draws from which `MMD` finds out whether its kernel distinguishes them."""


def mmd(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    kernel: KernelLike,
    estimator: Literal["unbiased", "biased", "block"] | Estimator = "unbiased",
) -> Float[Tensor, ""]:
    """Estimate MMD^2 = E k(x,x') - 2 E k(x,y) + E k(y,y') from two samples (Gretton et al., JMLR 13, 2012).

    Peak memory does not grow with n^2: large samples are compared block by block.

    Args:
        x: one sample, n >= 2.
        y: the other sample, m >= 2.
        kernel: evaluated in float32 or float64; a `Kernel`, or a function of (n, d) and (m, d) codes that
            returns (n, m) values.
        estimator: ``unbiased``, the U-statistic, which may be negative, so never take its root or logarithm;
            ``biased``, the V-statistic; ``block``, the mean of U-statistics of 64 rows; or an `Estimator`.

    Raises:
        InputError: samples of different width, an unknown estimator, or fewer than two rows for an
            unbiased estimator.

    Example:
        >>> from mmdprior.kernels import RBF
        >>> x, y = torch.randn(200, 2), torch.randn(200, 2)
        >>> bool(mmd(x, y, RBF()) < mmd(x, y + 1, RBF()))
        True
    """
    estimator = as_estimator(estimator)
    check_codes("x", x)
    check_codes("y", y)
    kernel = as_kernel(kernel)
    least = 1 if isinstance(estimator, Biased) else 2
    if min(x.shape[0], y.shape[0]) < least:
        raise InputError(f"mmd: {x.shape[0]} and {y.shape[0]} rows received; the estimator needs {least}")
    dtype = full_precision_dtype(x, y)
    x, y = x.to(dtype), y.to(dtype)
    kernel = kernel.adapt(x, y)
    return _sum_of_parts(estimator(x, y, kernel), kernel, estimator)


class MMD(Regularizer):
    """MMD^2 between the codes of a batch, z ~ q(z), and a prior p (arXiv 2510.11953).

    ``terms`` has ``mmd``, the value; ``standardised``, the value in standard deviations of its null
    distribution (prior draws in place of the codes), comparable between kernels, priors and batch sizes;
    and the terms of a kernel that is a sum, such as the orders of ANOVA.

    ``prior``, ``kernel`` and ``estimator`` may be edited, replaced or loaded later. What is computed from
    them follows, see `refresh`.

    A kernel that is zero up to rounding between most codes and the prior, or the same for all of them, cannot
    move the codes. The penalty warns once of this, and checks its calls 1, 16, 32, 64, ... for it.

    Args:
        prior: anything that `as_prior` accepts.
        kernel: ``WAE_IMQ()`` by default: a sum over scales, whose slow decay moves codes from afar. It is
            bound to the prior here.
        estimator: ``auto``, the default, uses ``known_prior`` where the prior has a closed mean embedding
            under the kernel, and ``unbiased`` otherwise; `describe` says which. Or ``biased``, ``block``,
            an `Estimator`, or a function of (z, y, kernel).
        num_samples: number of prior draws per value; by default as many as there are codes.
        queue: number of codes of past batches to add to the sample, without gradient. The gradient of
            the batch is scaled by (n + queue) / n, so that the weight of the penalty keeps its meaning.
        seed: draw from the random stream of (seed, step), equal on all devices of a run and after a resume.
            None, the default, draws from torch's global generator.
        dim: number of latent dimensions d, for a prior that does not have one: a function of (n, dim), or a
            distribution of single numbers.

    Raises:
        InputError: a prior that cannot be sampled, an unknown estimator, ``known_prior`` for a pair without
            an embedding, or ``num_samples`` below 2.

    Example:
        >>> from mmdprior.kernels import WAE_IMQ
        >>> from mmdprior.priors import Uniform
        >>> encoder = torch.nn.Linear(20, 4)
        >>> penalty = MMD(Uniform(4), WAE_IMQ(), seed=0)
        >>> loss = penalty(encoder(torch.randn(256, 20)), step=0)
        >>> loss.backward()
        >>> list(penalty.terms)
        ['mmd', 'standardised']

        The prior may be a function that draws from it:

        >>> MMD(lambda n: torch.randn(n, 4).abs())(torch.randn(256, 4)).shape
        torch.Size([])
    """

    def __init__(
        self,
        prior: PriorLike,
        kernel: KernelLike | None = None,
        estimator: str | Estimator | Callable[[Tensor, Tensor, Kernel], Tensor] = "auto",
        num_samples: int | None = None,
        queue: int = 0,
        seed: int | None = None,
        dim: int | None = None,
    ) -> None:
        super().__init__()
        self.num_samples = None if num_samples is None else positive_int("num_samples", num_samples)
        if self.num_samples == 1:
            raise InputError("num_samples: 1 received; give at least 2")
        self.seed = seed
        self.prior = as_prior(prior, dim)
        self.kernel = WAE_IMQ() if kernel is None else as_kernel(kernel)
        self.estimator: Estimator = estimator  # type: ignore[assignment]
        self.queue = CodeQueue(queue, self.prior.dim)
        self._blindness = SparseWarning()
        # Kernel and estimator as they were given, and what `refresh` has made of them. In tuples: attributes
        # that are modules would be submodules.
        self._given: tuple[Kernel, object] = (self.kernel, estimator)
        self._made: tuple[Kernel | None, Estimator | None] = (None, None)
        self.refresh()
        self.register_load_state_dict_post_hook(_refresh_after_loading)
        _logger.info("%s", self.describe())

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute what depends on prior and kernel: bandwidth, centring, mean embedding, null variance.

        A penalty does this by itself after ``load_state_dict``, and at its next call after any other change
        of prior, kernel or estimator. Call it after changes that torch does not record: edits of large
        tensors, or of tensors on a GPU, through ``.data``. A compiled penalty notices only
        ``load_state_dict``, so call it there after any other change.
        """
        kernel, estimator = self._given
        # What the user has replaced or edited since then counts as given now.
        if self.kernel is not self._made[0] or not self._settings.is_current(self.kernel):
            kernel = self.kernel
        if self.estimator is not self._made[1]:
            estimator = self.estimator
        elif isinstance(estimator, KnownPrior):
            estimator = "known_prior"  # the embedding that was given is that of the former prior
        # The first value computes it. Here it must not become None again: a graph that was compiled with None
        # has the former number as a constant.
        variance_needed = getattr(self, "_null_variance", None) is not None
        # Constants must remain usable with gradients, and outside of a transform of torch.func.
        with torch.inference_mode(False), torch._C._DisableFuncTorch():
            bound = kernel.bind(self.prior)
            chosen = self._choose_estimator(estimator, bound)
            variance = null_variance(bound, self.prior) if variance_needed else None
        self._given, self._made = (kernel, estimator), (bound, chosen)
        self.kernel, self.estimator = bound, chosen
        self._null_variance: float | None = variance
        if self.queue.dim != self.prior.dim:
            self.queue = CodeQueue(self.queue.size, self.prior.dim)
        self._take_snapshots()

    def _take_snapshots(self) -> None:
        self._settings = Snapshot(self.kernel, tensors=False)
        self._snapshot = Snapshot(*self._state())

    def _state(self) -> tuple[object, ...]:
        """Return everything on which the results of `refresh` depend, except for the estimator."""
        return self.prior, self.kernel, self._given[0], self.num_samples

    def _refresh_if_changed(self) -> None:
        if torch.compiler.is_compiling():
            return
        if self.estimator is not self._made[1] or not self._snapshot.is_current(*self._state()):
            self.refresh()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "MMD":
        super()._apply(fn, recurse)
        if self._given[0] is not self.kernel:  # the kernel as given is no submodule
            self._given[0]._apply(fn, recurse)
        return self

    def __getstate__(self) -> dict[str, Any]:
        self._refresh_if_changed()  # so that a copy may take its state as the one of its results
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._take_snapshots()

    def _choose_estimator(self, estimator: object, kernel: Kernel) -> Estimator:
        if estimator not in ("auto", "known_prior"):
            return as_estimator(estimator)
        # An explicit number of draws needs draws, unless the known prior is requested by name.
        if self.num_samples is None or estimator == "known_prior":
            known = embedding(kernel, self.prior)
            if known is not None:
                return KnownPrior(known)
        if estimator == "known_prior":
            raise InputError(
                f"estimator: 'known_prior' received; {type(self.prior).__name__} has no closed mean "
                f"embedding under {type(kernel).__name__}; leave it to 'auto', or give 'unbiased'"
            )
        return Unbiased()

    def describe(self) -> str:
        """Return a one-line description of the penalty: prior, kernel and estimator."""
        self._refresh_if_changed()
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
        """Check that prior and latent have the same dimension."""
        if self.prior.dim != dim:
            raise InputError(f"prior: dim {self.prior.dim} received; the latent has {dim}")

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch of at least two codes, past codes included.

        Raises:
            InputError: codes of another dimension than the prior, or a batch of one.
        """
        z = codes_of(latent, least=1 if self.queue.filled else 2)
        self.check(dim=z.shape[1], stochastic=False)
        self._refresh_if_changed()
        z = self.queue.extend(z.to(full_precision_dtype(z)), keep=self.training)
        y = self._draw(z.shape[0], step).to(z) if self.estimator.uses_draws else None
        kernel = self.kernel.adapt(z, z if y is None else y, self._stream("kernel", step))
        if self._blindness.is_due(z):
            self._warn_if_blind(z.detach(), y, kernel)
        parts = self.estimator(z, y, kernel)
        value = _sum_of_parts(parts, kernel, self.estimator)
        if may_store_results():
            self._set_terms(parts.detach(), value.detach(), kernel, z.detach(), y)
        return value

    def _set_terms(self, parts: Tensor, value: Tensor, kernel: Kernel, z: Tensor, y: Tensor | None) -> None:
        if self._null_variance is None:
            self._null_variance = _null_variance(self.kernel, self.prior)
        draws = z.shape[0] if y is None else y.shape[0]
        deviation = math.sqrt(self._null_variance * self.estimator.variance_factor(z.shape[0], draws))
        self.terms = {"mmd": value, "standardised": (value - self._bias(kernel, z, y)) / deviation}
        if len(parts) > 1:
            # Clones, because compiled graphs cannot return views of an intermediate result.
            self.terms |= {name: part.clone() for name, part in zip(kernel.part_names, parts, strict=True)}

    def _warn_if_blind(self, z: Tensor, y: Tensor | None, kernel: Kernel) -> None:
        """Warn if the kernel does not distinguish codes by their distance from the prior."""
        if y is None:
            y = self.prior.sample(_CHECKED_ROWS, stream(0, "reach", device=self.prior.device)).to(z)
        z, y = z[:_CHECKED_ROWS], y[:_CHECKED_ROWS]
        name = f"{type(kernel).__name__}({kernel.extra_repr()})"
        share = float(out_of_reach(kernel, z, y).float().mean())
        if share > 0.5:
            self._blindness.give(
                f"kernel: {name} is 0 up to rounding between {share:.0%} of the codes and the prior, so that "
                "the penalty cannot move them; start the last layer of the encoder from zero bias, or give a "
                "larger length-scale, 'median_batch', a sum of length-scales (factors), or a kernel of slow "
                "decay (WAE_IMQ)"
            )
        elif bool(is_flat(kernel, z, y)):
            self._blindness.give(
                f"kernel: {name} is equal up to rounding for all codes and prior draws, so that the penalty "
                "cannot move the codes; give a smaller length-scale, or 'median_prior'"
            )

    @torch.no_grad()
    def _bias(self, kernel: Kernel, z: Tensor, y: Tensor | None) -> Tensor | float:
        """Return the contribution of the diagonals to the biased estimate; 0 for other estimators."""
        if not isinstance(self.estimator, Biased) or y is None:
            return 0.0
        parts = torch.stack(
            [kernel.means_within(c, unbiased=False) - kernel.means_within(c, unbiased=True) for c in (z, y)]
        )
        return _sum_of_parts(parts.sum(0), kernel, self.estimator)

    def _draw(self, n: int, step: int) -> Tensor:
        return self.prior.sample(self.num_samples or n, self._stream("prior", step))

    def _stream(self, name: str, step: int) -> torch.Generator | None:
        return None if self.seed is None else stream(self.seed, name, step, self.prior.device)


# A number that a compiled graph holds as a constant; the draws behind it cannot be traced.
_null_variance = constant_in_graphs(null_variance)


def _refresh_after_loading(penalty: MMD, incompatible_keys: object) -> None:
    penalty._refresh_if_changed()


def _sum_of_parts(parts: Float[Tensor, "p"], kernel: Kernel, estimator: Estimator) -> Float[Tensor, ""]:
    """Return sum_p w_p parts_p. A user's function has already returned the sum."""
    if isinstance(estimator, FromFunction) or kernel.part_weights == (1.0,):
        return parts.sum()
    terms = [weight * part for weight, part in zip(kernel.part_weights, parts, strict=True)]
    return torch.stack(terms).sum()


class CodeQueue(nn.Module):
    """First-in, first-out queue of the codes of past batches, part of the state dict.

    Args:
        size: number of codes; 0 disables the queue, which is then not in the state dict.
        dim: number of latent dimensions.

    Raises:
        InputError: a negative size.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size != 0:
            positive_int("queue", size)
        self.size = size
        self.register_buffer("codes", torch.zeros(size, dim))
        self.codes: Tensor
        self._filled = 0

    @property
    def dim(self) -> int:
        """Number of latent dimensions."""
        return self.codes.shape[1]

    @property
    def filled(self) -> int:
        """Number of codes in the queue."""
        return self._filled

    def extend(self, z: Float[Tensor, "n d"], *, keep: bool) -> Float[Tensor, "m d"]:
        """Return a batch followed by the past codes.

        Args:
            z: codes of the batch. Their gradient is scaled by the growth of the sample, m / n.
            keep: whether to add the batch to the queue, dropping the oldest codes.
        """
        if self.size == 0:
            return z
        past = self.codes[: self._filled].to(z, copy=True)
        if keep:
            recent = torch.cat([z.detach().to(self.codes), self.codes[: self._filled]])[: self.size]
            self.codes[: len(recent)] = recent
            self._filled = len(recent)
        if past.shape[0] == 0:
            return z
        growth = (z.shape[0] + past.shape[0]) / z.shape[0]
        # Equal to z in value, with `growth` times its gradient.
        scaled = growth * z - (growth - 1) * z.detach()
        return torch.cat([scaled, past])

    def get_extra_state(self) -> Tensor:
        """Return the number of codes in the queue, for the state dict."""
        return torch.tensor(self._filled)

    def set_extra_state(self, state: Tensor) -> None:
        """Load the number of codes in the queue from a state dict."""
        self._filled = int(state)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        if self.size > 0:
            super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        codes = state_dict.get(f"{prefix}codes")
        if self.size == 0 and (codes is None or len(codes) == 0):
            # State dicts of earlier versions have the keys of a queue without codes.
            state_dict.pop(f"{prefix}codes", None)
            state_dict.pop(f"{prefix}_extra_state", None)
        else:
            super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

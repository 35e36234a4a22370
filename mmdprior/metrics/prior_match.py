"""MMD between codes and their intended prior, in standard deviations of its null distribution."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import check_integer
from mmdprior.kernels import WAE_IMQ, Kernel
from mmdprior.priors import Prior
from mmdprior.priors.snapshot import Derived
from mmdprior.regularizers import mmd
from mmdprior.regularizers.estimators import Estimator
from mmdprior.seeding import stream

__all__ = ["PriorMatch"]

_FAR = 1e15


@dataclass
class PriorMatch:
    """Standardised MMD^2 between codes and a prior: 0 for codes drawn from the prior, up to noise of 1.

    The kernel is the seven-scale IMQ of WAE-MMD (arXiv 1711.01558), bound to the prior, with the unbiased
    estimator. It does not depend on how a run was trained, so runs are comparable. The null distribution is
    200 batches of the prior against one reference batch, drawn once per object, and again if the prior
    changes. This is a joint kernel: from d = 32 on it sees scale and shift, but hardly any dependence.

    Attributes:
        prior: intended prior.
        n: number of codes and of prior draws per batch, at least 2. The score grows with it, so compare
            scores of equal n only.
        seed: seed of the draws.

    Raises:
        InputError: ``n`` is below 2.

    Example:
        >>> import torch
        >>> from mmdprior.metrics import PriorMatch
        >>> from mmdprior.priors import Gaussian
        >>> match = PriorMatch(Gaussian(2), n=64)
        >>> abs(match(torch.randn(100, 2))) < 5, match(3 + torch.randn(100, 2)) > 10
        (True, True)
    """

    prior: Prior
    n: int = 512
    seed: int = 0

    _DRAWS = 200

    def __post_init__(self) -> None:
        self.n = check_integer("n", self.n, 2)
        self._kernel = Derived(WAE_IMQ().bind)
        self._kernel.of(self.prior)  # raises now where the kernel cannot be bound
        self._null = Derived(self._null_distribution)

    @torch.no_grad()
    def __call__(self, codes: Float[Tensor, "m d"]) -> float:
        """Return (MMD^2 - null mean) / null standard deviation of n random codes; NaN for fewer than n."""
        if len(codes) < self.n:
            return float("nan")
        rows = torch.randperm(len(codes), generator=stream(self.seed, "rows"))[: self.n]
        null = self._null.of(self.prior, self.n, self.seed)
        chosen = codes[rows.to(codes.device)]
        # At such distances the kernel is 0 to rounding. Nearer codes have finite squares in float32.
        largest = float(chosen.abs().max())
        chosen = chosen * (_FAR / largest) if largest > _FAR else chosen
        return (null.reference.mmd(chosen) - null.mean) / null.std

    def _null_distribution(self, prior: Prior, n: int, seed: int) -> "_Null":
        """Return the reference batch with mean and standard deviation of the MMD^2 of prior batches."""
        reference = _Reference(self._draw(0), self._kernel.of(prior))
        values = torch.tensor([reference.mmd(self._draw(1 + i)) for i in range(self._DRAWS)])
        return _Null(reference, float(values.mean()), float(values.std()))

    def _draw(self, index: int) -> Tensor:
        """Return prior batch ``index``; batch 0 is the reference."""
        return self.prior.sample(self.n, stream(self.seed, "match", index))


class _Reference(Estimator):
    """The U-statistic against one reference batch, whose own term is computed once."""

    def __init__(self, draws: Tensor, kernel: Kernel) -> None:
        self._draws, self._kernel = draws, kernel
        self._within = kernel.means_within(draws, unbiased=True)

    def mmd(self, codes: Tensor) -> float:
        """Return the MMD^2 between codes and the reference batch."""
        return float(mmd(codes.to(self._draws), self._draws, self._kernel, self))

    def __call__(self, z: Tensor, y: Tensor | None, kernel: Kernel) -> Tensor:
        """Return the estimate of every term."""
        return kernel.means_within(z, unbiased=True) + self._within - 2 * kernel.means_across(z, self._draws)


@dataclass(frozen=True)
class _Null:
    """The reference batch, and mean and standard deviation of the MMD^2 of prior batches to it."""

    reference: _Reference
    mean: float
    std: float

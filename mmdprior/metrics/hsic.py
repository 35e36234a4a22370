"""dHSIC of all dimensions together, a measure of joint independence, with its permutation null."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.hsic import dhsic_statistic, log_row_means
from mmdprior.metrics.covariance import random_rows
from mmdprior.precision import in_float64
from mmdprior.results import Result
from mmdprior.seeding import stream

__all__ = ["JointStatistic", "dhsic"]


@dataclass(frozen=True)
class JointStatistic(Result):
    """One statistic of all dimensions together.

    Attributes:
        value: V-statistic; its size depends on d and the bandwidth.
        standardised: (value - null mean) / null standard deviation.
        p_value: share of null draws at least as large as the value, counting the value itself.
        n: number of rows.
        permutations: number of null draws.
    """

    value: float
    standardised: float
    p_value: float
    n: int
    permutations: int

    def __str__(self) -> str:
        """Return the standardised value, the p-value, the rows and the permutations, in one line."""
        return (
            f"{self.standardised:+.1f} null standard deviations, p {self.p_value:.2g} ({self.n} rows, "
            f"{self.permutations} permutations)"
        )


def dhsic(
    codes: Float[Tensor, "n d"], *, permutations: int = 99, max_rows: int = 1000, seed: int = 0
) -> JointStatistic:
    """Compute dHSIC, the distance of the codes from the product of their marginals (Pfister et al., 2018).

    mean_ab prod_l k_ab^l + prod_l mean_ab k_ab^l - 2 mean_a prod_l mean_b k_ab^l, with Gaussian kernels
    of l^2 = d/4 on standardised codes. This bandwidth is narrow enough for a circle at d = 3, and wide enough
    that the product over d = 32 still sees a duplicated dimension.

    Of the companions of LPS, only dHSIC sees dependence of three dimensions whose pairs are independent. From
    d = 32 on it sees little but duplicates, as any joint kernel.

    Args:
        codes: (n, d) codes; every dimension must vary.
        permutations: number of null draws; each shuffles every dimension separately.
        max_rows: largest number of rows. The cost is quadratic in it; more rows are subsampled at random.
        seed: seed of the rows and the permutations.

    Raises:
        InputError: fewer than two permutations.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.hsic import dhsic
        >>> a, b, c = torch.randn(3, 300)
        >>> codes = torch.stack([a, b, (a * b).sign() * c.abs()], 1)  # every pair is independent
        >>> dhsic(codes).p_value
        0.01
    """
    if permutations < 2:
        raise InputError(f"permutations: {permutations} received; give at least 2")
    z = in_float64(random_rows(codes, max_rows, seed, "dhsic"))
    n, d = z.shape
    # exp(-(x_a - x_b)^2 / 2 l^2) with l^2 = d/4 is exp(-(z_a - z_b)^2), the kernel of dhsic_statistic, with
    # z = x sqrt(2 / d).
    z = (z - z.mean(0)) / z.std(0) * math.sqrt(2 / d)
    logs = log_row_means(z)
    value = dhsic_statistic(z, logs)
    generator = stream(seed, "dhsic permutations")
    null = torch.empty(permutations, dtype=torch.float64)
    for draw in range(permutations):
        order = torch.rand(n, d, generator=generator).argsort(0).to(z.device)
        # The row means move with their rows, so they need no second computation.
        null[draw] = dhsic_statistic(z.gather(0, order), logs.gather(0, order))
    return JointStatistic(
        value=value,
        standardised=float((value - null.mean()) / null.std()),
        p_value=(1 + int((null >= value).sum())) / (1 + permutations),
        n=n,
        permutations=permutations,
    )

"""dHSIC: a kernel measure of the joint dependence of all code dimensions, with a permutation test."""

import math
from dataclasses import dataclass

import torch

from mmdprior.errors import check_integer
from mmdprior.kernels.hsic import dhsic_statistic, log_row_means
from mmdprior.metrics.checks import check_codes
from mmdprior.metrics.covariance import random_rows
from mmdprior.metrics.inputs import CodesLike
from mmdprior.precision import in_float64
from mmdprior.results import Result
from mmdprior.seeding import stream

__all__ = ["JointStatistic", "dhsic"]


@dataclass(frozen=True)
class JointStatistic(Result):
    """A statistic of the joint dependence of all dimensions, and its permutation test.

    Attributes:
        value: V-statistic. Values are comparable only for equal d and bandwidth.
        standardised: (value - mean) / standard deviation, of the statistics of the permuted codes.
        p_value: (1 + number of permutations whose statistic is at least the value) / (1 + permutations).
        n: number of rows that were used.
        permutations: number of permutations.
    """

    value: float
    standardised: float
    p_value: float
    n: int
    permutations: int

    def __str__(self) -> str:
        """Return standardised value, p-value, number of rows and number of permutations in one line."""
        return (
            f"{self.standardised:+.1f} null standard deviations, p {self.p_value:.2g} ({self.n} rows, "
            f"{self.permutations} permutations)"
        )


def dhsic(codes: CodesLike, *, permutations: int = 99, max_rows: int = 1000, seed: int = 0) -> JointStatistic:
    """Compute dHSIC and its permutation test of joint independence (Pfister et al., 2018).

    dHSIC is the squared MMD between the distribution of the codes and the product of its marginals. With
    rows a and b, dimensions i, standardised codes x and the Gaussian kernel
    k(x_ai, x_bi) = exp(-(x_ai - x_bi)^2 / (2 l^2)) in every dimension, it is

        mean_ab prod_i k(x_ai, x_bi) + prod_i mean_ab k(x_ai, x_bi) - 2 mean_a prod_i mean_b k(x_ai, x_bi).

    The bandwidth is l^2 = d/4. It is narrow enough to detect codes on a circle at d = 3, and wide enough to
    detect a duplicated dimension at d = 32.

    Unlike pairwise measures, dHSIC detects dependence among three dimensions whose pairs are independent.
    From about d = 32 on, it detects little except duplicated dimensions.

    Args:
        codes: (n, d) codes; no dimension may be constant.
        permutations: number of permutations; each shuffles the rows of every dimension independently.
        max_rows: largest number of rows that are used; of more rows, a random subset is used. The cost is
            quadratic in this number.
        seed: seed of the random subset and of the permutations.

    Raises:
        InputError: codes are invalid, as for `lps`; or a count is not an integer of at least 2.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.hsic import dhsic
        >>> a, b, c = torch.randn(3, 300)
        >>> codes = torch.stack([a, b, (a * b).sign() * c.abs()], 1)  # every pair is independent
        >>> dhsic(codes).p_value
        0.01
    """
    permutations = check_integer("permutations", permutations, 2)
    x = in_float64(random_rows(check_codes(codes, min_rows=2), max_rows, seed, "dhsic"))
    n, d = x.shape
    std = x.std(0)
    x = (x - x.mean(0)) / torch.where(std > 0, std, 1.0)  # a rare value may be in none of the rows
    # dhsic_statistic has the kernel exp(-(z_a - z_b)^2). With z = x sqrt(2 / d) this is
    # exp(-(x_a - x_b)^2 / (2 l^2)) for l^2 = d/4.
    z = x * math.sqrt(2 / d)
    log_means = log_row_means(z)
    value = dhsic_statistic(z, log_means)
    generator = stream(seed, "dhsic permutations")
    null = torch.empty(permutations, dtype=torch.float64)
    for i in range(permutations):
        order = torch.rand(n, d, generator=generator).argsort(0).to(z.device)
        # The row means are per dimension, so they are permuted with the rows instead of recomputed.
        null[i] = dhsic_statistic(z.gather(0, order), log_means.gather(0, order))
    return JointStatistic(
        value=value,
        standardised=float((value - null.mean()) / null.std()),
        p_value=(1 + int((null >= value).sum())) / (1 + permutations),
        n=n,
        permutations=permutations,
    )

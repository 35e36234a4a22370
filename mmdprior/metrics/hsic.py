"""dHSIC: one statistic of joint independence, with its permutation null."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.hsic import dhsic_statistic, log_row_means
from mmdprior.metrics.covariance import some_rows
from mmdprior.precision import in_float64
from mmdprior.seeding import stream

__all__ = ["JointStatistic", "dhsic"]


@dataclass(frozen=True)
class JointStatistic:
    """A statistic of all dimensions together.

    Attributes:
        value: the V-statistic; its size depends on d and the bandwidth.
        standardised: (value - null mean) / null standard deviation.
        p_value: share of the null at least as large, the observed value counted in.
        n: rows it was computed on.
        permutations: draws of the null.
    """

    value: float
    standardised: float
    p_value: float
    n: int
    permutations: int

    def __str__(self) -> str:
        """The standardised value, the p-value and what they rest on."""
        return (
            f"{self.standardised:+.1f} null standard deviations, p {self.p_value:.2g} ({self.n} rows, "
            f"{self.permutations} permutations)"
        )


def dhsic(
    codes: Float[Tensor, "n d"], *, permutations: int = 99, max_rows: int = 1000, seed: int = 0
) -> JointStatistic:
    """Distance of the codes from the product of their marginals in a product kernel (Pfister et al., 2018).

    mean_ab prod_l k_ab^l + prod_l mean_ab k_ab^l - 2 mean_a prod_l mean_b k_ab^l, with Gaussian kernels
    of l^2 = d/4 on standardised codes: narrow enough for the circle at d = 3, wide enough that the product
    over d = 32 still sees a duplicate. It alone of the companions sees dependence of three dimensions
    whose pairs are independent; from d = 32 on, little but duplicates (any joint kernel is so).

    Args:
        codes: dimensions that vary.
        permutations: draws of the null; every dimension is shuffled by itself.
        max_rows: the cost is quadratic in the rows, so take so many random ones.
        seed: of the rows and the permutations.

    Raises:
        InputError: fewer than two permutations.
    """
    if permutations < 2:
        raise InputError(f"permutations: {permutations} received; give at least 2")
    z = in_float64(some_rows(codes, max_rows, seed, "dhsic"))
    n, d = z.shape
    z = (z - z.mean(0)) / z.std(0) * math.sqrt(2 / d)
    logs = log_row_means(z)
    value = dhsic_statistic(z, logs)
    generator = stream(seed, "dhsic permutations")
    null = torch.empty(permutations, dtype=torch.float64)
    for draw in range(permutations):
        order = torch.rand(n, d, generator=generator).argsort(0).to(z.device)
        null[draw] = dhsic_statistic(z.gather(0, order), logs.gather(0, order))
    return JointStatistic(
        value=value,
        standardised=float((value - null.mean()) / null.std()),
        p_value=(1 + int((null >= value).sum())) / (1 + permutations),
        n=n,
        permutations=permutations,
    )

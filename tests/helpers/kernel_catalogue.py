"""One small instance of every kernel, with its formula in terms of r^2 and d where it has one."""

import math

from scipy.special import hyp1f1

from mmdprior.kernels import (
    ANOVA,
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    Laplacian,
    Matern32,
    Matern52,
    ProductKernel,
    RationalQuadratic,
    Sliced,
    Sum,
)

WAE_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def sphere_mean(r2, d):
    """E exp(-u^2 r^2 / 2) over one coordinate u of a uniform direction (NIST DLMF 13.4.1)."""
    return math.exp(-r2 / 2) if d == 1 else float(hyp1f1(0.5, d / 2, -r2 / 2))


def matern52(r2, d):
    a = math.sqrt(5 * r2) / 1.3
    return (1 + a + a**2 / 3) * math.exp(-a)


FORMULAS = {
    "rational_quadratic": (
        lambda: RationalQuadratic(1.3, alpha=0.7),
        lambda r2, d: (1 + r2 / (2 * 0.7 * 1.3**2)) ** -0.7,
    ),
    "laplacian": (lambda: Laplacian(1.3), lambda r2, d: math.exp(-math.sqrt(r2) / 1.3)),
    "matern32": (
        lambda: Matern32(1.3),
        lambda r2, d: (1 + math.sqrt(3 * r2) / 1.3) * math.exp(-math.sqrt(3 * r2) / 1.3),
    ),
    "matern52": (lambda: Matern52(1.3), matern52),
    "rbf_scales": (
        lambda: RBF(1.3, factors=[0.5, 2.0]),
        lambda r2, d: math.exp(-r2 / 1.3**2) + math.exp(-r2 / (4 * 1.3**2)),
    ),
    "sliced_sphere": (Sliced, sphere_mean),
    "product": (
        lambda: ProductKernel([RBF(1.0), IMQ(2.0)]),
        lambda r2, d: math.exp(-r2 / 2) * 2 / (2 + r2),
    ),
    "rbf": (lambda: RBF(1.3), lambda r2, d: math.exp(-r2 / (2 * 1.3**2))),
    "rbf_sqrt_dim": (RBF, lambda r2, d: math.exp(-r2 / (2 * d))),
    "imq": (lambda: IMQ(2.5), lambda r2, d: 2.5 / (2.5 + r2)),
    "imq_sqrt_dim": (IMQ, lambda r2, d: 2 * d / (2 * d + r2)),
    "wae_imq": (WAE_IMQ, lambda r2, d: sum(s * 2 * d / (s * 2 * d + r2) for s in WAE_SCALES)),
    "sum": (
        lambda: Sum([RBF(1.0), IMQ(2.0)], [0.5, 3.0]),
        lambda r2, d: 0.5 * math.exp(-r2 / 2) + 3 * 2 / (2 + r2),
    ),
}
"""Name -> (function that makes the kernel, formula of r^2 and d)."""

KERNELS = {name: make for name, (make, _) in FORMULAS.items()} | {
    "median_prior": lambda: RBF("median_prior"),
    "median_batch": lambda: IMQ("median_batch"),
    "energy": Energy,
    "energy_power": lambda: Energy(1.5),
    "sliced_directions": lambda: Sliced(directions=8),
    "anova": ANOVA,
    "anova_1": lambda: ANOVA(order=1),
    "anova_3": lambda: ANOVA(order=3),
    "anova_frequencies": lambda: ANOVA(frequencies=2),
    "anova_short": lambda: ANOVA(lengthscale=0.1),
    "sum_anova": lambda: Sum([ANOVA(), WAE_IMQ()], [2.0, 0.5]),
}
"""Name -> function that makes the kernel."""

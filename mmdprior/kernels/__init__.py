"""Kernels: positive definite functions of pairs of codes."""

from mmdprior.kernels.anova import ANOVA
from mmdprior.kernels.compose import Product, Sum
from mmdprior.kernels.distance import Energy, Laplacian, Matern32, Matern52
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.radial import IMQ, RBF, WAE_IMQ, Radial, RationalQuadratic
from mmdprior.kernels.sliced import Sliced

__all__ = [
    "ANOVA",
    "Energy",
    "IMQ",
    "Kernel",
    "Laplacian",
    "Matern32",
    "Matern52",
    "Product",
    "RBF",
    "Radial",
    "RationalQuadratic",
    "Sliced",
    "Sum",
    "WAE_IMQ",
]

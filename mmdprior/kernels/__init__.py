"""Kernels: positive semi-definite functions of pairs of codes. `README.md` says which to use for what."""

from mmdprior.deprecation import moved
from mmdprior.kernels.anova import ANOVA
from mmdprior.kernels.compose import ProductKernel, Sum
from mmdprior.kernels.function import FunctionKernel
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.radial import (
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    Laplacian,
    Matern32,
    Matern52,
    Radial,
    RationalQuadratic,
)
from mmdprior.kernels.sliced import Sliced

__all__ = [
    "ANOVA",
    "Energy",
    "FunctionKernel",
    "IMQ",
    "Kernel",
    "Laplacian",
    "Matern32",
    "Matern52",
    "ProductKernel",
    "RBF",
    "Radial",
    "RationalQuadratic",
    "Sliced",
    "Sum",
    "WAE_IMQ",
]

__getattr__ = moved(__name__, {"Product": "mmdprior.kernels:ProductKernel"})

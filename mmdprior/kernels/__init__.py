"""Kernels: positive definite functions of pairs of codes."""

from mmdprior.kernels.kernel import Kernel, Sum
from mmdprior.kernels.radial import IMQ, RBF, WAE_IMQ, Radial

__all__ = ["IMQ", "Kernel", "RBF", "Radial", "Sum", "WAE_IMQ"]

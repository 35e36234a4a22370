"""Kernels: positive definite functions of pairs of codes.

What each sees in one batch of 256 codes that are N(0, I) but for one deviation, in standard deviations of
the penalty under the null, at d = 10 / 32 / 128 (`scripts/bench.py detection`: 1,000 repeats, 50 for ANOVA-3,
known-prior estimate where there is one, else as many prior draws as codes; +-.05 there):

    kernel                     half-scale code    variance halved  duplicate         uncorrelated pair
    RBF l^2 = d                123 / 214 / 439    1.0 / .23 / .05  4.6 / .90 / .12   .45 / .04 / 0
    RBF l^2 = d^2/2            23 / 13 / 11       .33 / .07 / .03  1.1 / .06 / 0     .03 / 0 / 0
    IMQ C = 2d                 149 / 275 / 580    1.0 / .23 / .05  4.6 / .89 / .12   .62 / .05 / 0
    WAE 7-scale IMQ            207 / 389 / 823    1.1 / .24 / .05  5.0 / .91 / .12   .87 / .06 / 0
    rational quadratic, a = 1  149 / 275 / 580    1.0 / .23 / .05  4.6 / .89 / .12   .62 / .05 / 0
    Laplacian                  123 / 239 / 488    .65 / .21 / .01  3.0 / .61 / .10   .55 / .08 / 0
    Matern 3/2                 103 / 204 / 399    .62 / .10 / .03  2.8 / .57 / .10   .48 / .02 / 0
    Matern 5/2                 95 / 165 / 355     .59 / .09 / .12  2.8 / .45 / .13   .45 / 0 / .11
    energy distance            48 / 83 / 162      .34 / .05 / .03  1.3 / .19 / .02   .18 / 0 / 0
    sliced RBF, whole sphere   169 / 313 / 658    1.1 / .24 / .05  4.8 / .91 / .12   .72 / .05 / 0
    sliced RBF, 64 directions  75 / 114 / 146     .51 / .03 / .01  2.1 / .34 / 0     .33 / 0 / .03
    ANOVA-2                    101 / 268 / 918    1.4 / .74 / .36  25 / 7.5 / 1.8    10 / 3.0 / .74
    ANOVA-2, 3 frequencies     78 / 203 / 679     1.1 / .58 / .29  25 / 7.6 / 1.8    9.0 / 2.7 / .65
    ANOVA-2, 2 frequencies     49 / 123 / 393     .87 / .47 / .23  25 / 7.6 / 1.8    7.1 / 2.1 / .52
    ANOVA-2, 1 frequency       61 / 154 / 505     1.2 / .64 / .32  25 / 7.5 / 1.8    7.8 / 2.3 / .56
    ANOVA-3                    86 / 245 / 1519    1.1 / .57 / .39  18 / 4.9 / 1.6    7.0 / 1.9 / .65

A joint kernel enforces scale and marginals as a whole; at d >= 32 it hardly sees two dependent
dimensions, which is what ANOVA is for. Below about 2 a single batch does not tell the deviation from
chance; training sees many.

What each costs, forward and backward against N(0, I) on one CPU thread, in units of a two-sample RBF written
with torch.cdist (`scripts/bench.py mmd`), at n = 256, d = 128 / n = 1024, d = 128 / n = 8192, d = 32:

    RBF, known prior             .39 / .27 / .08
    WAE 7-scale IMQ              1.2 / 1.2 / .34
    sliced RBF, whole sphere     1.8 / 2.8 / .82
    ANOVA-2                      22 / 25 / .24
    ANOVA-2, 3 frequencies       4.0 / 1.4 / .01
    ANOVA-2, 2 frequencies       2.8 / 1.0 / .01
    ANOVA-2, 1 frequency         1.5 / .30 / .00

Samples above 2,048 codes are compared in squares, so that memory does not grow with n^2. At n = 32,768,
d = 64 the extra memory is 58 MiB for RBF with a known prior and 68 from samples, 196 for the WAE kernel,
332 for the whole sphere, 316 for ANOVA-2 and 143 to 228 with few frequencies.
"""

from mmdprior.deprecation import moved
from mmdprior.kernels.anova import ANOVA
from mmdprior.kernels.compose import ProductKernel, Sum
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

"""Programmable priors: distributions over the latent space that can be sampled."""

from mmdprior.priors.compose import Product
from mmdprior.priors.empirical import FromCallable, FromDistribution, PriorLike, Samples, as_prior
from mmdprior.priors.factorized import Gaussian, Uniform
from mmdprior.priors.mixture import GaussianMixture
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = [
    "FromCallable",
    "FromDistribution",
    "Gaussian",
    "GaussianMixture",
    "Marginal",
    "Moments",
    "Prior",
    "PriorLike",
    "Product",
    "Samples",
    "Uniform",
    "as_prior",
]

"""Programmable priors: distributions over the latent space that can be sampled."""

from mmdprior.priors.atomic import Bernoulli, Corners, Grid
from mmdprior.priors.compose import Affine, Product, Rotation, Transform
from mmdprior.priors.conditional import ClassMixture, ConditionalPrior, Factors, Given, PerClass
from mmdprior.priors.copula import Chain, Correlated, Tree
from mmdprior.priors.empirical import FromCallable, FromDistribution, PriorLike, Samples, as_prior
from mmdprior.priors.factor import Factor
from mmdprior.priors.factorized import (
    Beta,
    Factorized,
    GeneralizedGaussian,
    Laplace,
    Logistic,
    StudentT,
    Uniform,
)
from mmdprior.priors.gaussian import FullGaussian, Gaussian, LowRankGaussian
from mmdprior.priors.manifolds import Circle, Pinwheel, SwissRoll, TwoMoons
from mmdprior.priors.mixture import GaussianMixture
from mmdprior.priors.prior import Marginal, Moments, Prior
from mmdprior.priors.rectified import Rectified
from mmdprior.priors.structured import Ball, GroupSparse, Sphere, SpikeAndSlab
from mmdprior.priors.vamp import Vamp

__all__ = [
    "Affine",
    "Ball",
    "Bernoulli",
    "Beta",
    "Chain",
    "Circle",
    "ClassMixture",
    "ConditionalPrior",
    "Corners",
    "Correlated",
    "Factor",
    "Factorized",
    "Factors",
    "FromCallable",
    "FromDistribution",
    "FullGaussian",
    "Gaussian",
    "GaussianMixture",
    "GeneralizedGaussian",
    "Given",
    "Grid",
    "GroupSparse",
    "Laplace",
    "Logistic",
    "LowRankGaussian",
    "Marginal",
    "Moments",
    "PerClass",
    "Pinwheel",
    "Prior",
    "PriorLike",
    "Product",
    "Rectified",
    "Rotation",
    "Samples",
    "Sphere",
    "SpikeAndSlab",
    "StudentT",
    "SwissRoll",
    "Transform",
    "Tree",
    "TwoMoons",
    "Uniform",
    "Vamp",
    "as_prior",
]

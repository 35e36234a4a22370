"""Encoders, decoders, posteriors, likelihoods, and the autoencoder that composes them."""

from mmdprior.deprecation import moved
from mmdprior.models.autoencoder import Autoencoder, evaluation_mode
from mmdprior.models.conv import ConvDecoder, ConvEncoder
from mmdprior.models.likelihood import BernoulliLikelihood, GaussianLikelihood, LaplaceLikelihood, Likelihood
from mmdprior.models.linear_skip import PCA, add_linear_skip, fit_pca
from mmdprior.models.mlp import LinearDecoder, LinearEncoder, MLPDecoder, MLPEncoder
from mmdprior.models.posterior import DeterministicPosterior, GaussianPosterior, Posterior
from mmdprior.models.resnet import ResNetDecoder, ResNetEncoder

__all__ = [
    "Autoencoder",
    "BernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "DeterministicPosterior",
    "GaussianLikelihood",
    "GaussianPosterior",
    "LaplaceLikelihood",
    "Likelihood",
    "LinearDecoder",
    "LinearEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "PCA",
    "Posterior",
    "ResNetDecoder",
    "ResNetEncoder",
    "add_linear_skip",
    "evaluation_mode",
    "fit_pca",
]

__getattr__ = moved(
    __name__,
    {
        "Bernoulli": "mmdprior.models:BernoulliLikelihood",
        "Gaussian": "mmdprior.models:GaussianLikelihood",
        "Laplace": "mmdprior.models:LaplaceLikelihood",
    },
)

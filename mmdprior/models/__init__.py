"""Encoders, decoders, posteriors, likelihoods, and the autoencoder that composes them.

    ================================  ===============================================================
    `ConvEncoder`, `ConvDecoder`      the convolutional pair of the literature, for images and signals
    `ResNetEncoder`, `ResNetDecoder`  residual networks for images
    `MixerEncoder`, `MixerDecoder`    MLP-Mixer on patches of images
    `DCTEncoder`, `DCTDecoder`        residual MLP on the lowest frequencies of images and signals
    `MLPEncoder`, `MLPDecoder`        fully connected networks for vectors, signals and images
    `LinearEncoder`, `LinearDecoder`  one linear layer
    `DeterministicPosterior`          the encoder's outputs are the codes
    `GaussianPosterior`               a mean and a variance per dimension, as in a VAE
    `GaussianLikelihood`              squared error
    `LaplaceLikelihood`               absolute error
    `BernoulliLikelihood`             cross-entropy; the decoder returns logits
    `UniformQuantiser`                equal cells between two bounds
    `FSQ`                             finite scalar quantisation: tanh and rounding
    `QLAE`                            learned values per dimension
    ================================  ===============================================================

`add_linear_skip` puts PCA in parallel to any encoder and decoder, as the start of training. `Refinement`
reduces the reconstruction error of each code after training.

Your own encoder and decoder are any ``torch.nn.Module``, named in the config as ``model: {encoder: {target:
"my_models.py:Encoder"}, ...}``. A parameter ``image_shape``, ``num_params`` or ``latent_dim`` of the
constructor is filled in. `mmdprior.testing.check_model` checks them.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from mmdprior.models import Autoencoder, LinearDecoder
    >>> from mmdprior.testing import check_model
    >>> class Encoder(nn.Module):
    ...     def __init__(self, image_shape: tuple[int, int, int], num_params: int, width: int = 16) -> None:
    ...         super().__init__()
    ...         self.conv = nn.Conv2d(image_shape[0], width, 4, stride=4)
    ...         self.last = nn.Linear(width * 8 * 8, num_params)
    ...     def forward(self, images):
    ...         return self.last(self.conv(images).relu().flatten(1))
    >>> shape = (3, 32, 32)
    >>> check_model(Encoder(shape, 10), LinearDecoder(shape, 10), image_shape=shape, latent_dim=10)
    >>> model = Autoencoder(Encoder(shape, 10), LinearDecoder(shape, 10))
    >>> model.encode(torch.rand(4, *shape)).mean.shape
    torch.Size([4, 10])
"""

from mmdprior.deprecation import moved
from mmdprior.models.autoencoder import Autoencoder, evaluation_mode
from mmdprior.models.conv import ConvDecoder, ConvEncoder
from mmdprior.models.dct import DCTDecoder, DCTEncoder
from mmdprior.models.independent_components import fit_fastica
from mmdprior.models.likelihood import BernoulliLikelihood, GaussianLikelihood, LaplaceLikelihood, Likelihood
from mmdprior.models.linear_skip import PCA, add_linear_skip, fit_pca
from mmdprior.models.mixer import MixerDecoder, MixerEncoder
from mmdprior.models.mlp import LinearDecoder, LinearEncoder, MLPDecoder, MLPEncoder
from mmdprior.models.posterior import DeterministicPosterior, GaussianPosterior, Posterior
from mmdprior.models.quantiser import FSQ, QLAE, Quantiser, UniformQuantiser
from mmdprior.models.refinement import Refinement
from mmdprior.models.resnet import ResNetDecoder, ResNetEncoder

__all__ = [
    "Autoencoder",
    "BernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "DCTDecoder",
    "DCTEncoder",
    "DeterministicPosterior",
    "FSQ",
    "GaussianLikelihood",
    "GaussianPosterior",
    "LaplaceLikelihood",
    "Likelihood",
    "LinearDecoder",
    "LinearEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "MixerDecoder",
    "MixerEncoder",
    "PCA",
    "Posterior",
    "QLAE",
    "Quantiser",
    "Refinement",
    "ResNetDecoder",
    "ResNetEncoder",
    "UniformQuantiser",
    "add_linear_skip",
    "evaluation_mode",
    "fit_fastica",
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

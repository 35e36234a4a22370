"""A linear autoencoder and random images, small enough to evaluate in a moment."""

import torch

from mmdprior.data import InMemory
from mmdprior.models import Autoencoder, LinearDecoder, LinearEncoder

SHAPE = (1, 6, 6)


def linear_model(posterior=None, likelihood=None, dim=4):
    outputs = 2 * dim if posterior is not None else dim
    return Autoencoder(LinearEncoder(SHAPE, outputs), LinearDecoder(SHAPE, dim), posterior, likelihood)


def random_images(n=70):
    return InMemory(torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8), torch.arange(n)[:, None])

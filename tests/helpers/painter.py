"""Decoders of which it is known what each latent dimension does, and small linear autoencoders."""

import torch

from mmdprior.data import InMemory
from mmdprior.models import Autoencoder, LinearDecoder, LinearEncoder

SHAPE = (1, 6, 6)


class Painter(torch.nn.Module):
    """Adds strength_i z_i to pixel i of a grey image."""

    def __init__(self, strengths, channels=1):
        super().__init__()
        self.register_buffer("strengths", torch.tensor(strengths))
        self.channels = channels

    def forward(self, z):
        image = torch.full((len(z), 36), 0.5)
        image[:, : z.shape[1]] += self.strengths * z
        return image.view(-1, 1, 6, 6).expand(-1, self.channels, -1, -1)


def linear_autoencoder(posterior=None, dim=4):
    outputs = 2 * dim if posterior is not None else dim
    return Autoencoder(LinearEncoder(SHAPE, outputs), LinearDecoder(SHAPE, dim), posterior)


def random_images(n=70):
    return InMemory(torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8), torch.arange(n)[:, None])

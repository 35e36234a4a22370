"""Objects that configs in the tests name as targets."""

import numpy as np
import torch
from torch import nn

from mmdprior.data import ImageSet, InMemory, Splits
from mmdprior.kernels import Kernel
from mmdprior.priors import Gaussian, Prior
from mmdprior.regularizers import Regularizer
from mmdprior.training import Callback, Logger


def two_sided(n, dim):
    return torch.randn(n, dim).abs() * torch.sign(torch.rand(n, dim) - 0.5)


def wide(n, dim, factor=2.0):
    return factor * torch.randn(n, dim)


def narrow(n):
    return torch.randn(n, 2)


def make_gaussian(dim, scale=3.0):
    return Gaussian(dim, scale=scale)


laplace = torch.distributions.Laplace(torch.zeros(4), torch.ones(4))


def raises(n, dim):
    raise KeyError("boom")


class Absent(Prior):
    def sample(self, n, generator=None):
        return None


def exits(n, dim):
    raise SystemExit(0)


class Wide(nn.Module):
    def __init__(self, num_params):
        super().__init__()
        self.layer = nn.Linear(64 * 64, num_params + 5)

    def forward(self, images):
        return self.layer(images.flatten(1))


class Vector(Regularizer):
    def forward(self, latent, *, step=0, labels=None):
        return latent.sample.square().sum(1)


class Square(Kernel):
    def evaluate(self, x, y):
        raise RuntimeError("boom")


class Linear(Kernel):
    def __init__(self, slope: float = 1.0):
        super().__init__()
        self.slope = slope

    def evaluate(self, x, y):
        return self.slope * x @ y.T


class Encoder(nn.Module):
    def __init__(self, image_shape: tuple, num_params: int, width: int = 8):
        super().__init__()
        size = image_shape[0] * image_shape[1] * image_shape[2]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.Linear(width, num_params))

    def forward(self, images):
        return self.layers(images)


class ForeignEncoder(nn.Module):
    def __init__(self, width: int = 5):
        super().__init__()
        self.layer = nn.Linear(64 * 64, width)

    def forward(self, images):
        return self.layer(images.flatten(1))


class Predicting(Regularizer):
    """A penalty with a learned part."""

    auxiliary_steps = 2

    def __init__(self, dim: int = 4):
        super().__init__()
        self.net = nn.Linear(dim, dim)
        self.seen_gradient = False

    def forward(self, latent, *, step=0, labels=None):
        self.seen_gradient |= any(p.requires_grad for p in self.net.parameters())
        value = self.net(latent.sample).square().mean()
        self.terms = {"size": value.detach()}
        return value

    def auxiliary_modules(self):
        return [self.net]

    def auxiliary_loss(self, latent):
        assert not latent.sample.requires_grad
        return (self.net(latent.sample) - latent.sample).square().mean()


class Exploding(Regularizer):
    """Not a number from the given step on."""

    def __init__(self, at: int = 3):
        super().__init__()
        self.at = at

    def forward(self, latent, *, step=0, labels=None):
        value = latent.sample.square().mean()
        return value * float("nan") if step >= self.at else value


def little_images(images: int = 80):
    g = torch.Generator().manual_seed(0)
    return InMemory(torch.randint(0, 256, (images, 1, 8, 8), dtype=torch.uint8, generator=g))


def own_splits():
    return Splits(*(little_images(count) for count in (10, 3, 4)))


def bits(kind=torch.uint8):
    return InMemory((torch.rand(80, 1, 8, 8) < 0.5).to(kind))


def own_splits_of_bits():
    return Splits(little_images(), bits(), little_images())


class BitsOnRead(ImageSet):
    image_shape = (1, 8, 8)

    def __len__(self):
        return 80

    def gather(self, indices):
        return (torch.rand(len(indices), 1, 8, 8) < 0.5).to(torch.uint8), torch.empty(len(indices), 0)


def halves(step, base=0.5):
    return base**step


def broken(dim):
    return "not a prior"


def squared(x, factor=1.0):
    return factor * x**2


RECORDED = []
"""Calls of `Recording` and `Watching`."""


class Recording(Logger):
    """A logger that records its calls."""

    def __init__(self, word: str) -> None:
        self.word = word

    def scalars(self, values, step):
        RECORDED.append((self.word, "scalars", step))

    def close(self):
        RECORDED.append((self.word, "close", None))


class Watching(Callback):
    """A callback that records its calls, and stops the training."""

    def __init__(self, stop_at: int) -> None:
        self.stop_at = stop_at

    def start(self, trainer):
        RECORDED.append(("start", trainer.step))

    def step(self, trainer, losses):
        RECORDED.append(("step", trainer.step))
        if trainer.step == self.stop_at:
            trainer.stop = lambda: True

    def validation(self, trainer, values):
        RECORDED.append(("validation", trainer.step))

    def end(self, trainer):
        RECORDED.append(("end", trainer.step))


def from_numpy(n, dim):
    return torch.from_numpy(np.random.randn(n, dim)).float()

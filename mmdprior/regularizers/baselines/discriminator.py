"""A fully connected discriminator of codes."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from mmdprior.predictors.networks import check_widths
from mmdprior.priors.arguments import positive_int
from mmdprior.seeding import stream

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """Network from codes to one logit, with leaky ReLUs.

    Args:
        dim: number of latent dimensions d.
        hidden: widths of the hidden layers.
        slope: slope of the leaky ReLUs below zero.
        seed: seed of the initial weights.

    Raises:
        InputError: a dimension or width that is not a positive integer.

    Example:
        >>> Discriminator(3, [16, 16])(torch.randn(8, 3)).shape
        torch.Size([8])
    """

    def __init__(self, dim: int, hidden: Sequence[int], slope: float = 0.2, seed: int = 0) -> None:
        super().__init__()
        widths = [positive_int("dim", dim), *check_widths(hidden)]
        # The layers of torch draw their weights from the global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, "discriminator").initial_seed())
            layers = [(nn.Linear(*pair), nn.LeakyReLU(slope)) for pair in pairwise(widths)]
            self.layers = nn.Sequential(*[part for pair in layers for part in pair], nn.Linear(widths[-1], 1))

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the logit of every code."""
        logits: Tensor = self.layers(z).squeeze(1)
        return logits

    def frozen(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the logits with a gradient in the codes only."""
        parameters = {name: parameter.detach() for name, parameter in self.named_parameters()}
        logits: Tensor = functional_call(self, parameters, (z.to(self.dtype),))
        return logits.to(z)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        weight: Tensor = next(self.parameters())
        return weight.dtype

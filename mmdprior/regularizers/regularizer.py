"""The contract of a regularizer: a penalty on the latents of a batch."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent

__all__ = ["NoPenalty", "Regularizer", "codes_of"]


class Regularizer(nn.Module, ABC):
    """A scalar penalty over the global batch, with its parts kept for the log.

    Attributes:
        terms: the parts of the last value by name, detached 0-dim tensors.
        auxiliary_steps: updates of the learned parts per update of the model.
    """

    auxiliary_steps: int = 1

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, Tensor] = {}

    @abstractmethod
    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch.

        Args:
            latent: codes of the global batch.
            step: the training step, for penalties that change with it.
            labels: (n, k) labels or factors, where the data has them.
        """

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Raise `InputError` unless latents of this kind can be penalised; anything by default.

        Args:
            dim: number of latent dimensions.
            stochastic: whether the posterior has a variance.
        """

    def describe(self) -> str:
        """Say in a line what is penalised, and how."""
        return type(self).__name__

    def auxiliary_modules(self) -> list[nn.Module]:
        """Learned parts (a discriminator, predictors), whose optimizer the loop owns."""
        return []

    def auxiliary_loss(self, latent: Latent) -> Float[Tensor, ""]:
        """Loss of the learned parts on detached codes."""
        return torch.zeros((), device=latent.sample.device)


def codes_of(latent: Latent | Tensor) -> Float[Tensor, "n d"]:
    """Return the sampled codes of a `Latent`, or a plain (n, d) tensor as it is.

    Raises:
        InputError: a tensor without two axes.
    """
    codes = latent.sample if isinstance(latent, Latent) else latent
    if codes.ndim != 2:
        raise InputError(f"latent: shape {tuple(codes.shape)} received; give (n, d) codes")
    return codes


class NoPenalty(Regularizer):
    """The baseline of every table: zero, whatever the codes."""

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return zero."""
        return codes_of(latent).new_zeros(())

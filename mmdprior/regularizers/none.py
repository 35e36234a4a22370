"""No penalty: the plain autoencoder."""

from jaxtyping import Float
from torch import Tensor

from mmdprior.latent import Latent
from mmdprior.regularizers.regularizer import Regularizer, codes_of

__all__ = ["NoPenalty"]


class NoPenalty(Regularizer):
    """The baseline of every table: zero, whatever the codes."""

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return zero."""
        return codes_of(latent).new_zeros(())

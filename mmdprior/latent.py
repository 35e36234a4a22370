"""The one thing that flows between encoder, regularizer, decoder and scores."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

__all__ = ["Latent"]


@dataclass(frozen=True)
class Latent:
    """Codes of a batch under q(z|x).

    Attributes:
        sample: one draw z ~ q(z|x) a row; the mean itself for a deterministic posterior.
        mean: posterior means.
        log_var: log of the posterior variances, or None for a deterministic posterior.
    """

    sample: Float[Tensor, "n d"]
    mean: Float[Tensor, "n d"]
    log_var: Float[Tensor, "n d"] | None = None

    @property
    def dim(self) -> int:
        """Number of latent dimensions d."""
        return self.sample.shape[1]

    @property
    def stochastic(self) -> bool:
        """Whether samples and means differ."""
        return self.log_var is not None

    def detach(self) -> "Latent":
        """Return the same codes cut from the graph."""
        log_var = None if self.log_var is None else self.log_var.detach()
        return Latent(self.sample.detach(), self.mean.detach(), log_var)

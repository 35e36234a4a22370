"""`Latent`: the codes of a batch, as encoder, regularizer, decoder and metrics exchange them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Latent"]


@dataclass(frozen=True)
class Latent:
    """Codes of a batch under the approximate posterior q(z|x).

    A `Posterior` returns one, and every `Regularizer` receives one. It is a pytree of its tensors: the
    transforms of torch.func and torch.export accept one wherever they accept a tensor. Several batches are
    stacked along a first axis for vmap.

    Attributes:
        sample: one draw z ~ q(z|x) per image. A deterministic posterior puts its mean here.
        mean: posterior means, one row per image.
        log_var: log-variances of a diagonal Gaussian posterior; None for a deterministic posterior. After a
            flow, log (sample - mean)^2: its exponential has the variance as its expectation.
        base: codes before the flow of the model; None for a model without one.
        log_det: log |det dz/dh| of the flow at each sample h; None without a flow.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> codes = torch.randn(4, 2)
        >>> latent = Latent(sample=codes, mean=codes)
        >>> latent.dim, latent.stochastic
        (2, False)
        >>> mean, log_var = torch.zeros(4, 2), torch.full((4, 2), -2.0)
        >>> noise = torch.randn(4, 2)
        >>> Latent(mean + (0.5 * log_var).exp() * noise, mean, log_var).stochastic
        True
    """

    sample: Float[Tensor, "... n d"]
    mean: Float[Tensor, "... n d"]
    log_var: Float[Tensor, "... n d"] | None = None
    base: "Latent | None" = None
    log_det: Float[Tensor, "... n"] | None = None

    @property
    def dim(self) -> int:
        """Number of latent dimensions d."""
        return self.sample.shape[-1]

    @property
    def stochastic(self) -> bool:
        """Whether the posterior has a variance, so that samples and means differ."""
        return self.log_var is not None

    def detach(self) -> "Latent":
        """Return the same codes detached from the autograd graph."""
        log_var = None if self.log_var is None else self.log_var.detach()
        base = None if self.base is None else self.base.detach()
        log_det = None if self.log_det is None else self.log_det.detach()
        return Latent(self.sample.detach(), self.mean.detach(), log_var, base, log_det)


torch.export.register_dataclass(Latent, serialized_type_name="mmdprior.Latent")

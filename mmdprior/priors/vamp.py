"""VampPrior: a mixture of the posteriors of learned pseudo-inputs."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.priors.arguments import positive_int
from mmdprior.priors.prior import Prior
from mmdprior.seeding import generator_options, stream

__all__ = ["Vamp"]


class Vamp(Prior):
    """mean_k q(z|u_k) over learned pseudo-inputs u_k (Tomczak & Welling, arXiv 1705.07120, eq. 9).

    It is the prior of a KL penalty: the pseudo-inputs are trained by the loss of the model, and q(z|u_k) is
    the posterior of the encoder in training. The training loop passes the model and the first pseudo-inputs,
    which are training images; before, the prior can be neither sampled nor evaluated. It is the only prior
    with trained parameters. Scores compare the codes with N(0, I), unless ``evaluation.prior`` is another.

    Published, and the default here: 500 pseudo-inputs. The published code starts them at small random values,
    or at training images.

    Args:
        dim: number of latent dimensions d.
        components: number of pseudo-inputs K.

    Raises:
        InputError: a dimension or a number of pseudo-inputs below 1.

    Example:
        >>> import torch
        >>> from mmdprior.models import Autoencoder, GaussianPosterior, LinearDecoder, LinearEncoder
        >>> from mmdprior.priors import Vamp
        >>> shape = (1, 4, 4)
        >>> model = Autoencoder(LinearEncoder(shape, 6), LinearDecoder(shape, 3), GaussianPosterior())
        >>> prior = Vamp(3, components=10)
        >>> prior.attach(model, torch.rand(10, 1, 4, 4))
        >>> prior.log_prob(prior.sample(5)).shape
        torch.Size([5])
    """

    def __init__(self, dim: int, components: int = 500) -> None:
        super().__init__(dim)
        self.count = positive_int("components", components)
        self.pseudo_inputs: nn.Parameter | None
        self.register_parameter("pseudo_inputs", None)
        self._model: tuple[Any, ...] = ()  # in a tuple: the model is no part of the prior

    def attach(self, model: nn.Module, images: Float[Tensor, "k *sample"]) -> None:
        """Receive the model, and the images at which the pseudo-inputs start.

        Pseudo-inputs that have this shape already keep their values.

        Args:
            model: the autoencoder, with ``posterior_params`` and a Gaussian ``posterior``.
            images: float in [0, 1], one per pseudo-input; fewer are repeated.
        """
        self._model = (model,)
        rows = torch.arange(self.count, device=images.device) % len(images)
        start = images[rows].to(self.device, self.dtype)
        if self.pseudo_inputs is None or self.pseudo_inputs.shape != start.shape:
            self.pseudo_inputs = nn.Parameter(start)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        mean, log_var = (part.detach() for part in self._posteriors())
        device = self._sampling_device(generator)
        rows = torch.randint(self.count, (n,), **generator_options(generator), device=device).to(self.device)
        return mean[rows] + (0.5 * log_var[rows]).exp() * self._normal((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z; the gradient reaches encoder and pseudo-inputs."""
        mean, log_var = (part.to(z) for part in self._posteriors())
        standardised = (z[:, None] - mean).square() * torch.exp(-log_var)
        log_densities = -0.5 * (standardised + log_var + math.log(2 * math.pi)).sum(2)
        return torch.logsumexp(log_densities, 1) - math.log(self.count)

    def _posteriors(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Return means and log-variances of q(z|u_k)."""
        if not self._model or self.pseudo_inputs is None:
            raise InputError("vamp: no model received; give it to a kl penalty, to which training passes it")
        (model,) = self._model
        inputs = self.pseudo_inputs.to(next(model.parameters()).dtype)
        if inputs.ndim == 4:  # images; signals and vectors have no bounds
            inputs = inputs.clamp(0, 1)
        noise = stream(0, "vamp", device=inputs.device)  # for a sample that is not used
        latent = model.posterior(model.posterior_params(inputs), noise)
        if latent.log_var is None:
            raise InputError("vamp: deterministic posterior received; give model.posterior: gaussian")
        return latent.mean.to(self.dtype), latent.log_var.to(self.dtype)

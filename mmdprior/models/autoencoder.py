"""`Autoencoder`: encoder, posterior, decoder and likelihood in one module."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmdprior.errors import InputError, InputWarning
from mmdprior.flows.bijection import Bijection
from mmdprior.latent import Latent
from mmdprior.models.likelihood import GaussianLikelihood, Likelihood
from mmdprior.models.posterior import DeterministicPosterior, Posterior
from mmdprior.models.quantiser import Quantiser
from mmdprior.models.refinement import Refinement
from mmdprior.seeding import stream
from mmdprior.tracing import is_traced

__all__ = ["Autoencoder", "evaluation_mode"]

_OVERSHOOT = 0.5
"""Distance from [0, 1] above which `Autoencoder.encode` warns; decoded images are not clipped either."""
_OTHER_SCALE = 10.0
"""Absolute value above which images are not in [0, 1], but from 0 to 255 for example."""


class Autoencoder(nn.Module):
    """Encode images to codes and decode codes to images. It computes no loss.

    Encoder and decoder are any modules with this contract, which `mmdprior.testing.check_model` checks:

    - The encoder maps images (n, C, H, W), float in [0, 1], to (n, ``posterior.num_params(d)``). Signals
      (n, C, T) and vectors (n, p) take the place of images, and have no limits.
    - The decoder maps codes (n, d) to the shape of the images: mean images for a Gaussian or Laplace
      likelihood, logits for a Bernoulli likelihood.
    - In evaluation mode a row of the output depends only on the same row of the input.

    Attributes:
        image_shape: (channels, height, width) of the images that `encode` accepts, (channels, length) of
            signals or (features,) of vectors; None, the default, accepts any. `mmdprior.load` sets it.
        refinement: gradient steps that reduce the reconstruction error of each code, in evaluation mode;
            None, the default, for the codes of the encoder.

    Args:
        encoder: module from images to posterior parameters.
        decoder: module from codes to likelihood parameters.
        posterior: family of q(z|x); deterministic by default.
        likelihood: family of p(x|z); Gaussian by default.
        flow: invertible map between encoder and decoder: codes are z = flow(h) for the encoder's codes h, and
            the decoder receives flow.inverse(z); None by default.
        quantiser: quantiser between the codes z, after the flow, and the decoder; None by default. Codes
            stay continuous: `encode` returns z, and `decode` quantises it.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from mmdprior.models import Autoencoder, GaussianPosterior
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 2 * 3))
        >>> decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
        >>> model = Autoencoder(encoder, decoder, GaussianPosterior())
        >>> latent = model.encode(torch.rand(16, 1, 8, 8))
        >>> latent.mean.shape, model.decode(latent.sample).shape
        (torch.Size([16, 3]), torch.Size([16, 1, 8, 8]))
    """

    image_shape: tuple[int, ...] | None = None
    refinement: Refinement | None = None

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        flow: Bijection | None = None,
        quantiser: Quantiser | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.posterior = DeterministicPosterior() if posterior is None else posterior
        self.likelihood = GaussianLikelihood() if likelihood is None else likelihood
        self.flow = flow
        self.quantiser = quantiser

    def with_networks(
        self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood | None = None
    ) -> "Autoencoder":
        """Return a model with other networks that shares all else: posterior, likelihood, flow and so on.

        Args:
            encoder: the other encoder.
            decoder: the other decoder.
            likelihood: another likelihood; None, the default, for that of this model.
        """
        likelihood = self.likelihood if likelihood is None else likelihood
        model = Autoencoder(encoder, decoder, self.posterior, likelihood, self.flow, self.quantiser)
        model.refinement = self.refinement
        return model

    def encode(self, images: Float[Tensor, "n *sample"], generator: torch.Generator | None = None) -> Latent:
        """Return q(z|x) and one sample of it per image.

        Args:
            images: images, float in [0, 1], or signals or vectors in their own units.
            generator: source of the posterior noise; by default torch's global generator.

        Raises:
            InputError: ``image_shape`` is set, and the images have another shape or range.
        """
        if self.image_shape is not None:
            _check_images(images, self.image_shape)
        return self.through_flow(self.posterior(self.posterior_params(images), generator))

    def decode(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *sample"]:
        """Return the mean images of codes, unclipped: those of a Gaussian likelihood may leave [0, 1].

        Signals and vectors are in the units of the data. A quantiser is applied to the codes first.
        """
        return self.decode_values(self.quantised(z))

    def decode_indices(self, indices: Int[Tensor, "n d"]) -> Float[Tensor, "n *sample"]:
        """Return the mean images of the levels of the quantiser.

        Args:
            indices: level of every code, from 0.

        Raises:
            InputError: the model has no quantiser.
        """
        if self.quantiser is None:
            raise InputError("model.quantiser: missing; only a model with one decodes indices")
        return self.decode_values(self.quantiser.values(indices))

    def decode_values(self, values: Float[Tensor, "n d"]) -> Float[Tensor, "n *sample"]:
        """Return the mean images of codes that are not quantised again.

        Args:
            values: what a quantiser returns, or continuous codes that bypass the quantiser of the model.
        """
        return self.likelihood.mean(self.decoder(self.before_flow(values)))

    def forward(
        self, images: Float[Tensor, "n *sample"], generator: torch.Generator | None = None
    ) -> tuple[Latent, Float[Tensor, "n *sample"]]:
        """Return the codes, and the decoder's output for the sampled codes."""
        latent = self.encode(images, generator)
        return latent, self.decoder_output(self.decoder_input(latent, generator), images.shape)

    def quantised(
        self, z: Float[Tensor, "n d"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        """Return codes after the flow as the quantiser passes them on; the same codes without one.

        Args:
            z: continuous codes, after the flow if there is one.
            generator: source of the noise of a quantiser that trains with noise.
        """
        if self.quantiser is None:
            return z
        quantised: Tensor = self.quantiser(z, generator)
        return quantised

    def decoder_input(self, latent: Latent, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Return the inputs of the decoder for sampled codes. Without a quantiser no flow is inverted.

        Args:
            latent: codes after the flow, from `encode` or `through_flow`.
            generator: source of the noise of a quantiser that trains with noise.
        """
        if self.quantiser is None:
            return (latent.base or latent).sample
        return self.before_flow(self.quantised(latent.sample, generator))

    def through_flow(self, latent: Latent) -> Latent:
        """Return codes after the flow, with those before it as ``base``; the same codes without a flow.

        Samples and means are mapped. The image of the posterior is no Gaussian: ``log_var`` becomes
        log (sample - mean)^2, whose exponential averages to the variance.

        Args:
            latent: codes of the posterior.
        """
        if self.flow is None:
            return latent
        z, log_det = self.flow.forward_and_log_det(latent.sample)
        if not latent.stochastic:
            return Latent(z, z, None, latent, log_det)
        mean = self.flow(latent.mean)
        squared = (z - mean).detach().square().clamp(min=torch.finfo(z.dtype).tiny)
        return Latent(z, mean, squared.log(), latent, log_det)

    def before_flow(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the inputs of the decoder for codes after the flow; the same codes without a flow."""
        return z if self.flow is None else self.flow.inverse(z)

    def posterior_params(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n p"]:
        """Return the encoder's output in float32 or wider; in evaluation mode refined, with a ``refinement``.

        Raises:
            InputError: the encoder does not return (n, p), or there are a refinement and a quantiser.
        """
        params = self.encoder_output(images)
        if self.refinement is None or self.training:
            return params
        if self.quantiser is not None:
            raise InputError("refinement: received with a quantiser; leave out one of them")

        def output(refined: Tensor) -> Tensor:
            # The mean needs no noise, but a posterior may draw some: not from the global generators.
            noise = stream(0, "refinement", device=refined.device)
            return self.decoder_output(self.posterior(refined, noise).mean, images.shape)

        return self.refinement(params, images, output, self.likelihood.loss)

    def encoder_output(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n p"]:
        """Return the encoder's output, in float32 or wider.

        Under autocast the encoder returns 16-bit numbers, too coarse for the penalty on the codes.

        Raises:
            InputError: the encoder does not return (n, p).
        """
        params = self.encoder(images)
        if params.ndim != 2 or params.shape[0] != images.shape[0]:
            raise InputError(
                f"encoder: shape {tuple(params.shape)} returned; return (n, outputs) for n images"
            )
        return params.to(torch.promote_types(params.dtype, torch.float32))

    def decode_raw(self, z: Float[Tensor, "n d"], shape: torch.Size) -> Float[Tensor, "n *sample"]:
        """Return the decoder's output, in float32 or wider: the input of ``likelihood.loss``.

        Args:
            z: codes, after the flow if there is one.
            shape: shape that the output must have, that of the images.

        Raises:
            InputError: the decoder returns another shape.
        """
        return self.decoder_output(self.before_flow(self.quantised(z)), shape)

    def decoder_output(self, h: Float[Tensor, "n d"], shape: torch.Size) -> Float[Tensor, "n *sample"]:
        """Return the decoder's output for its inputs, in float32 or wider; see `decoder_input`.

        Args:
            h: inputs of the decoder: codes before the flow, quantised if the model has a quantiser.
            shape: shape that the output must have, that of the images.

        Raises:
            InputError: the decoder returns another shape.
        """
        output = self.decoder(h)
        if output.shape != shape:
            raise InputError(f"decoder: shape {tuple(output.shape)} returned; return {tuple(shape)}")
        return output.to(torch.promote_types(output.dtype, torch.float32))


def _check_images(images: object, shape: tuple[int, ...]) -> None:
    """Raise `InputError` unless images are floats of shape (n, *shape), and warn outside [0, 1].

    Signals and vectors, which have fewer axes, may have any finite values.
    """
    is_image = len(shape) == 3
    limits = "in [0, 1] " if is_image else ""
    wanted = f"give floats {limits}of shape (n, {', '.join(map(str, shape))})"
    if not isinstance(images, Tensor):
        raise InputError(f"images: {type(images).__name__} received; {wanted} as a torch.Tensor")
    if images.ndim != 1 + len(shape) or tuple(images.shape[1:]) != tuple(shape):
        raise InputError(f"images: shape {tuple(images.shape)} received; {wanted}")
    if not images.is_floating_point():
        example = "images.float() / 255" if is_image else "rows.float()"
        raise InputError(f"images: {images.dtype} received; {wanted}, such as {example}")
    if is_traced() or not images.numel():
        return
    low, high = (float(limit) for limit in images.detach().aminmax())
    text = f"images: values from {low:g} to {high:g} received; {wanted}"
    if not is_image:
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(f"images: NaN or infinity received; {wanted}")
        return
    if not -_OTHER_SCALE <= low <= high <= _OTHER_SCALE:  # also for NaN
        raise InputError(text)
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        warnings.warn(text, InputWarning, stacklevel=3)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Return a context manager that puts a model in evaluation mode and restores each submodule's mode.

    Example:
        >>> from torch import nn
        >>> from mmdprior.models import evaluation_mode
        >>> model = nn.Dropout()
        >>> with evaluation_mode(model):
        ...     print(model.training)
        False
        >>> model.training
        True
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training

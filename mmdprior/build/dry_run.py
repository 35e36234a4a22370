"""The dry run: one batch through all parts of a run before training starts."""

import torch
from torch import Tensor

from mmdprior.build.construct import error_path
from mmdprior.data import ImageSet
from mmdprior.data.source import to_float
from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.regularizers import Regularizer
from mmdprior.seeding import global_generators_kept, stream

__all__ = ["dry_run"]

_MAX_IMAGES = 32


def dry_run(
    model: Autoencoder,
    regularizer: Regularizer,
    images: ImageSet,
    *,
    latent_dim: int,
    batch_size: int,
    device: torch.device,
) -> None:
    """Check on one batch that encoder, posterior, decoder, likelihood and penalty fit together.

    Nothing changes: neither parameters and buffers nor the state of the random number generators.

    Args:
        model: the autoencoder, on ``device``.
        regularizer: the penalty, on ``device``.
        images: the training images.
        latent_dim: number of latent dimensions d.
        batch_size: images per training step; at most 32 of them are used.
        device: where to compute.

    Raises:
        InputError: a part that fails or returns what the next part cannot use, with its key path.
    """
    batch, labels = images.gather(torch.arange(min(batch_size, len(images), _MAX_IMAGES)))
    x = to_float(batch.to(device))
    with global_generators_kept(device), evaluation_mode(model), evaluation_mode(regularizer):
        latent = _encode(model, x, latent_dim)
        _decode(model, latent, x)
        with error_path("model.refinement"):
            model.posterior_params(x)
        with error_path("regularizer"):
            _check_scalar("regularizer", regularizer(latent, step=0, labels=labels.to(device)))
            for name, term in regularizer.terms.items():
                _check_scalar(f"term {name}", term)


def _encode(model: Autoencoder, x: Tensor, latent_dim: int) -> Latent:
    """Return the latent codes of a batch, after checks of encoder and posterior."""
    with error_path("model.encoder"):
        params = model.encoder_output(x)
        expected = model.posterior.num_params(latent_dim)
        if params.shape[1] != expected:
            raise InputError(f"encoder: {params.shape[1]} outputs returned; return {expected}")
    with error_path("model.posterior"):
        latent = model.posterior(params, stream(0, "dry_run", device=x.device))
        if not isinstance(latent, Latent) or latent.sample.shape != (len(x), latent_dim):
            raise InputError(f"posterior: no Latent of ({len(x)}, {latent_dim}) codes returned")
    with error_path("model.flow"):
        return model.through_flow(latent)


def _decode(model: Autoencoder, latent: Latent, x: Tensor) -> None:
    """Check decoder and likelihood on the codes of a batch."""
    with error_path("model.quantiser"):
        inputs = model.decoder_input(latent)
        if inputs.shape != latent.sample.shape:
            raise InputError(
                f"quantiser: shape {tuple(inputs.shape)} returned; return {tuple(latent.sample.shape)}"
            )
    with error_path("model.decoder"):
        output = model.decoder(inputs)
        if not isinstance(output, Tensor) or output.shape != x.shape:
            raise InputError(f"decoder: {_shape_or_type(output)} returned; return {tuple(x.shape)}")
    with error_path("model.likelihood"):
        _check_scalar("likelihood", model.likelihood.loss(output, x))
        mean = model.likelihood.mean(output)
        if not isinstance(mean, Tensor) or mean.shape != x.shape:
            raise InputError(f"likelihood: mean {_shape_or_type(mean)} returned; return {tuple(x.shape)}")


def _check_scalar(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or value.shape != ():
        raise InputError(f"{name}: {_shape_or_type(value)} returned; return a 0-dim tensor")


def _shape_or_type(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__

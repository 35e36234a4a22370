"""One batch through every part before training, so that a part that cannot work fails at once."""

import torch
from torch import Tensor

from mmdprior.config.paths import at
from mmdprior.data import ImageSet
from mmdprior.data.batches import to_float
from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.regularizers import Regularizer
from mmdprior.seeding import stream

__all__ = ["try_once"]


def try_once(
    model: Autoencoder,
    regularizer: Regularizer,
    images: ImageSet,
    *,
    latent_dim: int,
    batch_size: int,
    device: torch.device,
) -> None:
    """Pass one batch through encoder, posterior, decoder, likelihood and penalty; change nothing.

    Raises:
        InputError: whatever a part raises or returns that the next one cannot take, by its key path.
    """
    batch, labels = images.gather(torch.arange(min(batch_size, len(images), 32)))
    x = to_float(batch.to(device))
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda), evaluation_mode(model), evaluation_mode(regularizer):
        with at("model.encoder"):
            params = model.posterior_params(x)
            expected = model.posterior.num_params(latent_dim)
            if params.shape[1] != expected:
                raise InputError(f"encoder: {params.shape[1]} outputs returned; return {expected}")
        with at("model.posterior"):
            latent = model.posterior(params, stream(0, "trial", device=device))
            if not isinstance(latent, Latent) or latent.sample.shape != (len(x), latent_dim):
                raise InputError(f"posterior: no Latent of ({len(x)}, {latent_dim}) codes returned")
        with at("model.decoder"):
            output = model.decoder(latent.sample)
            if not isinstance(output, Tensor) or output.shape != x.shape:
                raise InputError(f"decoder: {_kind(output)} returned; return {tuple(x.shape)}")
        with at("model.likelihood"):
            _check_scalar("likelihood", model.likelihood.loss(output, x))
            mean = model.likelihood.mean(output)
            if not isinstance(mean, Tensor) or mean.shape != x.shape:
                raise InputError(f"likelihood: mean {_kind(mean)} returned; return {tuple(x.shape)}")
        with at("regularizer"):
            penalty = regularizer(latent, step=0, labels=labels.to(device))
            _check_scalar("regularizer", penalty)
            for name, term in regularizer.terms.items():
                _check_scalar(f"term {name}", term)


def _check_scalar(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or value.shape != ():
        raise InputError(f"{name}: {_kind(value)} returned; return a 0-dim tensor")


def _kind(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__

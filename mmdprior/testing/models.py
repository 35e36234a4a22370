"""The contract of encoder, decoder, posterior and likelihood, as a check."""

import copy
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmdprior.errors import InputError, reason
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, Likelihood, Posterior
from mmdprior.precision import full_convolutions
from mmdprior.seeding import stream

__all__ = ["check_model"]

_ROWS = 4
_TOLERANCE = 1e-3
"""Largest relative difference of outputs that count as equal; batch sizes change float32 sums by 1e-5."""


def check_model(
    encoder: nn.Module,
    decoder: nn.Module | None = None,
    *,
    image_shape: tuple[int, ...],
    latent_dim: int,
    posterior: Posterior | None = None,
    likelihood: Likelihood | None = None,
) -> None:
    """Check that encoder, decoder, posterior and likelihood satisfy the contract of `Autoencoder`.

    It checks, on random images: shapes and finite values; that posterior noise comes from the generator; that
    the loss is a mean over the batch; that every parameter gets a gradient; that in evaluation mode outputs
    are repeatable and a row does not depend on the other rows; that the module moves to float64 and to a GPU,
    if there is one; and that its state dict restores it. The modules are copied, so they stay unchanged.

    Batch normalisation passes, because it uses stored statistics in evaluation mode. In training mode it
    makes rows depend on one another, so the gradient then depends on the number of processes and on
    ``trainer.accumulate``.

    Args:
        encoder: module from images to posterior parameters, or a whole `Autoencoder`.
        decoder: module from codes to images; None if ``encoder`` is an `Autoencoder`.
        image_shape: (channels, height, width).
        latent_dim: number of latent dimensions d.
        posterior: deterministic by default.
        likelihood: Gaussian by default.

    Raises:
        InputError: the first violation, in one line that names the part and what to change.

    Example:
        >>> from torch import nn
        >>> from mmdprior.testing import check_model
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        >>> decoder = nn.Sequential(nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8)))
        >>> check_model(encoder, decoder, image_shape=(1, 8, 8), latent_dim=4)
        >>> check_model(encoder, decoder, image_shape=(1, 8, 8), latent_dim=3)
        Traceback (most recent call last):
        mmdprior.errors.InputError: encoder: shape (4, 4) returned for 4 images; return (4, 3)
    """
    if isinstance(encoder, Autoencoder):
        if decoder is not None or posterior is not None or likelihood is not None:
            raise InputError("encoder: an Autoencoder received with other parts; give only the Autoencoder")
        model = encoder
    elif decoder is None:
        raise InputError("decoder: None received; give a module from codes to images")
    else:
        model = Autoencoder(encoder, decoder, posterior, likelihood)
    try:
        model = copy.deepcopy(model)
    except Exception as error:
        raise InputError(f"model: copy.deepcopy fails ({reason(error)}); keep only copyable state") from error
    generator = stream(0, "check_model")
    images = torch.rand(_ROWS, *image_shape, generator=generator).to(_device_of(model))
    z = torch.randn(_ROWS, latent_dim, generator=generator).to(images)

    _check_registered(model)
    model.eval()
    with torch.no_grad(), full_convolutions():
        _check_outputs(model, images, z)
        _check_posterior(model, images, latent_dim)
        _check_likelihood(model, images, z)
        _check_rows(model, images, z)
        _check_conversion(model, images, z)
        _check_state_dict(model, images, z)
    _check_gradients(model, images)


def _device_of(model: nn.Module) -> torch.device:
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


def _call(part: str, module: Callable[..., Any], *inputs: Tensor) -> Tensor:
    """Return the output of a part as a tensor; raise its errors in one line."""
    try:
        output = module(*inputs)
    except InputError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in inputs)
        raise InputError(f"{part}: {type(error).__name__} for input {shapes} ({reason(error)})") from error
    if not isinstance(output, Tensor):
        raise InputError(f"{part}: {type(output).__name__} returned; return a tensor")
    return output


def _require_equal(a: Tensor, b: Tensor, message: str) -> None:
    scale = float(b.abs().max().clamp(min=1e-6))
    if a.shape != b.shape or float((a - b).abs().max()) > _TOLERANCE * scale:
        raise InputError(message)


def _require_finite(part: str, output: Tensor) -> None:
    if not bool(torch.isfinite(output).all()):
        raise InputError(f"{part}: NaN or infinity returned; return finite numbers")


def _check_registered(model: nn.Module) -> None:
    """Reject tensors that neither move with the module nor enter its state dict."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, Tensor):
                path = f"{name}.{attribute}" if name else attribute
                raise InputError(
                    f"{path}: a plain tensor, which does not move with the module and is not saved; use "
                    "register_buffer"
                )


def _check_outputs(model: Autoencoder, images: Tensor, z: Tensor) -> None:
    outputs = model.posterior.num_params(z.shape[1])
    params = _call("encoder", model.encoder, images)
    if params.shape != (len(images), outputs):
        raise InputError(
            f"encoder: shape {tuple(params.shape)} returned for {len(images)} images; return "
            f"({len(images)}, {outputs})"
        )
    _require_finite("encoder", params)
    output = _call("decoder", model.decoder, z)
    if output.shape != images.shape:
        raise InputError(
            f"decoder: shape {tuple(output.shape)} returned for {len(z)} codes; return {tuple(images.shape)}"
        )
    _require_finite("decoder", output)
    for part, result in (("encoder", params), ("decoder", output)):
        if result.device != images.device:
            raise InputError(
                f"{part}: output on {result.device} for input on {images.device}; keep the device"
            )


def _check_posterior(model: Autoencoder, images: Tensor, latent_dim: int) -> None:
    params = model.encoder(images)

    def sample(seed: int) -> Any:
        try:
            return model.posterior(params, torch.Generator().manual_seed(seed))
        except InputError:
            raise
        except Exception as error:
            inputs = f"parameters {tuple(params.shape)} and a CPU generator"
            raise InputError(f"posterior: {type(error).__name__} for {inputs} ({reason(error)})") from error

    latent = sample(0)
    if not isinstance(latent, Latent):
        raise InputError(f"posterior: {type(latent).__name__} returned; return a Latent")
    shape = (len(images), latent_dim)
    parts = {"sample": latent.sample, "mean": latent.mean, "log_var": latent.log_var}
    for name, part in parts.items():
        if part is not None and part.shape != shape:
            raise InputError(f"posterior: {name} of shape {tuple(part.shape)} returned; return {shape}")
        if part is not None:
            _require_finite(f"posterior: {name}", part)
    if latent.stochastic != model.posterior.stochastic:
        raise InputError(
            f"posterior: stochastic is {model.posterior.stochastic}, but log_var is "
            f"{'a tensor' if latent.stochastic else 'None'}; make them agree"
        )
    if not torch.equal(sample(0).sample, latent.sample):
        raise InputError("posterior: two samples with one seed differ; draw all noise from the generator")
    if latent.stochastic == torch.equal(sample(1).sample, latent.sample):
        expected = "depend on the generator" if latent.stochastic else "not depend on the generator"
        raise InputError(f"posterior: with stochastic = {latent.stochastic}, samples must {expected}")


def _check_likelihood(model: Autoencoder, images: Tensor, z: Tensor) -> None:
    output = model.decoder(z)
    for name, function, x in (
        ("mean", model.likelihood.mean, output),
        ("link", model.likelihood.link, images),
    ):
        result = _call(f"likelihood.{name}", function, x)
        if result.shape != images.shape:
            raise InputError(
                f"likelihood.{name}: shape {tuple(result.shape)} returned; return {tuple(images.shape)}"
            )
        _require_finite(f"likelihood.{name}", result)
    loss = _call("likelihood.loss", model.likelihood.loss, output, images)
    if loss.ndim != 0:
        raise InputError(f"likelihood.loss: shape {tuple(loss.shape)} returned; return a 0-dim tensor")
    _require_finite("likelihood.loss", loss)
    pairs = zip(output.split(1), images.split(1), strict=True)
    per_image = torch.stack([model.likelihood.loss(*pair) for pair in pairs])
    _require_equal(
        per_image.mean(),
        loss,
        "likelihood.loss: the loss of a batch is not the mean over its images; average over the batch",
    )


def _check_rows(model: Autoencoder, images: Tensor, z: Tensor) -> None:
    """Check that evaluation mode is repeatable and that a row depends only on the same row of the input."""
    for part, module, x in (("encoder", model.encoder, images), ("decoder", model.decoder, z)):
        whole = module(x)
        _require_equal(
            module(x), whole, f"{part}: two calls in evaluation mode differ; draw no random numbers there"
        )
        for row in range(len(x)):
            _require_equal(
                _call(part, module, x[row : row + 1]),
                whole[row : row + 1],
                f"{part}: row {row} of a batch differs from the same row as a batch of one; in evaluation "
                "mode a row must not depend on the others",
            )


def _check_conversion(model: Autoencoder, images: Tensor, z: Tensor) -> None:
    """Check that the modules work in float64 and, if there is one, on a GPU."""
    targets: list[tuple[str, Any]] = [("torch.float64", torch.float64)]
    if torch.cuda.is_available() and images.device.type == "cpu":
        targets.append(("cuda", torch.device("cuda")))
    for name, target in targets:
        converted = copy.deepcopy(model).to(target)
        for part, x in (("encoder", images), ("decoder", z)):
            output = _call(f"{part} after .to({name})", getattr(converted, part), x.to(target))
            kept = output.dtype == target if isinstance(target, torch.dtype) else output.device.type == name
            if not kept:
                raise InputError(
                    f"{part}: {output.dtype} on {output.device} returned after .to({name}); follow the input"
                )


def _check_state_dict(model: Autoencoder, images: Tensor, z: Tensor) -> None:
    """Check that the state dict, saved and loaded, restores a copy whose weights were changed."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    restored = copy.deepcopy(model)
    for tensor in restored.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(1)
    try:
        restored.load_state_dict(torch.load(file, weights_only=True))
    except Exception as error:
        raise InputError(f"state dict: not loaded after saving ({reason(error)})") from error
    for part, x in (("encoder", images), ("decoder", z)):
        _require_equal(
            getattr(restored, part)(x),
            getattr(model, part)(x),
            f"{part}: loading its saved state dict does not restore its outputs; keep all state in "
            "parameters and buffers",
        )


def _check_gradients(model: Autoencoder, images: Tensor) -> None:
    """Check that the reconstruction loss has a finite gradient for every parameter, in training mode."""
    model.train().zero_grad(set_to_none=True)
    _, output = model(images, torch.Generator().manual_seed(0))
    loss = model.likelihood.loss(output, images)
    if not loss.requires_grad:
        raise InputError("model: the loss has no gradient; detach nothing between images and loss")
    loss.backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            raise InputError(f"{name}: no gradient; use the parameter in forward, or remove it")
        _require_finite(f"{name}: gradient", parameter.grad)

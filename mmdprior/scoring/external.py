"""Encoders that were trained elsewhere: Python classes with weights, TorchScript, exported programs."""

import itertools
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmdprior.config.load import parse_value
from mmdprior.config.targets import import_target
from mmdprior.errors import InputError, reason, shorten
from mmdprior.models import Autoencoder, DeterministicPosterior, GaussianPosterior
from mmdprior.scoring.file_kind import file_kind
from mmdprior.training.checkpoint import plain_key

__all__ = ["PosteriorName", "as_model", "load_encoder", "load_program", "read_weights"]

PosteriorName = Literal["deterministic", "gaussian"]
"""Meaning of an encoder's outputs: codes, or means and log-variances."""


def load_encoder(
    target: str, weights: str | None, posterior: PosteriorName, image_shape: tuple[int, ...]
) -> Autoencoder:
    """Build an encoder from Python code and load its weights. Nothing in the weights file runs.

    Args:
        target: ``package.module:Class`` or ``file.py:Class``, or YAML with the arguments of the class:
            ``"{target: file.py:Net, width: 64}"``. A target that is a module object is used unchanged.
        weights: path of a state dict (``.pt``) or of ``.safetensors``; None keeps those of the target.
        posterior: meaning of the outputs.
        image_shape: (channels, height, width) of the two images that test the encoder.

    Raises:
        InputError: the target cannot be built, the weights do not fit, or the outputs are not (n, p).
    """
    encoder = _build(target)
    if weights is not None:
        try:
            encoder.load_state_dict(read_weights(Path(weights)))
        except Exception as error:  # the class may override load_state_dict
            detail = shorten(" ".join(str(error).split()))
            raise InputError(f"--weights: {weights} does not fit {target} ({detail})") from None
    return as_model(encoder, f"--encoder: {target}", posterior, image_shape)


def load_program(
    path: str,
    posterior: PosteriorName,
    image_shape: tuple[int, ...],
    device: torch.device,
    *,
    trust: bool,
) -> Autoencoder:
    """Load a TorchScript file or an exported program as an encoder. The code in the file runs.

    Args:
        path: file written by ``torch.jit.save`` or ``torch.export.save``.
        posterior: meaning of the outputs.
        image_shape: (channels, height, width) of the two images that test the encoder.
        device: device of the returned model.
        trust: whether the code may run.

    Raises:
        InputError: ``trust`` is not set, the file cannot be loaded, or the model does not accept the images.
    """
    kind = file_kind(path)
    description = "TorchScript" if kind == "torchscript" else "an exported program"
    if not trust:
        raise InputError(f"{path}: {description}, whose code would run; give --trust to allow it")
    try:
        if kind == "torchscript":
            encoder: nn.Module = torch.jit.load(path, map_location=device)
        else:
            encoder = _Program(torch.export.load(path), device)
    except Exception as error:  # torch raises many types for a bad file
        raise InputError(f"{path}: {description} that cannot be loaded ({reason(error)})") from None
    return as_model(encoder, path, posterior, image_shape, device)


def as_model(
    encoder: nn.Module,
    name: str,
    posterior: PosteriorName,
    image_shape: tuple[int, ...],
    device: torch.device | str = "cpu",
) -> Autoencoder:
    """Wrap an encoder as a model without a decoder, after a test with two black images.

    Args:
        encoder: module that maps (n, channels, height, width) images in [0, 1] to (n, p) outputs.
        name: name of the encoder in errors.
        posterior: meaning of the outputs.
        image_shape: (channels, height, width) of the test images.
        device: device of the encoder.

    Raises:
        InputError: the outputs are not (n, p), or the encoder raises an error.
    """
    kind = GaussianPosterior if posterior == "gaussian" else DeterministicPosterior
    model = Autoencoder(encoder, _NoDecoder(), kind()).eval()
    try:
        with torch.no_grad():
            outputs = encoder(torch.zeros(2, *image_shape, device=device))
            if not isinstance(outputs, Tensor):
                raise InputError(f"{name}: {type(outputs).__name__} returned; return a tensor (n, outputs)")
            model.encode(torch.zeros(2, *image_shape, device=device))
    except InputError as error:
        text = str(error)
        raise error if text.startswith(name) else InputError(f"{name}: {text}") from None
    except Exception as error:  # any error of the user's code
        raise InputError(f"{name} does not accept images of {image_shape} ({_first_error(error)})") from error
    return model


class _NoDecoder(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        raise InputError("decoder: an encoder without a decoder can only encode")


class _Program(nn.Module):
    """An exported program as a module. Batches are padded where it was exported for a fixed batch size."""

    def __init__(self, program: torch.export.ExportedProgram, device: torch.device) -> None:
        super().__init__()
        from torch.export.passes import move_to_device_pass

        self.batch = _fixed_batch(program)
        # A tuple keeps the program from being registered as a submodule: it does not allow eval() or train().
        self._call = (move_to_device_pass(program, device).module(),)

    def forward(self, images: Tensor) -> Any:
        (call,) = self._call
        if self.batch is None:
            return call(images)
        outputs = []
        for part in images.split(self.batch):
            padding = part[-1:].expand(self.batch - len(part), *part.shape[1:])
            outputs.append(call(torch.cat([part, padding]))[: len(part)])
        return torch.cat(outputs)


def _fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """Return the batch size that a program was exported for, or None if it is dynamic."""
    inputs = set(program.graph_signature.user_inputs)
    nodes = itertools.dropwhile(lambda node: node.name not in inputs, program.graph.nodes)
    size = next(nodes).meta["val"].shape[0]
    return size if isinstance(size, int) else None


def _first_error(error: Exception) -> str:
    """Return the line with the error itself; TorchScript prints a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line]
    return shorten(errors[-1]) if errors else reason(error)


def _build(target: str) -> nn.Module:
    description: Any = (
        parse_value(target, "--encoder") if target.lstrip().startswith("{") else {"target": target}
    )
    arguments = {key: value for key, value in description.items() if key != "target"}
    encoder = import_target(str(description.get("target", "")), "--encoder")
    if not isinstance(encoder, nn.Module):
        try:
            encoder = encoder(**arguments)
        except Exception as error:  # any error of the user's code
            raise InputError(f"--encoder: {target} cannot be called ({reason(error)})") from error
    if not isinstance(encoder, nn.Module):
        raise InputError(f"--encoder: {target} returned {type(encoder).__name__}; give a torch.nn.Module")
    return encoder


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file, without prefixes of wrappers. Nothing in the file runs.

    Args:
        path: a state dict (``.pt``), alone or under ``state_dict``, or ``.safetensors``.

    Raises:
        InputError: no such file, or a file without a state dict.
    """
    if not path.is_file():
        raise InputError(f"--weights: {path}: no such file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"--weights: {path}: damaged ({reason(error)})") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a bad file
        raise InputError(f"--weights: {path}: not a plain state dict ({reason(error)})") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise InputError(f"--weights: {path}: no state dict; save model.state_dict()")
    return {plain_key(key): value for key, value in state.items()}

"""Encoders that were trained elsewhere: Python classes with weights, TorchScript, exported programs, ONNX."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from mmdprior.choices import PosteriorName
from mmdprior.config.load import parse_value
from mmdprior.config.targets import import_target
from mmdprior.errors import InputError, reason, shorten
from mmdprior.models import Autoencoder
from mmdprior.scoring.file_kind import file_kind
from mmdprior.scoring.foreign_encoder import EncoderOptions, as_model
from mmdprior.scoring.onnx import OnnxEncoder, in_batches
from mmdprior.scoring.weights import weights_for

__all__ = ["load_encoder", "load_program"]

_DESCRIPTIONS = {"torchscript": "TorchScript", "exported": "an exported program"}


def load_encoder(
    target: str,
    weights: str | None,
    posterior: PosteriorName | None,
    images: Tensor,
    options: EncoderOptions = EncoderOptions(),  # noqa: B008, it is frozen
) -> Autoencoder:
    """Build an encoder from Python code and load its weights. Nothing in the weights file runs.

    Args:
        target: ``package.module:Class`` or ``file.py:Class``, or YAML with the arguments of the class:
            ``"{target: file.py:Net, width: 64}"``. A target that is a module object is used unchanged.
        weights: file or folder of weights, see `mmdprior.scoring.weights.read_weights`; None keeps those of
            the target.
        posterior: meaning of outputs without names.
        images: some images that test the encoder.
        options: part of the weights, and how the encoder is called and read.

    Raises:
        InputError: the target cannot be built, the weights do not fit, or the outputs cannot be read.
    """
    encoder = _build(target)
    if weights is not None:
        state = weights_for(encoder, weights, options.key, options.prefix)
        try:
            encoder.load_state_dict(state)
        except Exception as error:  # the class may override load_state_dict
            detail = shorten(" ".join(str(error).split()))
            raise InputError(f"--weights: {weights} does not fit {target} ({detail})") from None
    return as_model(encoder, f"--encoder: {target}", posterior, images, options)


def load_program(
    path: str,
    posterior: PosteriorName | None,
    images: Tensor,
    *,
    trust: bool,
    options: EncoderOptions = EncoderOptions(),  # noqa: B008, it is frozen
) -> Autoencoder:
    """Load a TorchScript file, an exported program or an ONNX graph as an encoder.

    The code in TorchScript files and exported programs runs. ONNX graphs consist of fixed operators.

    Args:
        path: file written by ``torch.jit.save``, ``torch.export.save`` or ``torch.onnx.export``.
        posterior: meaning of outputs without names.
        images: some images that test the encoder, on its device.
        trust: whether the code may run.
        options: how the encoder is called and read.

    Raises:
        InputError: ``trust`` is not set, the file cannot be loaded, or the model does not accept the images.
    """
    kind = file_kind(path)
    if kind == "onnx":
        return as_model(OnnxEncoder(path), path, posterior, images, options)
    description = _DESCRIPTIONS[kind]
    if not trust:
        raise InputError(f"{path}: {description}, whose code would run; give --trust to allow it")
    try:
        if kind == "torchscript":
            encoder: nn.Module = torch.jit.load(path, map_location=images.device)
        else:
            encoder = _Program(torch.export.load(path), images.device)
    except Exception as error:  # torch raises many types for a bad file
        raise InputError(f"{path}: {description} that cannot be loaded ({reason(error)})") from None
    return as_model(encoder, path, posterior, images, options)


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
        return call(images) if self.batch is None else in_batches(call, images, self.batch)


def _fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """Return the batch size that a program was exported for, or None if it is dynamic."""
    inputs = set(program.graph_signature.user_inputs)
    nodes = itertools.dropwhile(lambda node: node.name not in inputs, program.graph.nodes)
    size = next(nodes).meta["val"].shape[0]
    return size if isinstance(size, int) else None


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

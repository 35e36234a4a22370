"""Models that were trained elsewhere."""

import itertools
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmdprior.config.load import parse_value
from mmdprior.config.slots import import_target
from mmdprior.errors import InputError, reason, shorten
from mmdprior.models import Autoencoder, DeterministicPosterior, GaussianPosterior
from mmdprior.scoring.file_kind import kind_of
from mmdprior.training.checkpoint import plain_key

__all__ = ["as_model", "load_encoder", "load_program"]


class _NoDecoder(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        raise InputError("decoder: a foreign encoder has none; it can only encode")


def load_encoder(
    target: str,
    weights: str | None,
    posterior: Literal["deterministic", "gaussian"],
    image_shape: tuple[int, int, int],
) -> Autoencoder:
    """Build a foreign encoder and load its weights without running anything in their file.

    Args:
        target: ``package.module:Class`` or ``file.py:Class``, or YAML with its arguments:
            ``"{target: file.py:Net, width: 64}"``. A class is called; a module object is used as it is.
        weights: ``.pt`` state dict or ``.safetensors``; None keeps what the target comes with.
        posterior: whether the outputs are codes, or means and log-variances.
        image_shape: (channels, height, width) of one trial image.

    Raises:
        InputError: a target that cannot be built, weights that do not fit, or outputs that are not
            (n, p).
    """
    encoder = _build(target)
    if weights is not None:
        try:
            encoder.load_state_dict(_read_weights(Path(weights)))
        except Exception as error:  # the class may load in its own way
            detail = shorten(" ".join(str(error).split()))
            raise InputError(f"--weights: {weights} does not fit {target} ({detail})") from None
    return as_model(encoder, f"--encoder: {target}", posterior, image_shape)


def as_model(
    encoder: nn.Module,
    name: str,
    posterior: Literal["deterministic", "gaussian"],
    image_shape: tuple[int, int, int],
    device: torch.device | str = "cpu",
) -> Autoencoder:
    """Return an encoder as a model that can only encode, after a trial with two black images.

    Raises:
        InputError: outputs that are not (n, p), or whatever the encoder raises.
    """
    kind = GaussianPosterior if posterior == "gaussian" else DeterministicPosterior
    model = Autoencoder(encoder, _NoDecoder(), kind()).eval()
    try:
        with torch.no_grad():
            returned = encoder(torch.zeros(2, *image_shape, device=device))
            if not isinstance(returned, Tensor):
                raise InputError(f"{name}: {type(returned).__name__} returned; return (n, outputs)")
            model.encode(torch.zeros(2, *image_shape, device=device))
    except InputError as error:
        text = str(error)
        raise error if text.startswith(name) else InputError(f"{name}: {text}") from None
    except Exception as error:  # whatever the user's own code brings up
        raise InputError(f"{name} does not take images of {image_shape} ({_gist(error)})") from error
    return model


def _gist(error: Exception) -> str:
    """Return the first telling line; TorchScript puts a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error: " in line]
    return shorten(told[-1]) if told else reason(error)


def _build(target: str) -> nn.Module:
    described: Any = (
        parse_value(target, "--encoder") if target.lstrip().startswith("{") else {"target": target}
    )
    arguments = {key: value for key, value in described.items() if key != "target"}
    found = import_target(str(described.get("target", "")), "--encoder")
    if not isinstance(found, nn.Module):
        try:
            found = found(**arguments)
        except Exception as error:  # whatever the user's own code brings up
            raise InputError(f"--encoder: {target} cannot be called ({reason(error)})") from error
    if not isinstance(found, nn.Module):
        raise InputError(f"--encoder: {target} gave {type(found).__name__}; give a torch.nn.Module")
    return found


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"--weights: {path}: no such file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"--weights: {path}: damaged ({reason(error)})") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a bad file
        raise InputError(f"--weights: {path}: not a plain state dict ({reason(error)})") from None
    nested = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(nested, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in nested.items()
    ):
        raise InputError(f"--weights: {path}: no state dict; save model.state_dict()")
    return {plain_key(key): value for key, value in nested.items()}


class _Program(nn.Module):
    """An exported program as a module; one of a fixed batch size gets its batches padded.

    The program is kept from the list of submodules: its mode is fixed and it refuses to be told one.
    """

    def __init__(self, program: torch.export.ExportedProgram, device: torch.device) -> None:
        super().__init__()
        from torch.export.passes import move_to_device_pass

        self.batch = _fixed_batch(program)
        self._call = (move_to_device_pass(program, device).module(),)

    def forward(self, images: Tensor) -> Any:
        (call,) = self._call
        if self.batch is None:
            return call(images)
        outputs = []
        for part in images.split(self.batch):
            missing = self.batch - len(part)
            outputs.append(call(torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]))[: len(part)])
        return torch.cat(outputs)


def load_program(
    path: str,
    posterior: Literal["deterministic", "gaussian"],
    image_shape: tuple[int, int, int],
    device: torch.device,
    *,
    trust: bool,
) -> Autoencoder:
    """Load a TorchScript file or an exported program as an encoder; its code runs.

    Args:
        path: of ``torch.jit.save`` or ``torch.export.save``.
        posterior: whether the outputs are codes, or means and log-variances.
        image_shape: (channels, height, width) of one trial image.
        device: where it will compute.
        trust: allow it.

    Raises:
        InputError: trust is not given, the file cannot be loaded, or the model does not take the images.
    """
    kind = kind_of(path)
    named = "TorchScript" if kind == "torchscript" else "an exported program"
    if not trust:
        raise InputError(f"{path}: {named}, which carries code that would run; pass --trust to allow it")
    try:
        if kind == "torchscript":
            encoder: nn.Module = torch.jit.load(path, map_location=device)
        else:
            encoder = _Program(torch.export.load(path), device)
    except Exception as error:  # torch raises many kinds for a bad file
        raise InputError(f"{path}: {named} that cannot be loaded ({reason(error)})") from None
    return as_model(encoder, path, posterior, image_shape, device)


def _fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """Return the batch size that a program was exported for; None where any will do."""
    inputs = set(program.graph_signature.user_inputs)
    nodes = itertools.dropwhile(lambda node: node.name not in inputs, program.graph.nodes)
    size = next(nodes).meta["val"].shape[0]
    return size if isinstance(size, int) else None

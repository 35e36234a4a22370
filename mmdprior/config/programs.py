"""Models that carry their own code: TorchScript files and exported programs."""

import itertools
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmdprior.config.foreign import as_model
from mmdprior.config.kinds import kind_of
from mmdprior.errors import InputError, reason
from mmdprior.models import Autoencoder

__all__ = ["load_program"]


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

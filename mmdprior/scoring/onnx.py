"""Encoders in ONNX files, run by onnxruntime on the CPU where it is installed."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmdprior.errors import InputError, reason

__all__ = ["ONNX_SUFFIX", "OnnxEncoder", "in_batches"]

ONNX_SUFFIX = ".onnx"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxEncoder(nn.Module):
    """An ONNX graph with one input as a module; it returns its outputs by name.

    Batches are padded where the graph has a fixed batch size. A graph consists of the operators of
    onnxruntime, so no code of the file runs.

    Args:
        path: the file.

    Raises:
        InputError: onnxruntime is not installed, or the file is damaged or has another number of inputs.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise InputError(f'{path}: ONNX files need onnxruntime; pip install "mmdprior[onnx]"') from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many types for a bad file
            raise InputError(f"{path}: an ONNX file that cannot be loaded ({reason(error)})") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            received = ", ".join(f"{entry.name}: {entry.type}" for entry in inputs)
            raise InputError(
                f"{path}: inputs {received} received; export the encoder with images as only input"
            )
        (self._input,) = inputs
        batch = self._input.shape[0] if self._input.shape else None
        self.batch = batch if isinstance(batch, int) else None

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name, on the device of the images."""
        return self._run(images) if self.batch is None else in_batches(self._run, images, self.batch)

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        array = images.detach().cpu().numpy().astype(_TYPES[self._input.type], copy=False)
        outputs = self._session.run(None, {self._input.name: array})
        names = (output.name for output in self._session.get_outputs())
        return {
            name: torch.from_numpy(np.asarray(output)).to(images.device)
            for name, output in zip(names, outputs, strict=True)
        }


def in_batches(call: Any, images: Tensor, size: int) -> Any:
    """Return the outputs of a model with a fixed batch size; the last batch is padded.

    Args:
        call: the model. It returns a tensor, or tensors in a tuple, a list or a dict.
        images: images in any number.
        size: images per batch.
    """
    outputs = []
    for part in images.split(size):
        padding = part[-1:].expand(size - len(part), *part.shape[1:])
        outputs.append((call(torch.cat([part, padding])), len(part)))
    first = outputs[0][0]
    if isinstance(first, Tensor):
        return torch.cat([output[:count] for output, count in outputs])
    names = list(first) if isinstance(first, dict) else range(len(first))
    joined = {name: torch.cat([output[name][:count] for output, count in outputs]) for name in names}
    return joined if isinstance(first, dict) else tuple(joined.values())

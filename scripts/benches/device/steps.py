"""One training step, by precision, memory format, compilation and CUDA graph."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from benches import loop
from torch import Tensor, nn

from mmdprior import MMD
from mmdprior.kernels import WAE_IMQ
from mmdprior.priors import Gaussian

__all__ = ["MODES", "Mode", "Step"]


@dataclass(frozen=True)
class Mode:
    """How a step is computed.

    Attributes:
        bfloat16: run both networks under autocast.
        tf32: allow TF32 in matrix products and convolutions.
        channels_last: images and weights in the channels_last memory format.
        compiled: networks through torch.compile.
        graph: replay the whole step as one CUDA graph.
    """

    bfloat16: bool = False
    tf32: bool = False
    channels_last: bool = False
    compiled: bool = False
    graph: bool = False


MODES = {
    "float32": Mode(),
    "TF32": Mode(tf32=True),
    "bfloat16": Mode(bfloat16=True),
    "bfloat16, channels_last": Mode(bfloat16=True, channels_last=True),
    "bfloat16, channels_last, CUDA graph": Mode(bfloat16=True, channels_last=True, graph=True),
    "bfloat16, channels_last, compiled": Mode(bfloat16=True, channels_last=True, compiled=True),
}


class Step:
    """Repeated training steps on one fixed batch.

    Args:
        mode: how a step is computed.
        model: name of the networks, as in `benches.loop`.
        batch: images per step.
        device: device of everything.
    """

    loss: Tensor

    def __init__(self, mode: Mode, model: str, batch: int, device: str) -> None:
        self.mode, self.device = mode, device
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode.tf32
        memory = torch.channels_last if mode.channels_last else torch.contiguous_format
        self.model = loop.make_model(model, device).to(memory_format=memory)
        if mode.compiled:
            self.model.encoder = cast(nn.Module, torch.compile(self.model.encoder))
            self.model.decoder = cast(nn.Module, torch.compile(self.model.decoder))
        self.penalty = MMD(Gaussian(loop.DIM), WAE_IMQ(), seed=0).to(device)
        self.x = loop.images(batch).images.float().div_(255).to(device, memory_format=memory)
        on_card = device == "cuda"
        parameters = self.model.parameters()
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True, capturable=mode.graph and on_card)
        self._replay = self._capture() if mode.graph and on_card else self._step

    def __call__(self) -> None:
        self._replay()

    def _step(self) -> None:
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.mode.bfloat16):
            latent, output = self.model(self.x)
        loss = (output - self.x).square().flatten(1).sum(1).mean() + 100.0 * self.penalty(latent.sample)
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.detach()

    def _capture(self) -> Callable[[], None]:
        """Return the replay of a CUDA graph of the step, captured after a few steps on a second stream."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph.replay

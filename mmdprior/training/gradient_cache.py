"""Gradient caching: the exact gradient of a large batch with the memory of a small one, in two passes.

The penalty depends on all codes of the batch together. Plain gradient accumulation would average the
penalties of the parts, which is another loss. Gradient caching (Gao et al., arXiv 2101.06983) splits the
chain rule at the encoder's outputs P instead. With part k of the batch and encoder weights w,

    dL/dw = sum over k of (dP_k/dw)^T dL/dP_k.

Pass 1 encodes all parts without a graph, and computes L and dL/dP from the outputs of the whole batch. Pass 2
encodes each part again, now with a graph, and back-propagates its cached dL/dP_k. Every term is exact. Only
the order of summation differs from one pass.

With several ranks, each rank caches the outputs of its own rows and the outputs are gathered before the
penalty, so L is still the loss of the global batch (see `mmdprior.world.World.gather` for its gradient).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmdprior.data import Batch
from mmdprior.models import Autoencoder
from mmdprior.regularizers import Regularizer
from mmdprior.training.losses import Losses
from mmdprior.training.settings import Precision, autocast
from mmdprior.world import World

__all__ = ["GradientCache"]

_State = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class GradientCache:
    """Adds the gradient of reconstruction + weight * penalty to the weights, part by part.

    Attributes:
        network: autoencoder as it is run: plain, compiled, or with encoder and decoder under DDP.
        regularizer: the penalty.
        device: device of both.
        world: ranks that share each batch.
        precision: precision of encoder and decoder.
        memory_format: memory format of the images.
        parts: number of parts into which each rank splits its rows.

    Example:
        >>> from torch import nn
        >>> from mmdprior import KL
        >>> from mmdprior.models import Autoencoder, GaussianPosterior
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        >>> decoder = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4)))
        >>> model = Autoencoder(encoder, decoder, GaussianPosterior())
        >>> images = torch.rand(8, 1, 4, 4)
        >>> batch = Batch(images, labels=torch.zeros(8, 0), indices=torch.arange(8))
        >>> backward = GradientCache(model, KL(), torch.device("cpu"), parts=4)
        >>> losses = backward(batch, torch.Generator().manual_seed(0), step=0, weight=1.0)
        >>> in_parts = encoder[1].weight.grad.clone()

        The same gradient in one pass:

        >>> model.zero_grad()
        >>> latent, output = model(images, torch.Generator().manual_seed(0))
        >>> (model.likelihood.loss(output, images) + KL()(latent)).backward()
        >>> torch.allclose(in_parts, encoder[1].weight.grad, atol=1e-5)
        True
    """

    network: Autoencoder
    regularizer: Regularizer
    device: torch.device
    world: World = field(default_factory=World)
    precision: Precision = "float32"
    memory_format: torch.memory_format = torch.preserve_format
    parts: int = 1

    def __call__(
        self,
        batch: Batch,
        noise: torch.Generator,
        step: int,
        weight: float,
        mark: Callable[[str], None] = lambda phase: None,
    ) -> Losses:
        """Add the gradient of a batch to ``.grad`` of the weights, and return the losses.

        Args:
            batch: rows of this rank.
            noise: generator of the posterior noise of the global batch, in the same state on every rank.
            step: training step, for penalties that change with it.
            weight: weight of the penalty.
            mark: called with the name of each phase as it begins.
        """
        # Pass 1: encode without a graph. The outputs become leaves, so that backward stops at them.
        mark("encoder")
        parts = batch.images.chunk(self.parts)
        images = [part.contiguous(memory_format=self.memory_format) for part in parts]
        states, outputs = self._encode(images)
        params = torch.cat(outputs).requires_grad_()
        latent = self.network.posterior(self.world.gather(params), noise)
        codes = latent.sample[self.world.rows(len(latent.sample))]

        mark("decoder")
        reconstruction, codes_gradient = self._decode(images, codes.detach())

        mark("penalty")
        penalty = self.regularizer(latent, step=step, labels=self.world.gather(batch.labels))

        # (codes * codes_gradient).sum() has the gradient codes_gradient in the codes: it stands in for the
        # reconstruction loss, whose graph is already freed. This backward fills dL/dP for the whole batch.
        mark("backward")
        (weight * penalty + (codes * codes_gradient).sum()).backward()
        # Pass 2: dL/dw, part by part.
        self._encode_again(images, states, _gradient_of(params))
        return Losses.of(reconstruction, penalty, weight, latent, self.world)

    def _encode(self, images: list[Tensor]) -> tuple[list[_State], list[Tensor]]:
        """Return the encoder's outputs per part, without a graph, and the RNG states before each part."""
        states, outputs = [], []
        for part in images:
            states.append(_random_state(self.device))
            with torch.no_grad(), autocast(self.precision, self.device):
                outputs.append(self.network.posterior_params(part))
        return states, outputs

    def _decode(self, images: list[Tensor], codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean reconstruction loss and its gradient in the codes; add the decoder's gradient."""
        total = torch.zeros((), device=self.device)
        gradients = []
        for index, (part, z) in enumerate(zip(images, codes.chunk(self.parts), strict=True)):
            z.requires_grad_()
            with self._deferred_reduction(self.network.decoder, last=index == self.parts - 1):
                with autocast(self.precision, self.device):
                    output = self.network.decode_raw(z, part.shape)
                # The parts are of equal size, so the mean over the batch is the mean of their means.
                loss = self.network.likelihood.loss(output, part) / self.parts
                loss.backward()
            total = total + loss.detach()
            gradients.append(_gradient_of(z))
        return total, torch.cat(gradients)

    def _encode_again(self, images: list[Tensor], states: list[_State], gradient: Tensor) -> None:
        """Add the encoder's gradient: encode each part with a graph and back-propagate dL/dP_k."""
        parts = zip(images, states, gradient.chunk(self.parts), strict=True)
        for index, (part, state, part_gradient) in enumerate(parts):
            last = index == self.parts - 1
            # Dropout must drop the same units as in pass 1, otherwise dL/dP belongs to other outputs.
            with self._deferred_reduction(self.network.encoder, last=last), _replayed(state, self.device):
                with autocast(self.precision, self.device):
                    params = self.network.posterior_params(part)
                if params.requires_grad:  # False for an encoder without trainable weights
                    params.backward(part_gradient)

    def _deferred_reduction(self, module: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Let DDP add up gradients locally, and average them over ranks once, with the last part."""
        if last or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return module.no_sync()


def _gradient_of(tensor: Tensor) -> Tensor:
    """Return the gradient of a leaf; zeros where the loss does not depend on it."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _random_state(device: torch.device) -> _State:
    """Return the states of the global generators, which modules such as dropout draw from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replayed(state: _State, device: torch.device) -> Iterator[None]:
    """Replay the RNG from a saved state, then restore the current one."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield

"""Gradient caching: the gradient of a large batch with the memory of a small one.

The penalty depends on all codes of the batch jointly. Plain gradient accumulation would average the penalties
of the parts (micro-batches) of a batch, which is a different loss. Gradient caching (Gao et al., arXiv
2101.06983) applies the chain rule at the encoder's outputs P instead. For the loss L = reconstruction +
weight * penalty, the encoder weights w and the outputs P_k of part k,

    dL/dw = sum over k of (dP_k/dw)^T dL/dP_k.

Pass 1 encodes all parts without a graph, and computes L and dL/dP from the outputs of the whole batch. Pass 2
encodes each part again, now with a graph, and back-propagates its cached dL/dP_k. The result equals the
gradient of a single pass up to rounding, provided that encoder and decoder process every image independently
of the others (no batch normalisation).

With several ranks, each rank encodes its own rows. The outputs of all ranks are gathered before the penalty,
so L is the loss of the global batch (see `mmdprior.world.World.gather` for the gradient).
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
from mmdprior.regularizers.regularizer import penalty_of
from mmdprior.training.labelled import labelled_codes
from mmdprior.training.losses import Losses, decoder_inputs
from mmdprior.training.settings import Precision, autocast
from mmdprior.world import World

__all__ = ["GradientCache"]

_RNGState = tuple[Tensor, Tensor | None]
"""States of the global CPU generator and of that of the CUDA device."""


@dataclass(frozen=True)
class GradientCache:
    """Backward pass of reconstruction + weight * penalty in which the networks process a batch part by part.

    Attributes:
        network: autoencoder; its encoder and decoder may be compiled or wrapped in DDP.
        regularizer: the penalty.
        device: device of network and regularizer.
        world: ranks that share each batch.
        precision: precision of encoder and decoder; ``"bfloat16"`` runs them under autocast.
        memory_format: memory format of the images.
        parts: number of parts into which each rank splits its rows; the number of rows must be a multiple.
        flow_only: whether the gradient of the penalty reaches only the flow of the model.

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
    flow_only: bool = False

    def __call__(
        self,
        batch: Batch,
        noise: torch.Generator,
        step: int,
        weight: float | Tensor,
        mark: Callable[[str], None] = lambda phase: None,
    ) -> Losses:
        """Add the gradient of a batch to ``.grad`` of the weights, and return the losses.

        Args:
            batch: this rank's rows of the global batch.
            noise: generator of the posterior noise of the global batch, in the same state on every rank.
            step: training step, for penalties with a schedule.
            weight: weight of the penalty.
            mark: called with the name of each phase when it begins, for profiling.
        """
        # Pass 1: encode without a graph. The outputs are leaves of the graph of the loss, so that backward
        # stops there and fills their .grad with dL/dP.
        mark("encoder")
        parts = batch.images.chunk(self.parts)
        images = [part.contiguous(memory_format=self.memory_format) for part in parts]
        few = [] if batch.labelled is None else [batch.labelled.images]
        states, outputs = self._encode([*images, *few])
        params = torch.cat(outputs[: len(images)]).requires_grad_()
        few_params = outputs[-1].requires_grad_() if few else None
        latent = self.network.posterior(self.world.gather(params), noise)
        inputs, quantisation = decoder_inputs(self.network, latent, noise)
        codes = inputs[self.world.rows(len(inputs))]  # each rank decodes its own rows

        mark("decoder")
        reconstruction, codes_gradient = self._decode(images, codes.detach())

        mark("penalty")
        penalised = self.network.through_flow(latent.detach() if self.flow_only else latent)
        labelled = labelled_codes(
            self.network, few_params, batch, noise, self.world, flow_only=self.flow_only
        )
        labels = self.world.gather(batch.labels)
        penalty = penalty_of(self.regularizer, penalised, step=step, labels=labels, labelled=labelled)

        # The graph of the reconstruction loss was freed part by part. (codes * codes_gradient).sum() replaces
        # it: its gradient with respect to the codes is codes_gradient.
        mark("backward")
        loss = weight * penalty + (codes * codes_gradient).sum()
        (loss if quantisation is None else loss + quantisation).backward()

        # Pass 2: encode again with a graph and back-propagate dL/dP to the encoder.
        gradients = list(_grad_or_zeros(params).chunk(self.parts))
        gradients += [] if few_params is None else [_grad_or_zeros(few_params)]
        self._encoder_backward([*images, *few], states, gradients)
        return Losses.of(reconstruction, penalty, weight, penalised, self.world).plus(quantisation)

    def _encode(self, images: list[Tensor]) -> tuple[list[_RNGState], list[Tensor]]:
        """Return the RNG state before each part, and the encoder's outputs per part, without a graph."""
        states, outputs = [], []
        for part in images:
            states.append(_rng_state(self.device))
            with torch.no_grad(), autocast(self.precision, self.device):
                outputs.append(self.network.posterior_params(part))
        return states, outputs

    def _decode(self, images: list[Tensor], codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean reconstruction loss and its gradient with respect to the codes.

        The gradient of the decoder's weights is added to their ``.grad``.
        """
        total = torch.zeros((), device=self.device)
        gradients = []
        for index, (part, z) in enumerate(zip(images, codes.chunk(self.parts), strict=True)):
            z.requires_grad_()
            with self._all_reduce_if(index == self.parts - 1, self.network.decoder):
                with autocast(self.precision, self.device):
                    output = self.network.decoder_output(z, part.shape)
                # All parts have the same size, so the mean over the batch is the mean of the parts' means.
                loss = self.network.likelihood.loss(output, part) / self.parts
                loss.backward()
            total = total + loss.detach()
            gradients.append(_grad_or_zeros(z))
        return total, torch.cat(gradients)

    def _encoder_backward(
        self, images: list[Tensor], states: list[_RNGState], gradients: list[Tensor]
    ) -> None:
        """Encode each part with a graph and back-propagate its gradient, dL/dP."""
        parts = zip(images, states, gradients, strict=True)
        for index, (part, state, part_gradient) in enumerate(parts):
            last = index == len(images) - 1
            # Dropout must drop the same units as in pass 1; otherwise dL/dP belongs to different outputs.
            with self._all_reduce_if(last, self.network.encoder), _replay_rng(state, self.device):
                with autocast(self.precision, self.device):
                    params = self.network.posterior_params(part)
                if params.requires_grad:  # False for an encoder without trainable weights
                    params.backward(part_gradient)

    def _all_reduce_if(self, last: bool, module: nn.Module) -> AbstractContextManager[Any]:
        """Return a context manager in which DDP averages gradients over ranks for the last part only.

        For the other parts, gradients accumulate on each rank.
        """
        if last or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return module.no_sync()


def _grad_or_zeros(tensor: Tensor) -> Tensor:
    """Return ``.grad`` of a leaf; zeros if the loss does not depend on the leaf."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _rng_state(device: torch.device) -> _RNGState:
    """Return the states of torch's global generators, which dropout draws from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replay_rng(state: _RNGState, device: torch.device) -> Iterator[None]:
    """Return a context manager that sets the RNG to a saved state and restores the current one on exit."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield

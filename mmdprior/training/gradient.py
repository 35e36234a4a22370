"""The gradient of reconstruction + weight * penalty on one global batch, in one pass or in parts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmdprior.data import Batch
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder
from mmdprior.regularizers import Regularizer
from mmdprior.world import World

__all__ = ["Gradient", "Losses", "Precision"]

Precision = Literal["float32", "bfloat16"]
Mark = Callable[[str], None]


@dataclass(frozen=True)
class Losses:
    """What one step minimised; without gradient, the same in every process.

    Attributes:
        reconstruction: mean over the global batch.
        penalty: of the global batch, unweighted.
        total: reconstruction + weight * penalty.
        latent: codes of the global batch.
    """

    reconstruction: Tensor
    penalty: Tensor
    total: Tensor
    latent: Latent


@dataclass(frozen=True)
class Gradient:
    """Computes the losses of a global batch and leaves their gradient in the weights.

    Each process encodes its own rows. The encoder's outputs are gathered, so that noise is drawn and the
    penalty computed for the global batch, in every process alike; each decodes its own codes again.

    Attributes:
        network: the autoencoder as it is run: under DDP, compiled, or plain.
        regularizer: the penalty.
        device: of both.
        world: the processes that share each batch.
        precision: ``bfloat16`` runs encoder and decoder under autocast.
        memory_format: of the images.
        parts: 1, or in how many parts each process takes its rows, for a batch that memory cannot hold.
    """

    network: Autoencoder
    regularizer: Regularizer
    device: torch.device
    world: World = field(default_factory=World)
    precision: Precision = "float32"
    memory_format: torch.memory_format = torch.preserve_format
    parts: int = 1

    def __call__(
        self, batch: Batch, noise: torch.Generator, step: int, weight: float, mark: Mark = lambda phase: None
    ) -> Losses:
        """Add the gradient to that of the weights, and return the losses.

        Args:
            batch: this process's rows.
            noise: seeds the posterior's draws for the global batch.
            step: for penalties that change with it.
            weight: of the penalty.
            mark: called with the name of each phase as it begins.
        """
        compute = self._whole if self.parts == 1 else self._in_parts
        reconstruction, penalty, latent = compute(batch, noise, step, weight, mark)
        mean = self.world.sum(reconstruction.detach()) / self.world.size
        penalty = penalty.detach()
        return Losses(mean, penalty, mean + weight * penalty, latent.detach())

    def _whole(
        self, batch: Batch, noise: torch.Generator, step: int, weight: float, mark: Mark
    ) -> tuple[Tensor, Tensor, Latent]:
        mark("encoder")
        images = batch.images.contiguous(memory_format=self.memory_format)
        params = self._encode(images)
        latent = self.network.posterior(self.world.gather(params), noise)
        mark("decoder")
        reconstruction = self._reconstruct(latent.sample[self._own(latent)], images)
        mark("penalty")
        penalty = self._penalty(latent, batch, step)
        mark("backward")
        (reconstruction + weight * penalty).backward()
        return reconstruction, penalty, latent

    def _in_parts(
        self, batch: Batch, noise: torch.Generator, step: int, weight: float, mark: Mark
    ) -> tuple[Tensor, Tensor, Latent]:
        """Two passes (the way of gradient caching, Gao et al., arXiv 2101.06983), part by part.

        All codes without a graph; the decoder's losses and the penalty on them, which give the gradient in
        the encoder's outputs; then the encoder again, its random numbers replayed, with that gradient.
        """
        mark("encoder")
        images = [
            part.contiguous(memory_format=self.memory_format) for part in batch.images.chunk(self.parts)
        ]
        states, outputs = [], []
        for part in images:
            states.append(_random_state(self.device))
            with torch.no_grad():
                outputs.append(self._encode(part))
        params = torch.cat(outputs).requires_grad_()
        latent = self.network.posterior(self.world.gather(params), noise)
        own = latent.sample[self._own(latent)]

        mark("decoder")
        total = torch.zeros((), device=self.device)
        pieces: list[Tensor] = []
        for index, (part, codes) in enumerate(zip(images, own.detach().chunk(self.parts), strict=True)):
            codes.requires_grad_()
            with self._reduced(self.network.decoder, last=index == self.parts - 1):
                loss = self._reconstruct(codes, part) / self.parts
                loss.backward()
            total = total + loss.detach()
            pieces.append(_gradient_of(codes))

        mark("penalty")
        penalty = self._penalty(latent, batch, step)
        mark("backward")
        (weight * penalty + (own * torch.cat(pieces)).sum()).backward()
        gradients = _gradient_of(params).chunk(self.parts)
        for index, (part, state, gradient) in enumerate(zip(images, states, gradients, strict=True)):
            with (
                self._reduced(self.network.encoder, last=index == self.parts - 1),
                _replayed(state, self.device),
            ):
                again = self._encode(part)
                if again.requires_grad:
                    again.backward(gradient)
        return total, penalty, latent

    def _encode(self, images: Tensor) -> Tensor:
        with self._autocast():
            return self.network.posterior_params(images)

    def _reconstruct(self, codes: Tensor, images: Tensor) -> Tensor:
        with self._autocast():
            output = self.network.decode_raw(codes, images.shape)
        return self.network.likelihood.loss(output, images)

    def _penalty(self, latent: Latent, batch: Batch, step: int) -> Tensor:
        return self.regularizer(latent, step=step, labels=self.world.gather(batch.labels))

    def _own(self, latent: Latent) -> slice:
        return self.world.rows(len(latent.sample))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _reduced(self, module: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Let DDP average over processes once, with the last part."""
        if last or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return module.no_sync()


def _gradient_of(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return the state of the global generators, which modules such as dropout draw from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replayed(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Draw the numbers that followed a state again, then go on as if nothing had been."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield

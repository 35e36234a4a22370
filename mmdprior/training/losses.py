"""The losses of a step, and a guard that keeps non-finite losses out of the weights."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mmdprior.data import Batches
from mmdprior.errors import InputError
from mmdprior.files import write_whole
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, GaussianLikelihood
from mmdprior.models.likelihood import Likelihood
from mmdprior.world import World

__all__ = ["Guard", "Losses", "NonFiniteLossError", "decoder_inputs", "observed"]

_PARTS = ("reconstruction", "penalty", "gradient norm")


@dataclass(frozen=True)
class Losses:
    """Losses of one step, without gradient and equal on every rank.

    Attributes:
        reconstruction: mean reconstruction loss per image of the global batch, 0-dim.
        penalty: penalty of the global batch, unweighted, 0-dim.
        weight: weight of the penalty at this step, a 0-dim tensor where a schedule adjusts it.
        latent: codes of the global batch.
        quantisation: loss of the model's quantiser, 0-dim; None for a model whose quantiser has none.
    """

    reconstruction: Tensor
    penalty: Tensor
    weight: float | Tensor
    latent: Latent
    quantisation: Tensor | None = None

    @staticmethod
    def of(
        reconstruction: Tensor, penalty: Tensor, weight: float | Tensor, latent: Latent, world: World
    ) -> "Losses":
        """Return the losses of the global batch from this rank's reconstruction loss.

        Args:
            reconstruction: mean over the rows of this rank.
            penalty: penalty of the global batch.
            weight: weight of the penalty.
            latent: codes of the global batch.
            world: ranks that share the batch.
        """
        # Each rank decodes only its own rows. The sum is a collective: every rank must reach it.
        mean = world.sum(reconstruction.detach()) / world.size
        return Losses(mean, penalty.detach(), weight, latent.detach())

    def plus(self, quantisation: Tensor | None) -> "Losses":
        """Return the same losses with the loss of the quantiser, which is that of the global batch."""
        return self if quantisation is None else replace(self, quantisation=quantisation.detach())

    @property
    def total(self) -> Tensor:
        """Minimised loss, reconstruction + weight * penalty + quantisation."""
        total = self.reconstruction + self.weight * self.penalty
        return total if self.quantisation is None else total + self.quantisation


def observed(
    reconstruction: Tensor,
    penalty: Tensor,
    terms: Mapping[str, Tensor],
    likelihood: Likelihood,
    shape: Sequence[int],
) -> dict[str, Tensor]:
    """Return the quantities that a schedule of the weight may depend on, by tag.

    Args:
        reconstruction: reconstruction loss of the global batch.
        penalty: penalty of the global batch.
        terms: parts of the penalty by name.
        likelihood: likelihood of the model.
        shape: shape of a sample.
    """
    quantities = {
        "loss/reconstruction": reconstruction,
        "penalty/value": penalty,
        **{f"penalty/{name}": term for name, term in terms.items()},
    }
    if isinstance(likelihood, GaussianLikelihood) and len(shape) == 3:
        # The loss is the sum of squared errors of an image.
        quantities["reconstruction/psnr"] = -10 * torch.log10(reconstruction / math.prod(shape))
    return quantities


def decoder_inputs(
    network: Autoencoder, latent: Latent, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return the inputs of the decoder for codes of the posterior, and the loss of the quantiser.

    Args:
        network: autoencoder. Only with a quantiser, codes go through its flow and back.
        latent: codes of the posterior, before the flow, of the global batch.
        generator: source of the noise of a quantiser that trains with noise.
    """
    if network.quantiser is None or not network.quantiser.adapts:
        return latent.sample, None
    z = latent.sample if network.flow is None else network.flow(latent.sample)
    return network.before_flow(network.quantised(z, generator)), network.quantiser.loss(z)


class NonFiniteLossError(InputError):
    """The loss, or the norm of its gradient where that is clipped, is not finite; the weights are intact."""


@dataclass
class Guard:
    """Keeps steps with a non-finite loss out of the weights, without waiting for the device.

    On CUDA, fused optimizers skip their update on the device while ``found_inf`` is 1, the switch that
    GradScaler uses. The guard sets it from the first non-finite step on, and `check` raises the error at the
    next logged step. On other devices and for other optimizers `observe` raises at once.

    Attributes:
        optimizer: optimizer of the weights.
        device: device of the losses.
        batches: source of the row numbers of a step, for the error file.
        path: file that receives the step and its rows as JSON; None writes none.
    """

    optimizer: torch.optim.Optimizer
    device: torch.device
    batches: Batches
    path: Path | None

    def __post_init__(self) -> None:
        # These live on the device, so that remembering the first non-finite step needs no synchronisation.
        self._broken = torch.zeros((), dtype=torch.bool, device=self.device)
        self._step = torch.zeros((), dtype=torch.long, device=self.device)
        self._parts = torch.zeros(len(_PARTS), device=self.device)
        skips_updates = getattr(self.optimizer, "_step_supports_amp_scaling", False)
        self._deferred = self.device.type == "cuda" and skips_updates

    def observe(self, step: int, losses: Losses, norm: Tensor) -> None:
        """Inspect a step's losses after backward and before the update.

        Args:
            step: index of the step.
            losses: losses of the step.
            norm: norm of the gradient before clipping, 0-dim; zero where the gradient is not clipped.

        Raises:
            NonFiniteLossError: not finite, and the optimizer cannot skip the update by itself.
        """
        parts = torch.stack([losses.reconstruction.float(), losses.penalty.float(), norm.float()])
        bad = ~torch.isfinite(losses.total + norm)
        if not self._deferred:
            if bool(bad):
                self._raise(step, parts)
            return
        first = bad & ~self._broken
        self._step.masked_fill_(first, step)
        self._parts = torch.where(first, parts, self._parts)
        self._broken |= bad
        self.optimizer.found_inf = self._broken.float()  # type: ignore[attr-defined]

    def check(self) -> None:
        """Wait for the device; raise `NonFiniteLossError` if any step so far was not finite."""
        if self._deferred and bool(self._broken):
            self._raise(int(self._step), self._parts)

    def _raise(self, step: int, values: Tensor) -> None:
        parts = dict(zip(_PARTS, values.tolist(), strict=True))
        written = ""
        if self.path is not None:
            _write(self.path, step, parts, next(self.batches.rows(step)))
            written = f"; the rows of the batch are in {self.path}, earlier checkpoints are kept"
        values_text = ", ".join(f"{name} {value:g}" for name, value in parts.items())
        raise NonFiniteLossError(
            f"loss: not finite at step {step} ({values_text}){written}; lower trainer.learning_rate or "
            "regularizer.weight, set trainer.gradient_clip, or inspect the part that is not finite"
        )


def _write(path: Path, step: int, parts: Mapping[str, float], rows: Tensor) -> None:
    """Write the step, its losses and the rows of the training images in its batch."""
    content = {
        "step": step,
        "parts": {name: value if math.isfinite(value) else str(value) for name, value in parts.items()},
        "indices": rows.tolist(),
    }
    write_whole(path, json.dumps(content, indent=2) + "\n")

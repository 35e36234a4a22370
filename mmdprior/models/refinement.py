"""Refine the encoder's outputs per image: reduce the reconstruction error of its code by gradient steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, check_integer
from mmdprior.tracing import is_traced

__all__ = ["Refinement"]


@dataclass(frozen=True)
class Refinement:
    """Gradient steps on the outputs of a trained encoder, one set of outputs per image.

    An encoder that maps every image by one function does not find the code of least reconstruction error
    (the amortisation gap: Cremer, Li and Duvenaud, arXiv 1801.03558). Semi-amortised inference starts at its
    outputs and continues by gradient steps (Kim et al., arXiv 1802.02550). Here the loss is that of the
    likelihood at the mean code, without a penalty and without noise. Steps are those of Adam, whose rate
    falls linearly to zero. A row whose loss the steps do not lower keeps the encoder's outputs. A row of the
    result depends on the same row of the images only.

    An `Autoencoder` with a ``refinement`` refines in evaluation mode only, so that training does not change.
    Each step costs a forward and a backward pass of the decoder.

    Attributes:
        steps: number of gradient steps.
        rate: first step size, in the units of the encoder's outputs.

    Raises:
        InputError: ``steps`` is not an integer of at least 1, or ``rate`` is not positive and finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from mmdprior.models import Autoencoder, Refinement
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        >>> decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
        >>> model, images = Autoencoder(encoder, decoder).eval(), torch.rand(16, 1, 8, 8)
        >>> def error():
        ...     return (model.decode(model.encode(images).mean) - images).square().mean().item()
        >>> before = error()
        >>> model.refinement = Refinement(steps=20)
        >>> error() < before
        True
    """

    steps: int = 10
    rate: float = 0.1

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        if not 0 < self.rate < math.inf:
            raise InputError(f"rate: {self.rate} received; give a positive number")

    def __call__(
        self,
        params: Float[Tensor, "n p"],
        images: Float[Tensor, "n *sample"],
        output: Callable[[Float[Tensor, "n p"]], Float[Tensor, "n *sample"]],
        loss: Callable[[Float[Tensor, "n *sample"], Float[Tensor, "n *sample"]], Float[Tensor, ""]],
    ) -> Float[Tensor, "n p"]:
        """Return refined outputs of the encoder. Gradients pass through them to the outputs before.

        Args:
            params: the encoder's outputs.
            images: images that were encoded.
            output: the decoder's output for outputs of the encoder.
            loss: reconstruction loss of the decoder's output, a mean over images.

        Raises:
            InputError: the call is compiled or exported.
        """
        if is_traced():
            raise InputError(
                "refinement: refined codes cannot be exported or compiled; set refinement = None to use only "
                "the codes of the encoder"
            )
        if len(images) == 0:
            return params
        # Outside inference mode, whose tensors take no part in derivatives.
        with torch.inference_mode(False), torch.enable_grad():
            start, target = params.detach().clone(), images.detach().clone()
            refined = start.clone().requires_grad_()
            adam = torch.optim.Adam([refined], lr=self.rate)
            for step in range(self.steps):
                adam.param_groups[0]["lr"] = self.rate * (1 - step / self.steps)
                total = loss(output(refined), target) * len(target)  # each row has its own gradient
                (refined.grad,) = torch.autograd.grad(total, [refined])
                adam.step()
        with torch.no_grad():
            before, after = (_losses(output(rows), target, loss) for rows in (start, refined))
            change = torch.where((after < before)[:, None], refined - start, 0)
        return params + change


def _losses(output: Tensor, images: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Float[Tensor, "n"]:
    """Return the loss of every row."""
    return torch.stack([loss(*row) for row in zip(output.split(1), images.split(1), strict=True)])

"""Refine the encoder's outputs per image: reduce the reconstruction error of its code by gradient steps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.tracing import is_traced

__all__ = ["Refinement"]


@dataclass(frozen=True)
class Refinement:
    """Gradient steps on the outputs of a trained encoder, one set of outputs per image.

    An encoder that maps every image by one function does not find the code of least reconstruction error
    (the amortisation gap: Cremer, Li and Duvenaud, arXiv 1801.03558). Semi-amortised inference starts at its
    outputs and continues by gradient steps (Kim et al., arXiv 1802.02550). Here the loss is that of the
    likelihood at the mean code, without a penalty and without noise. Steps are those of Adam, whose rate
    falls linearly to zero. A row of the result depends on the same row of the images only.

    An `Autoencoder` with a ``refinement`` refines in evaluation mode only, so that training does not change.
    Each step costs a forward and a backward pass of the decoder.

    Attributes:
        steps: number of gradient steps.
        rate: first step size, in the units of the encoder's outputs.

    Raises:
        InputError: ``steps`` is below 1, or ``rate`` is not positive.

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
        if self.steps < 1 or not self.rate > 0:
            raise InputError(
                f"steps, rate: {self.steps}, {self.rate:g} received; give a number of steps from 1 on and a "
                "positive rate"
            )

    def __call__(
        self, loss: Callable[[Float[Tensor, "n p"]], Float[Tensor, ""]], params: Float[Tensor, "n p"]
    ) -> Float[Tensor, "n p"]:
        """Return refined outputs of the encoder. Gradients pass through them to the outputs before.

        Args:
            loss: sum over images of the reconstruction loss for outputs of the encoder.
            params: the encoder's outputs.

        Raises:
            InputError: the call is compiled or exported.
        """
        if is_traced():
            raise InputError(
                "refinement: refined codes cannot be exported or compiled; set refinement = None, for the "
                "codes of the encoder alone"
            )
        # Outside inference mode, whose tensors take no part in derivatives.
        with torch.inference_mode(False), torch.enable_grad():
            refined = params.detach().clone().requires_grad_()
            adam = torch.optim.Adam([refined], lr=self.rate)
            for step in range(self.steps):
                adam.param_groups[0]["lr"] = self.rate * (1 - step / self.steps)
                (refined.grad,) = torch.autograd.grad(loss(refined), [refined])
                adam.step()
        return params + (refined.detach() - params).detach()

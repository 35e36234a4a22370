"""Muon for the weight matrices of encoder and decoder, AdamW for all other parameters."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.models import Autoencoder

__all__ = ["MATRIX_RATE", "Muon", "hidden_weights"]

MATRIX_RATE = 0.02
"""Default step size of matrices."""

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon: the update of a weight matrix is its momentum with all singular values moved close to one.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with Nesterov
    momentum 0.95. The kernel of a convolution, which `torch.optim.Muon` rejects, counts as a matrix with one
    row per output channel; that of a transposed convolution has one row per input channel. The update of a
    matrix is multiplied by sqrt(max(1, rows / columns)).

    Args:
        matrices: weights with two dimensions or more.
        others: all other parameters, updated by `torch.optim.AdamW`.
        matrix_lr: learning rate of ``matrices``.
        lr: learning rate of ``others``.
        betas: decay rates of AdamW's moments.
        weight_decay: decoupled weight decay of all parameters; a step shrinks each by its step size times
            this number.

    Raises:
        ValueError: an argument is out of range, a matrix has fewer than two dimensions, or there are no
            parameters.

    Example:
        >>> from torch import nn
        >>> layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> hidden = [layers[0].weight]
        >>> others = [layers[0].bias, *layers[2].parameters()]
        >>> optimizer = Muon(hidden, others)
        >>> layers(torch.randn(8, 1, 8, 8)).square().sum().backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        matrix_lr: float = MATRIX_RATE,
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        matrices = list(matrices)
        if not 0 <= matrix_lr < math.inf:
            raise ValueError(f"matrix_lr: {matrix_lr} received; give a number >= 0")
        if any(matrix.ndim < 2 for matrix in matrices):
            raise ValueError("matrices: a vector or number received; give it in others")
        adamw = torch.optim.AdamW(others, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        group = {"params": matrices, "lr": matrix_lr, "weight_decay": weight_decay}
        super().__init__([group, *adamw.param_groups], adamw.defaults)
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy, or the groups and the state of `load_state_dict`."""
        super().__setstate__(state)
        self._share()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, which AdamW updates; settings that are missing are those of ``others``."""
        super().add_param_group(param_group)
        if hasattr(self, "_adamw"):  # not during construction
            self._share()

    def _share(self) -> None:
        """Make an AdamW whose groups and moments are those of this optimizer, which are saved."""
        self._adamw = torch.optim.AdamW(self.param_groups[1:], fused=True)
        self._adamw.param_groups = self.param_groups[1:]
        self._adamw.state = self.state

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether `step` skips the update while ``found_inf`` is 1, as fused optimizers of torch do."""
        return True

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient, after a call of ``closure``; return its result."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        broken, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        self._adamw.found_inf, self._adamw.grad_scale = broken, scale  # type: ignore[attr-defined]
        self._adamw.step()
        group = self.param_groups[0]
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            gradient = weight.grad if scale is None else weight.grad / scale
            momentum = _MOMENTUM * state["momentum"] + gradient
            if broken is not None:
                momentum = torch.where(broken > 0, state["momentum"], momentum)
            state["momentum"].copy_(momentum)
            direction = orthogonalised(gradient.add(momentum, alpha=_MOMENTUM).flatten(1))
            rows, columns = direction.shape
            change = math.sqrt(max(1, rows / columns)) * direction.view_as(weight)
            change = group["lr"] * (change + group["weight_decay"] * weight)
            weight.sub_(change if broken is None else torch.where(broken > 0, 0, change))
        return loss


def orthogonalised(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Return a matrix with the same singular vectors and singular values of about 0.7 to 1.2.

    A singular value s of the matrix divided by its Frobenius norm is mapped five times by
    3.4445 s - 4.775 s^3 + 2.0315 s^5. On CUDA it runs in bfloat16.
    """
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = wide.bfloat16() if wide.is_cuda else wide
    x = x / (x.norm() + 1e-7)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return (x if wide is matrix else x.T).to(matrix)


def hidden_weights(model: Autoencoder) -> list[nn.Parameter]:
    """Return the weights of linear and convolutional layers of encoder and decoder, without the last of each.

    The last layer is the one that the network registered last.

    Example:
        >>> from mmdprior.models import MLPDecoder, MLPEncoder
        >>> model = Autoencoder(MLPEncoder((1, 4, 4), 2, [8]), MLPDecoder((1, 4, 4), 2, [8]))
        >>> [tuple(weight.shape) for weight in hidden_weights(model)]
        [(8, 16), (8, 2)]
    """
    types = (nn.Linear, nn.modules.conv._ConvNd)
    weights: dict[int, nn.Parameter] = {}  # by id: encoder and decoder may share some
    last = set()
    for network in (model.encoder, model.decoder):
        layers = [layer for layer in network.modules() if isinstance(layer, types)]
        # A parametrised weight, such as that of weight_norm, is computed and not a parameter.
        own = [layer._parameters.get("weight") for layer in layers]
        last |= {id(weight) for weight in own[-1:]}
        weights |= {id(weight): weight for weight in own if weight is not None and weight.requires_grad}
    return [weight for key, weight in weights.items() if key not in last]

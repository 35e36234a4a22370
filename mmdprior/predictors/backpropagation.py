"""Outputs and gradients of batched networks, on a CPU for a few networks at a time.

The activations of a few networks fit in the cache of a CPU. Those of all networks do not, and autograd writes
each of them to memory several times.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mmdprior.predictors.networks import BatchedMLP

__all__ = ["Loss", "fill_gradients", "outputs_by_part"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""(a, n, outputs), (a, n) targets -> (a, n) losses, each of one output and target."""

_CACHED = 2**18
"""Largest number of activations per layer that are computed at a time, per thread of a CPU: 1 MiB."""
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@torch.no_grad()
def fill_gradients(
    model: BatchedMLP, inputs: Float[Tensor, "p n inputs"], targets: Shaped[Tensor, "a n"], loss: Loss
) -> None:
    """Set ``grad`` of every parameter to the gradient of the mean loss of its network.

    Args:
        model: networks with one hidden layer or more.
        inputs: rows of every problem.
        targets: targets of every network.
        loss: loss per network and row.
    """
    weights, biases = _layers(model)
    weight_grads, bias_grads = ([_grad(p) for p in group] for group in (model.weights, model.biases))
    for part in _parts(model, inputs):
        layers = _activations(model, inputs, part, weights, biases)
        output = layers.pop().requires_grad_()
        with torch.enable_grad():
            # The sum over networks gives each of them its own gradient, as if it were trained separately.
            total = loss(output, targets[part]).mean(1).sum()
        (grad,) = torch.autograd.grad(total, output)
        for i, before in reversed(list(enumerate(layers))):
            torch.bmm(before.transpose(1, 2), grad, out=weight_grads[i][part])
            torch.sum(grad, 1, keepdim=True, out=bias_grads[i][part])
            if i > 0:
                grad = torch.bmm(grad, weights[i][part].transpose(1, 2)).mul_(_slope_(model, before))
    weight_grads[0][model.hidden_inputs()] = 0


@torch.no_grad()
def outputs_by_part(
    model: BatchedMLP, inputs: Float[Tensor, "p n inputs"]
) -> Iterator[tuple[slice, Float[Tensor, "b n outputs"]]]:
    """Yield slices of the networks, with their outputs on the rows of their problems."""
    weights, biases = _layers(model)
    for part in _parts(model, inputs):
        yield part, _activations(model, inputs, part, weights, biases)[-1]


def _layers(model: BatchedMLP) -> tuple[list[Tensor], list[Tensor]]:
    """Return weights and biases; the first weights are zero where a network must not see an input."""
    first = model.weights[0].clone()
    first[model.hidden_inputs()] = 0
    return [first, *list(model.weights)[1:]], list(model.biases)


def _grad(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    return parameter.grad


def _parts(model: BatchedMLP, inputs: Tensor) -> list[slice]:
    """Return slices of the networks that are computed together; on a CPU each belongs to one problem."""
    count = len(model.problem)
    if inputs.device.type != "cpu":
        return [slice(0, count)]
    width = max(weight.shape[2] for weight in model.weights)
    size = max(1, _CACHED * torch.get_num_threads() // (width * inputs.shape[1]))
    ends = [0, *torch.bincount(model.problem, minlength=len(inputs)).cumsum(0).tolist()]
    return [
        slice(start, min(start + size, after))
        for before, after in pairwise(ends)
        for start in range(before, after, size)
    ]


def _activations(
    model: BatchedMLP, inputs: Tensor, part: slice, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> list[Tensor]:
    """Return the inputs of every layer of some networks, and the outputs of the last layer."""
    problems = model.problem[part]
    if inputs.device.type == "cpu":  # one problem per part
        layers = [inputs[int(problems[0])].expand(len(problems), -1, -1)]
    else:
        layers = [inputs[problems] if len(inputs) > 1 else inputs.expand(len(problems), -1, -1)]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = torch.bmm(layers[i], weight[part]).add_(bias[part])
        layers.append(model.activate(hidden) if i + 1 < len(weights) else hidden)
    return layers


def _slope_(model: BatchedMLP, activated: Tensor) -> Tensor:
    """Return the derivative of the activation, from its value, which it overwrites."""
    if model.activation == "relu":
        return activated.sign_()
    negative = activated < 0
    return activated.add_(_SELU_SCALE * _SELU_ALPHA).masked_fill_(~negative, _SELU_SCALE)

"""Gradients and outputs of batched networks in parts: autograd through all networks is the reference."""

import pytest
import torch
from torch.nn import functional

from mmdprior.predictors import backpropagation
from mmdprior.predictors.backpropagation import fill_gradients, outputs_by_part
from mmdprior.predictors.networks import BatchedMLP


def squared_error(outputs, targets):
    return (outputs.sum(2) - targets).square()


def cross_entropy(outputs, targets):
    labels = (targets > 0).long()
    return functional.cross_entropy(outputs.transpose(1, 2), labels, reduction="none")


def networks(activation="relu", problems=2, groups=1, hidden=(7, 6)):
    generators = [torch.Generator().manual_seed(q) for q in range(problems)]
    model = BatchedMLP(5, hidden, generators, torch.zeros(problems, 5, 3), groups, activation)
    for parameter in model.parameters():
        parameter.data.normal_(generator=generators[0])
    return model, torch.randn(problems, 40, 5 * groups, generator=generators[0])


@pytest.mark.parametrize("activations_at_a_time", [1, 3 * 7 * 40, 2**18])
@pytest.mark.parametrize("loss", [squared_error, cross_entropy])
@pytest.mark.parametrize(
    "settings",
    [{}, {"activation": "selu"}, {"problems": 1, "hidden": (4,)}, {"groups": 3, "hidden": (8, 4, 6)}],
    ids=str,
)
def test_gradients_and_outputs_equal_those_of_autograd(settings, loss, activations_at_a_time, monkeypatch):
    monkeypatch.setattr(backpropagation, "_CACHED", activations_at_a_time)
    model, inputs = networks(**settings)
    if len(inputs) > 1:
        model.keep(torch.tensor([0, 1, 3, 4, 6, 9]))
    targets = torch.randn(len(model.problem), 40)
    expected = torch.autograd.grad(loss(model(inputs), targets).mean(1).sum(), list(model.parameters()))
    for _ in range(2):  # gradients are replaced, not summed
        fill_gradients(model, inputs, targets, loss)
        for parameter, grad in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, grad, atol=1e-5, rtol=1e-4)
    parts = {part.start: outputs for part, outputs in outputs_by_part(model, inputs)}
    torch.testing.assert_close(torch.cat([parts[start] for start in sorted(parts)]), model(inputs))


def test_a_problem_without_networks_is_left_out():
    model, inputs = networks()
    model.keep(torch.arange(5, 10))
    fill_gradients(model, inputs, torch.randn(5, 40), squared_error)
    ((part, outputs),) = outputs_by_part(model, inputs)
    assert (part.start, part.stop) == (0, 5)
    torch.testing.assert_close(outputs, model(inputs))


@pytest.mark.gpu
def test_all_networks_are_computed_at_once_on_a_gpu():
    model, inputs = networks()
    model, inputs, targets = model.cuda(), inputs.cuda(), torch.randn(10, 40, device="cuda")
    expected = torch.autograd.grad(
        squared_error(model(inputs), targets).mean(1).sum(), list(model.parameters())
    )
    fill_gradients(model, inputs, targets, squared_error)
    assert len(list(outputs_by_part(model, inputs))) == 1
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, atol=1e-4, rtol=1e-3)

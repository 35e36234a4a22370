"""`TransposedConv2d`: torch's layer is the reference, for values and for gradients of every order."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from mmdprior.models import ConvDecoder, ConvEncoder
from mmdprior.models.transposed import TransposedConv2d, _TransposedConvolution

LAYOUTS = [torch.channels_last, torch.contiguous_format]
SIZES = [(8, 8, (0, 0)), (5, 1, (0, 0)), (6, 3, (1, 0)), (3, 5, (0, 1)), (4, 4, (1, 1))]
"""Input channels, output channels and output padding, on both sides of the limit of few channels."""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("before", "after", "padding"), SIZES)
def test_values_and_gradients_are_those_of_torch(layout, before, after, padding):
    torch.manual_seed(0)
    layer = TransposedConv2d(before, after, padding).to(memory_format=layout)
    reference = nn.ConvTranspose2d(before, after, 4, 2, 1, padding).double()
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(3, before, 6, 7).contiguous(memory_format=layout).requires_grad_()
    exact = x.detach().double().requires_grad_()
    output, expected = layer(x), reference(exact)
    assert torch.allclose(output.double(), expected, atol=1e-5)
    grad = torch.randn(output.shape)
    output.backward(grad)
    expected.backward(grad.double())
    pairs = zip([x, *layer.parameters()], [exact, *reference.parameters()], strict=True)
    assert all(torch.allclose(ours.grad.double(), theirs.grad, atol=1e-4) for ours, theirs in pairs)


@pytest.mark.parametrize(("before", "after", "padding"), SIZES)
def test_first_and_second_derivatives_agree_with_finite_differences(before, after, padding):
    torch.manual_seed(0)
    shapes = ((2, before, 2, 3), (before, after, 4, 4), (after,))
    inputs = tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)

    def apply(*tensors):
        return _TransposedConvolution.apply(*tensors, padding)

    assert torch.autograd.gradcheck(apply, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(apply, inputs, fast_mode=True)


def test_frozen_parts_get_no_gradient():
    layer = TransposedConv2d(3, 2).to(memory_format=torch.channels_last)
    layer.weight.requires_grad_(False)
    layer(torch.randn(2, 3, 4, 4)).sum().backward()
    assert layer.weight.grad is None
    assert torch.allclose(layer.bias.grad, torch.full((2,), 128.0))


def test_weights_move_between_this_layer_and_that_of_torch():
    decoder = ConvDecoder((3, 33, 40), 5)
    plain = deepcopy(decoder)
    for i, layer in enumerate(plain.convolutions):
        if isinstance(layer, TransposedConv2d):
            plain.convolutions[i] = nn.ConvTranspose2d(
                layer.in_channels, layer.out_channels, 4, 2, 1, layer.output_padding
            )
    plain.load_state_dict(decoder.state_dict())
    z = torch.randn(4, 5)
    assert torch.allclose(decoder.to(memory_format=torch.channels_last)(z), plain(z), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "uses_it"),
    [
        (lambda layer, x: layer(x), True),
        (lambda layer, x: layer(x, output_size=[9, 9]), False),
        (lambda layer, x: layer.double()(x.double()), False),
        (lambda layer, x: layer.to(memory_format=torch.contiguous_format)(x), False),
        (lambda layer, x: layer(x[0]), False),
        (lambda layer, x: vmap(lambda row: layer(row))(x[None]), False),
        (lambda layer, x: functional_call(layer, dict(layer.named_parameters()), x), True),
        (lambda layer, x: torch.export.export(layer, (x,)).module()(x), False),
    ],
    ids=["plain", "output_size", "float64", "contiguous", "one image", "vmap", "functional_call", "export"],
)
def test_torch_computes_what_the_layer_is_not_meant_for(change, uses_it, monkeypatch):
    layer, calls = TransposedConv2d(3, 5).to(memory_format=torch.channels_last), []
    monkeypatch.setattr(_TransposedConvolution, "apply", lambda *inputs: calls.append(1) or torch.zeros(()))
    assert change(layer, torch.randn(2, 3, 4, 4)) is not None
    assert bool(calls) == uses_it


def test_autocast_keeps_its_precision():
    layer = TransposedConv2d(3, 5).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(torch.randn(2, 3, 4, 4))
    assert output.dtype == torch.bfloat16
    output.sum().backward()
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("after", [1, 3, 8])
def test_outputs_and_gradients_stay_in_channels_last(after):
    layer = TransposedConv2d(6, after).to(memory_format=torch.channels_last)
    x = torch.randn(2, 6, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    output = layer(x)
    (gradient,) = torch.autograd.grad(output, x, torch.randn(output.shape))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_signals_are_decoded_by_the_layer_of_torch():
    layers = ConvDecoder((2, 96), 3).convolutions
    assert not any(isinstance(layer, TransposedConv2d) for layer in layers)
    assert ConvEncoder((2, 96), 3)(torch.randn(2, 2, 96)).shape == (2, 3)

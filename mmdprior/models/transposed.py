"""The transposed convolution of `ConvDecoder`, with a faster training step on CPUs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from mmdprior.tracing import is_traced

__all__ = ["TransposedConv2d"]

_FEW = 4
"""Up to this number of output channels, four small convolutions take less time than a transposed one."""


class TransposedConv2d(nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with 4 x 4 kernels, stride 2 and padding 1.

    In float32 on a CPU, with weights in the channels_last memory format, it computes the same numbers up to
    rounding in less time, because oneDNN is slow for two operations there. The gradient of the weights is
    computed as that of a convolution, with input and gradient exchanged. An output of few channels is
    computed by four 2 x 2 convolutions, one per parity of row and column (arXiv 1609.07009). In all other
    cases, and where torch traces or transforms the call, the layer is that of torch. The parameters have the
    same names.

    Args:
        in_channels, out_channels: number of channels.
        output_padding: 0 or 1 additional rows and columns of the output.

    Example:
        >>> import torch
        >>> from mmdprior.models.transposed import TransposedConv2d
        >>> TransposedConv2d(8, 3, output_padding=(0, 1))(torch.randn(2, 8, 5, 5)).shape
        torch.Size([2, 3, 10, 11])
    """

    def __init__(self, in_channels: int, out_channels: int, output_padding: tuple[int, int] = (0, 0)) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1, output_padding=output_padding)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (n, c, 2 h, 2 w) features, plus the output padding; ``output_size`` as for torch's layer."""
        if output_size is not None or is_traced() or not self._is_slow(input):
            return super().forward(input, output_size)
        return _TransposedConvolution.apply(input, self.weight, self.bias, self.output_padding)

    def _is_slow(self, features: Tensor) -> bool:
        # The weights of one output channel are in both layouts at once.
        layout = features if self.out_channels == 1 else self.weight
        return (
            features.device.type == "cpu"
            and features.dtype == self.weight.dtype == torch.float32
            and features.dim() == 4
            and not torch.is_autocast_enabled("cpu")
            and layout.is_contiguous(memory_format=torch.channels_last)
        )


class _TransposedConvolution(torch.autograd.Function):
    """Kernel 4, stride 2, padding 1; the gradients are those of the convolution that it transposes."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, output_padding: tuple[int, int]) -> Tensor:
        if weight.shape[1] > _FEW:
            return functional.conv_transpose2d(x, weight, bias, 2, 1, output_padding)
        return _by_parity(x, weight, bias, output_padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if grad.shape[1] == 1:  # is in both layouts at once; oneDNN takes less time with these strides
            grad = grad.reshape(len(grad), *grad.shape[2:], 1).permute(0, 3, 1, 2)
        grad = grad.contiguous(memory_format=torch.channels_last)
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        return (
            functional.conv2d(grad, weight, None, 2, 1) if needs_x else None,
            conv2d_weight(grad, weight.shape, x, 2, 1) if needs_weight else None,
            grad.sum((0, 2, 3)) if needs_bias else None,
            None,
        )


def _by_parity(x: Tensor, weight: Tensor, bias: Tensor, output_padding: tuple[int, int]) -> Tensor:
    """Return the transposed convolution, computed as one 2 x 2 convolution per parity of row and column.

    Row 2 i + a of the output, with a = 0 or 1, is a weighted sum of the rows i - 1 + a and i + a of ``x``.
    Their weights are the kernel rows 3 - a and 1 - a. Columns likewise.
    """
    in_channels, channels = weight.shape[:2]
    # Axes of the flipped kernel: in, out, row of x, parity of the row, column of x, parity of the column.
    parts = weight.flip(2, 3).unflatten(3, (2, 2)).unflatten(2, (2, 2)).permute(3, 5, 1, 0, 2, 4)
    kernels = parts.reshape(4 * channels, in_channels, 2, 2).contiguous(memory_format=torch.channels_last)
    sums = functional.conv2d(x, kernels, bias.repeat(4), padding=1)  # one row and column more than x
    sums = sums.permute(0, 2, 3, 1).unflatten(3, (2, 2, channels))
    height, width = (2 * size + extra for size, extra in zip(x.shape[2:], output_padding, strict=True))
    output = x.new_empty(len(x), height, width, channels)
    for a in (0, 1):
        for b in (0, 1):
            pixels = output[:, a::2, b::2]
            rows, columns = pixels.shape[1:3]
            pixels.copy_(sums[:, a : a + rows, b : b + columns, a, b])
    return output.permute(0, 3, 1, 2)

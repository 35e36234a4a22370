"""Fake CUDA tensors, which have no data: they show device mismatches and waits for a GPU without one.

Example:
    with FakeCUDA() as gpu:
        penalty = gpu.move(penalty)
        penalty(gpu.randn(16, 4))
        gpu.waits.clear()
        penalty(gpu.randn(16, 4))
        assert not gpu.waits
"""

import traceback
from contextlib import ExitStack

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


class FakeCUDA(ExitStack):
    """Context in which tensors on the device "cuda" can be created, moved and computed with.

    Attributes:
        waits: operations that make the CPU wait for the GPU, each with the line of mmdprior that called it:
            copies between the devices, and reading a value of the GPU as a number.
    """

    def __enter__(self):
        super().__enter__()
        self.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        self.waits = self.enter_context(_Waits()).waits
        return self

    def randn(self, *shape, **kwargs):
        return torch.randn(*shape, device="cuda", **kwargs)

    def move(self, module):
        """Replace all parameters and buffers of a module by fake ones on the GPU."""
        for owner in module.modules():
            for name, buffer in owner._buffers.items():
                if buffer is not None:
                    owner._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
            for name, parameter in owner._parameters.items():
                if parameter is not None:
                    empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="cuda")
                    owner._parameters[name] = torch.nn.Parameter(empty)
        return module


class _Waits(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            if args[0].device.type == "cuda":
                self._record("number")
            return 1.0 if args[0].is_floating_point() else 1  # fake tensors have no values
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self._compare(args[0], out)
        elif func is torch.ops.aten.copy_.default:
            self._compare(args[1], out)
        elif func is torch.ops.aten.index.Tensor:
            for index in args[1]:
                if index is not None:
                    self._compare(index, out)
        return out

    def _compare(self, source, out):
        if source.device.type != out.device.type:
            self._record(f"{source.device.type} to {out.device.type}")

    def _record(self, what):
        frames = [frame for frame in traceback.extract_stack() if "/mmdprior/" in frame.filename]
        place = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else "outside"
        self.waits.append(f"{what} at {place}")

"""Small constants that are computed once and copied once per device and dtype."""

import torch
from jaxtyping import Shaped
from torch import Tensor

__all__ = ["Constant"]


class Constant:
    """A fixed tensor with one cached copy per device and dtype.

    Closed forms are computed in float64 on the CPU, and every forward pass needs them on the device of the
    codes. A ``tensor.to(x)`` there copies from the CPU in every call, and the CPU waits until the GPU has
    finished its queue. `like` copies on the first call only.

    The value is a private copy and is never modified. To change a constant, replace the object: a new
    object has no cached copies, so that none can be out of date. Deep copies and pickles keep the value
    and drop the cache.

    Args:
        value: tensor of any shape and dtype; it is cloned, without gradient.

    Example:
        >>> constant = Constant(torch.tensor([1.0, 2.0], dtype=torch.float64))
        >>> codes = torch.zeros(3, 2)
        >>> constant.like(codes)
        tensor([1., 2.])
        >>> constant.like(codes) is constant.like(codes)
        True
    """

    def __init__(self, value: Shaped[Tensor, "*shape"]) -> None:
        # Tensors created in inference mode cannot be used in a graph later.
        with torch.inference_mode(False), torch.no_grad():
            self._value = value.detach().clone()
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    @property
    def value(self) -> Shaped[Tensor, "*shape"]:
        """The tensor with the device and dtype that it was created with."""
        return self._value

    def like(self, x: Tensor) -> Shaped[Tensor, "*shape"]:
        """Return the constant on the device of x; a floating constant also has the dtype of x."""
        dtype = x.dtype if self._value.is_floating_point() else self._value.dtype
        if torch.compiler.is_compiling():  # a traced graph must not keep its tensors in the cache
            return self._value.to(x.device, dtype)
        key = (x.device, dtype)
        if key not in self._copies:
            with torch.inference_mode(False), torch.no_grad():
                self._copies[key] = self._value.to(x.device, dtype)
        return self._copies[key]

    def __getstate__(self) -> dict[str, Tensor]:
        return {"_value": self._value}

    def __setstate__(self, state: dict[str, Tensor]) -> None:
        self._value = state["_value"]
        self._copies = {}

    def __repr__(self) -> str:
        return f"Constant({self._value})"

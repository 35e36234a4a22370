"""Values that are computed from the state of modules, and computed again once that state has changed."""

from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from functools import partial
from operator import is_
from types import MethodType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributions import Distribution

from mmdprior.tracing import may_store_results

__all__ = ["Derived", "Snapshot"]

_T = TypeVar("_T")
_SMALL = 64
"""Most entries of a tensor on the CPU that is compared by value."""


class Snapshot:
    """The state of modules at one time.

    Values that are computed from a module, such as the mean embedding of a prior, are out of date once its
    state changes: by ``load_state_dict``, by ``.to(...)``, by an edit in place such as
    ``prior.mean.add_(3)``, or by a new attribute or submodule. Compare with a snapshot before each use. The
    comparison takes a few microseconds and never waits for a GPU.

    The state of a module consists of its parameters, buffers, submodules and public attributes. Attributes
    and submodules whose name begins with an underscore are caches and do not count.

    Small tensors on the CPU are compared by value. Other tensors are compared by identity, by address and by
    torch's count of edits, which misses edits through ``.data`` or through a NumPy array of the same memory.

    Deep copies and pickles of a snapshot are never current.

    Args:
        *objects: modules; also tensors, and other objects that are compared by identity.
        tensors: whether tensors count; otherwise only attributes and submodules do.

    Example:
        >>> from mmdprior.priors import Gaussian
        >>> prior = Gaussian(2)
        >>> snapshot = Snapshot(prior)
        >>> snapshot.is_current(prior)
        True
        >>> _ = prior.mean.add_(3)
        >>> snapshot.is_current(prior)
        False
    """

    def __init__(self, *objects: object, tensors: bool = True) -> None:
        # The places are collected once, so that a comparison reads flat lists.
        self._objects: tuple[object, ...] | None = objects
        self._places = _Places(objects, tensors)
        self._entries = [container[key] for container, key in self._places.entries]
        self._sizes = [len(container) for container in self._places.containers]
        self._reads = [_reader(tensor) for tensor in self._places.tensors]
        self._contents = [read() for read in self._reads]

    def is_current(self, *objects: object) -> bool:
        """Return whether these are the same objects, with the same state as then.

        Objects with fake tensors or tensors on the meta device have no values. They count as unchanged.
        """
        return self._is_same(objects) or not _Places(objects).have_values()

    def _is_same(self, objects: tuple[object, ...]) -> bool:
        before = self._objects
        if before is None or len(objects) != len(before) or not all(map(is_, objects, before)):
            return False
        try:
            entries = [container[key] for container, key in self._places.entries]
        except (IndexError, KeyError):
            return False
        return (
            all(map(is_, entries, self._entries))
            and [len(container) for container in self._places.containers] == self._sizes
            and [read() for read in self._reads] == self._contents
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _never_current, ()


def _never_current() -> Snapshot:
    snapshot = Snapshot()
    snapshot._objects = None
    return snapshot


class _Places:
    """The places where the state of objects is held.

    Attributes:
        containers: attributes, tensors and submodules of modules; lists, tuples and dicts.
        entries: container and key of every entry that counts.
        tensors: all tensors among the entries and the objects themselves.
    """

    def __init__(self, objects: Iterable[Any], with_tensors: bool = True) -> None:
        self._with_tensors = with_tensors
        self.containers: list[Any] = []
        self.entries: list[tuple[Any, Any]] = []
        self.tensors: list[Tensor] = []
        self._seen: set[int] = set()
        self._visit_all(objects)

    def have_values(self) -> bool:
        """Return whether the tensors have values that can be read."""
        return not any(tensor.is_meta or isinstance(tensor, FakeTensor) for tensor in self.tensors)

    def _visit_all(self, values: Iterable[Any]) -> None:
        for value in values:
            if not isinstance(value, (bool, int, float, str, type(None))) and id(value) not in self._seen:
                self._seen.add(id(value))
                self._visit(value)

    def _visit(self, value: Any) -> None:
        """Collect the places of one object; of other kinds of objects, only the identity counts."""
        if isinstance(value, Tensor):
            if self._with_tensors:
                self.tensors.append(value)
        elif isinstance(value, nn.Module):
            self._contain(vars(value), [n for n in vars(value) if n[0] != "_" and n != "training"])
            if self._with_tensors:
                self._contain(value._parameters, value._parameters)
                self._contain(value._buffers, value._buffers)
            self._contain(value._modules, [name for name in value._modules if name[0] != "_"])
        elif isinstance(value, (list, tuple)):
            self._contain(value, range(len(value)))
        elif isinstance(value, dict):
            self._contain(value, value)
        elif isinstance(value, Distribution) or (is_dataclass(value) and hasattr(value, "__dict__")):
            self._contain(vars(value), vars(value))
        elif isinstance(value, partial):
            self._visit_all((value.func, value.args, value.keywords))
        elif isinstance(value, MethodType):
            self._visit_all((value.__self__,))

    def _contain(self, container: Any, keys: Iterable[Any]) -> None:
        keys = list(keys)
        self.containers.append(container)
        self.entries.extend((container, key) for key in keys)
        self._visit_all([container[key] for key in keys])


def _reader(tensor: Tensor) -> Callable[[], object]:
    """Return a function whose result differs once the tensor has been changed."""
    # ``.to("cuda")`` moves a parameter without replacing it, and reading its values would wait for the GPU.
    if tensor.device.type == "cpu" and tensor.numel() <= _SMALL and not isinstance(tensor, nn.Parameter):
        return tensor.tolist
    if tensor.is_inference():  # has no count of edits
        return lambda: tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    if type(tensor) in (Tensor, nn.Parameter):
        return lambda: (tensor._version, tensor.data_ptr(), tensor.dtype)
    return lambda: (tensor._version, tensor.dtype)  # a subclass may have no address


class Derived(Generic[_T]):
    """A value that is computed from objects, and computed again once their state has changed.

    A compiled graph does not compare states. It keeps the value of the time when it was traced.

    Deep copies and pickles keep the function and drop the value.

    Args:
        compute: function of the objects; importable, for pickles.

    Example:
        >>> from mmdprior.priors import Gaussian
        >>> prior, mean = Gaussian(2), Derived(lambda prior: prior.moments().mean.tolist())
        >>> mean.of(prior)
        [0.0, 0.0]
        >>> _ = prior.mean.add_(3)
        >>> mean.of(prior)
        [3.0, 3.0]
    """

    def __init__(self, compute: Callable[..., _T]) -> None:
        self._compute = compute
        self._value: tuple[_T] | None = None  # in a tuple, so that None can be a value too
        self._snapshot = _never_current()

    def of(self, *objects: object) -> _T:
        """Return the value for the present state of the objects."""
        traced = torch.compiler.is_compiling()
        if self._value is not None and (traced or self._snapshot.is_current(*objects)):
            return self._value[0]
        value = self._compute(*objects)
        if not traced and may_store_results():
            self._value, self._snapshot = (value,), Snapshot(*objects)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {"_compute": self._compute, "_value": None, "_snapshot": _never_current()}

"""Calls that torch traces (torch.compile, torch.export) or transforms (torch.func)."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["constant_in_graphs", "is_traced", "is_transformed", "may_store_results"]

F = TypeVar("F", bound=Callable[..., Any])


def constant_in_graphs(function: F) -> F:
    """Return a function, marked so that compiled graphs hold its result as a constant.

    It sets the attribute that `torch.compiler.assume_constant_result` sets. That function imports the
    compiler, which would add more than a second to every start of the program.

    Example:
        >>> import torch
        >>> from mmdprior.tracing import constant_in_graphs
        >>> @constant_in_graphs
        ... def read_once(x: int) -> float:
        ...     return float(torch.ones(1) * x)
        >>> read_once(3)
        3.0
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


# Dynamo evaluates this once per graph, and a graph is used only under the transforms it was traced under.
@constant_in_graphs
def is_transformed() -> bool:
    """Return whether a transform of torch.func is active, such as grad or vmap.

    Example:
        >>> import torch
        >>> from mmdprior.tracing import is_transformed
        >>> def seen(x):
        ...     print(is_transformed())
        ...     return x
        >>> _ = torch.func.vmap(seen)(torch.zeros(2))
        True
        >>> is_transformed()
        False
    """
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_traced() -> bool:
    """Return whether torch traces or transforms the call, so that it should consist of plain operations.

    Transforms and compilers differentiate plain operations any number of times, forwards and backwards.
    They reject custom autograd functions, or differentiate them wrongly: nested forward derivatives miss
    terms.
    """
    return torch.compiler.is_compiling() or is_transformed()


def may_store_results() -> bool:
    """Return whether a module may keep tensors computed in this call.

    It may not inside a transform of torch.func, whose tensors end with the transform, nor in an export, which
    forbids changes of attributes.
    """
    return not is_transformed() and not torch.compiler.is_exporting()

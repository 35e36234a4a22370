"""Calls that torch traces (torch.compile, torch.export) or transforms (torch.func)."""

import torch

__all__ = ["is_traced", "is_transformed", "may_store_results"]


# Dynamo evaluates this once per graph, and a graph is used only under the transforms it was traced under.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
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
    Custom autograd functions they refuse, or differentiate wrongly: nested forward derivatives miss terms.
    """
    return torch.compiler.is_compiling() or is_transformed()


def may_store_results() -> bool:
    """Return whether a module may keep tensors computed in this call.

    It may not inside a transform of torch.func, whose tensors end with the transform, nor in an export, which
    forbids changes of attributes.
    """
    return not is_transformed() and not torch.compiler.is_exporting()

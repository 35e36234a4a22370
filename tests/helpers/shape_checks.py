"""Run-time checks of the annotations in mmdprior: types by beartype, shapes by jaxtyping."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ForwardRef, get_args

import jaxtyping
import torch


def has_shapes(annotation: Any) -> bool:
    """Return whether an annotation, or a part of it, names the shape of an array."""
    if isinstance(annotation, str):
        return "[Tensor," in annotation
    if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(has_shapes(part) for part in get_args(annotation))


def check_annotations(package: str) -> None:
    """Check every call in a package against its annotations, from the next import on.

    The checks are those of ``jaxtyping.install_import_hook``, but cheaper. A function without shapes is
    checked by beartype only. A function with shapes has its parameters checked once, and not again for
    the return value. Code that torch traces is not checked, because the checks cannot be compiled.
    """
    jaxtyped = jaxtyping.jaxtyped

    def check(*, typechecker: Any) -> Any:
        def decorate(function: Any) -> Any:
            if torch.compiler.is_compiling():  # a function inside a function
                return function
            if inspect.isclass(function):  # a dataclass, whose constructor is replaced
                plain = function.__init__
                decorated = jaxtyped(function, typechecker=typechecker)
                decorated.__init__ = _unless_traced(decorated.__init__, plain)
                return decorated
            if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
                return jaxtyped(function, typechecker=typechecker)
            annotations = getattr(function, "__annotations__", {}).values()
            if any(_is_absent(annotation, function.__globals__) for annotation in annotations):
                # A name that only type checkers import. This decorator checks the other annotations.
                return _unless_traced(jaxtyped(function, typechecker=typechecker), function)
            checked = typechecker(function)
            if any(map(has_shapes, annotations)):
                checked = jaxtyped(checked, typechecker=None)
            return _unless_traced(checked, function)

        return decorate

    jaxtyping.jaxtyped = check
    jaxtyping.install_import_hook(package, "beartype.beartype")


def _is_absent(annotation: Any, names: Mapping[str, Any]) -> bool:
    """Return whether an annotation, or a part of it, is the name of something that is not imported."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        try:
            eval(annotation, dict(names))
        except NameError:
            return True
        return False
    return any(_is_absent(part, names) for part in get_args(annotation))


def _unless_traced(checked: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls the checked one, or the plain one where torch traces the call."""
    if checked is plain:
        return plain

    @functools.wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        # vmap builds a pytree of integers, the axes, also where the pytree is a dataclass of tensors.
        axes = plain.__name__ == "__init__" and any(isinstance(value, int) for value in kwargs.values())
        off = _switched_off or torch.compiler.is_compiling() or axes
        return (plain if off else checked)(*args, **kwargs)

    return call


_switched_off = False


@contextlib.contextmanager
def no_checks() -> Iterator[None]:
    """Switch the checks off, to see what users see, who do not have them."""
    global _switched_off
    _switched_off = True
    try:
        yield
    finally:
        _switched_off = False

"""Run-time checks of the annotations in mmdprior: types by beartype, shapes by jaxtyping."""

import inspect
from typing import Any, get_args

import jaxtyping


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
    the return value.
    """
    jaxtyped = jaxtyping.jaxtyped

    def checked(*, typechecker: Any) -> Any:
        def decorate(function: Any) -> Any:
            if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
                return jaxtyped(function, typechecker=typechecker)
            annotations = getattr(function, "__annotations__", {}).values()
            function = typechecker(function)
            return jaxtyped(function, typechecker=None) if any(map(has_shapes, annotations)) else function

        return decorate

    jaxtyping.jaxtyped = checked
    jaxtyping.install_import_hook(package, "beartype.beartype")

"""Call what a slot names with the arguments beside it."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from mmdprior.config.slots import Slot
from mmdprior.errors import InputError, reason
from mmdprior.kernels import Kernel
from mmdprior.models import Likelihood, Posterior
from mmdprior.regularizers import Regularizer

__all__ = ["error_path", "make"]

_CONTRACTS: Mapping[str, type] = {
    "encoder": nn.Module,
    "decoder": nn.Module,
    "posterior": Posterior,
    "likelihood": Likelihood,
    "kernel": Kernel,
    "regularizer": Regularizer,
}
"""What a factory of each slot must return."""


def make(slot: Slot, nested: Callable[[Slot], Any], **known: Any) -> Any:
    """Call a slot's factory.

    Args:
        slot: checked.
        nested: builds the slots among its arguments.
        known: given to a factory that asks for them by name, where the YAML does not.

    Raises:
        InputError: what the factory refuses, or a return value of the wrong kind.
    """
    factory = slot.factory()
    arguments: dict[str, Any] = {}
    for key, value in slot.arguments.items():
        if isinstance(value, Slot):
            arguments[key] = nested(value)
        elif isinstance(value, list) and value and all(isinstance(v, Slot) for v in value):
            arguments[key] = [nested(entry) for entry in value]
        else:
            arguments[key] = value
    accepted = inspect.signature(factory).parameters
    for key, value in known.items():
        if key in accepted and arguments.get(key) is None:
            arguments[key] = value
    with error_path(slot.path):
        made = factory(**arguments)
        contract = _CONTRACTS.get(slot.kind, object)
        if not isinstance(made, contract):
            raise InputError(f"{type(made).__name__} returned; return a {contract.__name__}")
    return made


@contextmanager
def error_path(path: str) -> Iterator[None]:
    """Put the key path before an error that names an argument only."""
    try:
        yield
    except InputError as error:
        text = str(error)
        if text.startswith(path.split(".")[0]):
            raise
        last = path.rpartition(".")[2]
        if text.startswith(f"{last}:"):
            raise InputError(path + text.removeprefix(last)) from None
        names_argument = re.match(r"[a-z_]\w*(, \w+)*: ", text)
        raise InputError(f"{path}.{text}" if names_argument else f"{path}: {text}") from None
    except (Exception, SystemExit) as error:  # whatever the user's own code, or an impossible size, brings up
        raise InputError(f"{path}: does not work ({type(error).__name__}: {reason(error)})") from error

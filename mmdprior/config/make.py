"""Call what a slot names with the arguments beside it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mmdprior.config.paths import at
from mmdprior.config.slots import Slot
from mmdprior.errors import InputError
from mmdprior.kernels import Kernel
from mmdprior.models import Likelihood, Posterior
from mmdprior.regularizers import Regularizer

__all__ = ["make"]

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
    with at(slot.path):
        made = factory(**arguments)
        contract = _CONTRACTS.get(slot.kind, object)
        if not isinstance(made, contract):
            raise InputError(f"{type(made).__name__} returned; return a {contract.__name__}")
    return made

"""Signatures of factories: the arguments that YAML may set, and those among them that are slots.

The type hints of a factory decide which arguments are slots. An argument with the type of a contract is a
slot of that kind::

    def my_penalty(prior: Prior, kernels: list[Kernel], base: Regularizer | None = None) -> Regularizer: ...

takes ``prior``, ``kernels`` and ``base`` in YAML, each with a ``name`` or ``target`` and its own arguments.
"""

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from torch import Tensor, nn

from mmdprior.data.source import Source
from mmdprior.flows.bijection import Bijection
from mmdprior.kernels.kernel import Kernel
from mmdprior.models.likelihood import Likelihood
from mmdprior.models.posterior import Posterior
from mmdprior.models.quantiser import Quantiser
from mmdprior.priors.prior import Prior
from mmdprior.regularizers.estimators import Estimator
from mmdprior.regularizers.regularizer import Regularizer
from mmdprior.regularizers.sum import Weighted
from mmdprior.training.logger import Callback, Logger
from mmdprior.training.schedules import Schedule

__all__ = ["CONTRACTS", "SUPPLIED", "Argument", "Signature", "is_part_itself", "signature_of", "slot_type"]

CONTRACTS: Mapping[str, type] = {
    "weighted_regularizer": Weighted,  # before regularizer: the hint of a sum is Regularizer | Weighted
    "regularizer": Regularizer,
    "prior": Prior,
    "kernel": Kernel,
    "posterior": Posterior,
    "likelihood": Likelihood,
    "quantiser": Quantiser,
    "flow": Bijection,
    "estimator": Estimator,
    "schedule": Schedule,
    "source": Source,
    "logger": Logger,
    "callback": Callback,
}
"""Kind of slot -> the type that marks an argument as a slot of this kind."""

SUPPLIED: Mapping[str, frozenset[str]] = {
    "prior": frozenset({"dim", "file_content"}),
    "regularizer": frozenset({"dim", "seed"}),
    "schedule": frozenset({"steps"}),
    "encoder": frozenset({"image_shape", "num_params"}),
    "decoder": frozenset({"image_shape", "latent_dim"}),
    "flow": frozenset({"dim", "seed"}),
    "quantiser": frozenset({"dim"}),
    "logger": frozenset({"directory", "name", "settings", "start"}),
}
"""Kind of slot -> arguments that the builder supplies; YAML may set only the ``dim`` of a prior."""

_LEADING = {
    "prior": ("n",),
    "schedule": ("step",),
    "estimator": ("z", "y", "kernel"),
    "kernel": ("x", "y"),
    "function": ("x",),
}
"""Kind of slot -> arguments of a function that is the part itself, and is not called by the builder."""


@dataclass(frozen=True)
class Argument:
    """An argument of a factory that YAML may set.

    Attributes:
        hint: its type as YAML can write it.
        default: its default; `inspect.Parameter.empty` for a required argument.
        slot: the kind of slot that it is, or None for a plain value.
        many: whether it is a list of such slots.
        description: its entry in the docstring of the factory.
    """

    hint: Any
    default: Any
    slot: str | None
    many: bool
    description: str

    @property
    def required(self) -> bool:
        """Whether the argument has no default."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Signature:
    """The arguments of a factory that YAML may set.

    Attributes:
        arguments: by name, in the order of the signature.
        is_open: whether the factory takes further arguments as ``**kwargs``.
        description: the docstring of the factory, up to its first section.
    """

    arguments: Mapping[str, Argument]
    is_open: bool
    description: str

    def slots(self) -> list[str]:
        """Return the names of the arguments that are slots."""
        return [name for name, argument in self.arguments.items() if argument.slot is not None]


@cache
def signature_of(factory: Any, kind: str) -> Signature:
    """Return the arguments that YAML may set for a factory in a slot.

    Args:
        factory: a class or a function; for a prior also an object that can be sampled.
        kind: kind of the slot.

    Raises:
        TypeError, ValueError: Python cannot read the signature.

    Example:
        >>> from mmdprior.config.signature import signature_of
        >>> from mmdprior.regularizers import MMD
        >>> arguments = signature_of(MMD, "regularizer").arguments
        >>> list(arguments)
        ['prior', 'kernel', 'estimator', 'num_samples', 'queue']
        >>> arguments["kernel"].slot, arguments["queue"].slot
        ('kernel', None)
    """
    description, entries = _documentation(factory)
    if not callable(factory) or getattr(factory, "__init__", None) is nn.Module.__init__:
        return Signature({}, is_open=False, description=description)
    parameters = list(inspect.signature(factory).parameters.values())
    hints = _hints(factory)
    if is_part_itself(factory, kind):
        parameters = parameters[len(_LEADING[kind]) :]
        if kind == "prior" and not any(parameter.name == "dim" for parameter in parameters):
            parameters.append(inspect.Parameter("dim", inspect.Parameter.KEYWORD_ONLY))
    arguments = {
        parameter.name: _argument(
            parameter, hints.get(parameter.name, Any), kind, entries.get(parameter.name, "")
        )
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and (parameter.name not in SUPPLIED.get(kind, ()) or (kind, parameter.name) == ("prior", "dim"))
        and not parameter.name.startswith("_")
    }
    is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return Signature(arguments, is_open, description)


def is_part_itself(factory: Any, kind: str) -> bool:
    """Return whether a function is the part of the model itself, and not a factory of it.

    Its first argument decides: ``n`` for a function that draws from a prior, ``step`` for a schedule, ``z``
    for an estimator, ``x`` for a kernel. In the slot of a function, a function is the part and a class is a
    factory.
    """
    if kind == "function":
        return not inspect.isclass(factory)
    if kind not in _LEADING or not inspect.isfunction(factory):
        return False
    return next(iter(inspect.signature(factory).parameters), "") == _LEADING[kind][0]


def slot_type(hint: Any) -> tuple[str | None, bool]:
    """Return the kind of slot that a type hint stands for, and whether it is a list of them.

    Contracts, sequences of contracts and callables are slots, each also with ``| None``. A callable from int
    to float is a schedule, any other callable a function.

    Returns:
        The kind, None for a plain value, and whether there are many.

    Example:
        >>> from mmdprior.config.signature import slot_type
        >>> from mmdprior.kernels import Kernel
        >>> slot_type(Kernel | None), slot_type(list[Kernel]), slot_type(float)
        (('kernel', False), ('kernel', True), (None, False))
    """
    members = [member for member in _members(hint) if member is not type(None)]
    plain = [member for member in members if isinstance(member, type) and typing.get_origin(member) is None]
    for kind, contract in CONTRACTS.items():
        if any(issubclass(member, contract) for member in plain):
            return kind, False
    for member in members:
        if typing.get_origin(member) in (list, tuple, collections.abc.Sequence):
            kind_of_entry, many = slot_type(next(iter(typing.get_args(member)), Any))
            if kind_of_entry is not None and not many:
                return kind_of_entry, True
    if members and all(_is_callable_type(member) for member in members):
        return "schedule" if typing.get_args(members[0]) == ([int], float) else "function", False
    return None, False


def _argument(parameter: inspect.Parameter, hint: Any, kind: str, description: str) -> Argument:
    slot, many = slot_type(hint)
    default = parameter.default
    if kind == "prior" and parameter.name == "dim":
        slot, many, hint = None, False, int if hint is Any else hint
        if default is parameter.empty:
            hint, default = hint | None, None  # the builder supplies it
    default = list(default) if isinstance(default, tuple) else default
    return Argument(_yaml_hint(hint), default, slot, many, description)


def _documentation(factory: Any) -> tuple[str, dict[str, str]]:
    """Return the docstring of a factory up to its first section, and its entries for the arguments."""
    document = inspect.getdoc(getattr(factory, "func", factory)) or ""
    text, *sections = re.split(r"^(\w+):\n(?= )", document, flags=re.MULTILINE)
    arguments = dict(zip(sections[::2], sections[1::2], strict=True)).get("Args", "")
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", arguments, flags=re.MULTILINE)
    return text.strip(), {name: " ".join(entry.split()) for name, entry in entries}


def _hints(factory: Any) -> dict[str, Any]:
    """Return the type hints of a factory's arguments; none where Python cannot resolve them."""
    function = factory.func if isinstance(factory, partial) else factory
    if inspect.isclass(function):
        function = function.__init__
    elif not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function)
    except Exception:  # names that exist only for type checkers
        return {}


def _members(hint: Any) -> Sequence[Any]:
    """Return the members of a union, or the hint itself."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _is_callable_type(hint: Any) -> bool:
    return collections.abc.Callable in (hint, typing.get_origin(hint)) or hint is Callable


def _yaml_hint(hint: Any) -> Any:
    """Return a type hint without tensors, and with lists for sequences, as YAML has them."""
    members = [member for member in _members(hint) if member is not Tensor]
    if not members:
        return hint
    return typing.Union[tuple(_list_hint(member) for member in members)]  # noqa: UP007 - built at run time


def _list_hint(hint: Any) -> Any:
    if typing.get_origin(hint) is collections.abc.Sequence:
        return list[tuple(_list_hint(entry) for entry in typing.get_args(hint))]  # type: ignore[misc]
    return hint

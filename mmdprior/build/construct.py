"""From a slot to the object behind it: nested slots first, then one call of the factory."""

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from mmdprior.config.signature import CONTRACTS, SUPPLIED, is_part_itself
from mmdprior.config.slots import Slot
from mmdprior.data.convert import as_source
from mmdprior.errors import InputError, reason
from mmdprior.files import expand
from mmdprior.kernels.function import FunctionKernel
from mmdprior.priors import Prior, as_prior
from mmdprior.priors.prior import check_draws

__all__ = ["SlotBuilder", "error_path"]

_RETURN_TYPES: Mapping[str, type] = {
    **{kind: CONTRACTS[kind] for kind in ("posterior", "likelihood", "quantiser", "flow")},
    **{kind: CONTRACTS[kind] for kind in ("kernel", "regularizer", "logger", "callback")},
    "encoder": nn.Module,
    "decoder": nn.Module,
}
"""Kind of slot -> what its factory must return. Parts of other kinds are converted, as by `as_prior`."""


@dataclass(frozen=True)
class SlotBuilder:
    """Builds the object behind a slot.

    Attributes:
        supplied: values of the arguments that YAML leaves to the builder, such as ``dim``, by name.
        assets: the arrays that slots name by path, from `read_assets` or a checkpoint.

    Example:
        >>> from mmdprior.build.construct import SlotBuilder
        >>> from mmdprior.config.slots import check_slot
        >>> slot = check_slot("regularizer", {"name": "mmd", "prior": "uniform", "kernel": "imq"})
        >>> penalty = SlotBuilder({"dim": 3, "seed": 0}).build(slot)
        >>> type(penalty).__name__, penalty.prior.dim
        ('MMD', 3)
    """

    supplied: Mapping[str, Any] = field(default_factory=dict)
    assets: Mapping[str, Tensor] = field(default_factory=dict)

    def build(self, slot: Slot) -> Any:
        """Return the object behind a slot.

        Args:
            slot: a checked slot.

        Raises:
            InputError: an error of a factory with the key path of its slot, or an object of another type.
        """
        if slot.kind == "prior":
            return self._product(slot) if slot.name == "product" else self._prior(slot)
        arguments = self._build_arguments(slot)
        factory = slot.factory()
        if is_part_itself(factory, slot.kind):
            part: Any = partial(factory, **arguments)
            if slot.kind == "kernel":
                return FunctionKernel(factory, **arguments)
        else:
            part = self._call(slot, factory, arguments)
        if slot.kind == "schedule":
            with error_path(slot.path):
                float(part(0))
        return part

    def with_dim(self, dim: int) -> "SlotBuilder":
        """Return a builder of parts of another dimension."""
        return replace(self, supplied={**self.supplied, "dim": dim})

    def _build_arguments(self, slot: Slot) -> dict[str, Any]:
        """Return the arguments of a slot with every nested slot built."""

        def build(value: Any) -> Any:
            if isinstance(value, list):
                return [build(entry) for entry in value]
            if isinstance(value, str):
                return expand(value)  # ~ and environment variables of paths
            return self.build(value) if isinstance(value, Slot) else value

        arguments = {}
        for key, value in slot.arguments.items():
            with error_path(f"{slot.path}.{key}"):
                arguments[key] = build(value)
        return arguments

    def _call(self, slot: Slot, factory: Any, arguments: Mapping[str, Any]) -> Any:
        """Call a factory with its arguments and those that the builder supplies."""
        accepted = inspect.signature(factory).parameters
        open_keys = [key for key in SUPPLIED.get(slot.kind, ()) if arguments.get(key) is None]
        supplied = {key: self.supplied[key] for key in open_keys if key in accepted and key in self.supplied}
        with error_path(slot.path):
            part = factory(**{**arguments, **supplied})
            if slot.kind == "source":
                return as_source(part)
            expected = _RETURN_TYPES.get(slot.kind, object)
            if not isinstance(part, expected):
                raise InputError(f"{type(part).__name__} returned; return a {expected.__name__}")
        return part

    def _prior(self, slot: Slot) -> Prior:
        """Build a prior of the builder's dimension, unless its arguments set another."""
        factory = slot.factory()
        dim = slot.arguments.get("dim") or self.supplied["dim"]
        if not callable(factory) or isinstance(factory, nn.Module):
            source: Any = factory  # a target that can be sampled itself
        else:
            arguments = self.with_dim(_base_dim(slot, dim))._build_arguments(slot)
            if is_part_itself(factory, "prior"):
                arguments.pop("dim", None)  # the function gets it with every call
                source = partial(factory, **arguments)
            else:
                content = {"file_content": self._asset(slot)} if slot.name == "samples" else {}
                builder = replace(self, supplied={**self.supplied, **content, "dim": dim})
                source = builder._call(slot, factory, arguments)
        with error_path(slot.path):
            prior = as_prior(source, dim)
            if slot.target is not None:
                check_draws(prior)
        return prior

    def _product(self, slot: Slot) -> Prior:
        """Build a product of blocks; a block without dim gets the dimensions that the others leave."""
        dim = self.supplied["dim"]
        blocks: list[Slot] = slot.arguments["blocks"]
        without_dim = [block for block in blocks if _needs_dim(block)]
        if len(without_dim) > 1:
            path = without_dim[1].path
            raise InputError(f"{path}.dim: missing; give it, since only one block may have no dim")
        built = {block.path: self.build(block) for block in blocks if block not in without_dim}
        taken = sum(block.dim for block in built.values())
        if without_dim and taken >= dim:
            raise InputError(
                f"{slot.path}.blocks: {taken} of {dim} dimensions taken; leave at least one for the block "
                "without dim"
            )
        built |= {block.path: self.with_dim(dim - taken).build(block) for block in without_dim}
        others = {key: value for key, value in slot.arguments.items() if key != "blocks"}
        with error_path(slot.path):
            product: Prior = slot.factory()([built[block.path] for block in blocks], **others)
        return product

    def _asset(self, slot: Slot) -> Tensor:
        path = str(slot.arguments["path"])
        if path not in self.assets:
            raise InputError(f"{slot.path}.path: {path!r} received; read it first, with read_assets")
        return self.assets[path]


def _base_dim(slot: Slot, dim: int) -> int:
    """Return the dimension of the prior inside another: the columns of an affine map, the dimensions that
    factors leave, otherwise dim."""
    if slot.name == "factors":
        factors = slot.arguments["factors"]
        entries = [entry for entry in factors.values() if isinstance(entry, Mapping)]
        return max(1, dim - sum(len(entry.get("dims", ())) for entry in entries))
    matrix = slot.arguments.get("matrix")
    return len(matrix[0]) if isinstance(matrix, list) and matrix and isinstance(matrix[0], list) else dim


def _needs_dim(slot: Slot) -> bool:
    """Return whether the dimension of a block is left to the product."""
    if slot.name == "product":
        return any(_needs_dim(block) for block in slot.arguments["blocks"])
    base = slot.arguments.get("base")
    if isinstance(base, Slot):
        return "matrix" not in slot.arguments and _needs_dim(base)
    factory = slot.factory()
    if not callable(factory) or isinstance(factory, nn.Module):
        return False
    takes_dim = "dim" in inspect.signature(factory).parameters or is_part_itself(factory, "prior")
    return takes_dim and slot.arguments.get("dim") is None


@contextmanager
def error_path(path: str) -> Iterator[None]:
    """Put a key path before errors, and turn any exception of a part into an `InputError` of one line.

    Args:
        path: key path of the part that is built or called inside.

    Raises:
        InputError: instead of any exception that is raised inside.

    Example:
        >>> from mmdprior import InputError
        >>> from mmdprior.build.construct import error_path
        >>> with error_path("regularizer.kernel"):
        ...     raise InputError("scale: -1.0 received; give a positive number")
        Traceback (most recent call last):
        mmdprior.errors.InputError: regularizer.kernel.scale: -1.0 received; give a positive number
    """
    try:
        yield
    except InputError as error:
        text = str(error)
        if text.startswith(path.split(".")[0]):  # the path is already there, or a part of it
            raise
        last = path.rpartition(".")[2]
        if text.startswith(f"{last}:"):
            raise InputError(path + text.removeprefix(last)) from None
        names_argument = re.match(r"[a-z_]\w*(, \w+)*: ", text)
        raise InputError(f"{path}.{text}" if names_argument else f"{path}: {text}") from None
    except (Exception, SystemExit) as error:  # a user's own code, or a size that memory does not hold
        raise InputError(f"{path}: does not work ({type(error).__name__}: {reason(error)})") from error

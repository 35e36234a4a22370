"""Priors from slots: dimensions that the YAML leaves open, blocks, and arrays named by path."""

import inspect
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from mmdprior.config.assets import read_asset
from mmdprior.config.make import make
from mmdprior.config.paths import at
from mmdprior.config.slots import Slot, is_function_of
from mmdprior.errors import InputError
from mmdprior.priors import Prior, as_prior
from mmdprior.priors.empirical import check_draws

__all__ = ["PriorBuilder"]


@dataclass
class PriorBuilder:
    """Builds priors.

    Attributes:
        assets: arrays that slots name by path; read once, then kept in checkpoints, so that rebuilding reads
            nothing again.
    """

    assets: dict[str, Tensor] = field(default_factory=dict)

    def build(self, slot: Slot, dim: int) -> Prior:
        """Build a prior, of the given dimension unless its arguments say otherwise."""
        if slot.name == "product":
            return self._product(slot, dim)
        factory = slot.factory()
        dim = slot.arguments.get("dim") or dim
        if not callable(factory) or isinstance(factory, nn.Module):
            made: Any = factory
        elif is_function_of("n", factory):
            made = partial(factory, **{key: v for key, v in slot.arguments.items() if key != "dim"})
        else:
            content = self._asset(slot) if slot.name == "samples" else None
            inner = _base_dim(slot, dim)
            made = make(slot, lambda part: self._part(part, inner), dim=dim, file_content=content)
        with at(slot.path):
            prior = as_prior(made, dim)
            if slot.target is not None:
                check_draws(prior)
        return prior

    def _part(self, slot: Slot, dim: int) -> Any:
        """Build what a prior is made of: another prior, or a function of the user's own."""
        return partial(slot.factory(), **slot.arguments) if slot.kind == "function" else self.build(slot, dim)

    def _product(self, slot: Slot, dim: int) -> Prior:
        """Build blocks; one that states no dimension takes what the others leave."""
        entries: list[Slot] = slot.arguments["blocks"]
        open_slots = [entry for entry in entries if _takes_dim(entry)]
        if len(open_slots) > 1:
            raise InputError(f"{open_slots[1].path}.dim: missing; only one block may leave its dim open")
        built = {entry.path: self.build(entry, dim) for entry in entries if entry not in open_slots}
        rest = dim - sum(block.dim for block in built.values())
        if open_slots and rest < 1:
            raise InputError(f"{slot.path}.blocks: {dim - rest} dimensions taken of {dim}; none is left open")
        built |= {entry.path: self.build(entry, rest) for entry in open_slots}
        others = {key: value for key, value in slot.arguments.items() if key != "blocks"}
        with at(slot.path):
            return slot.factory()([built[entry.path] for entry in entries], **others)

    def _asset(self, slot: Slot) -> Tensor:
        path = str(slot.arguments["path"])
        if path not in self.assets:
            with at(slot.path):
                self.assets[path] = read_asset(path)
        return self.assets[path]


def _base_dim(slot: Slot, dim: int) -> int:
    """Return the dimension of the prior that another one is made of: an affine map may change it."""
    matrix = slot.arguments.get("matrix")
    return len(matrix[0]) if isinstance(matrix, list) and matrix and isinstance(matrix[0], list) else dim


def _takes_dim(slot: Slot) -> bool:
    """Tell a block whose dimension is left to the product."""
    if slot.name == "product":
        return any(_takes_dim(entry) for entry in slot.arguments["blocks"])
    base = slot.arguments.get("base")
    if isinstance(base, Slot):
        return "matrix" not in slot.arguments and _takes_dim(base)
    factory = slot.factory()
    if not callable(factory) or isinstance(factory, nn.Module):
        return False
    named = "dim" in inspect.signature(factory).parameters or is_function_of("n", factory)
    return named and slot.arguments.get("dim") is None

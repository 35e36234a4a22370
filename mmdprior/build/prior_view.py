"""A prior by itself: of a config, or named on the command line."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmdprior.build.assets import read_assets
from mmdprior.build.builder import Builder, PriorBuilder
from mmdprior.config.load import load_config, parse_value
from mmdprior.config.slots import check_slot
from mmdprior.errors import InputError
from mmdprior.priors import Prior
from mmdprior.regularizers import MMD, Regularizer, SumOfPenalties

__all__ = ["PriorView", "named_prior", "view_prior"]


@dataclass(frozen=True)
class PriorView:
    """A prior and the penalty that would enforce it.

    Attributes:
        prior: built.
        penalty: the config's own; with the default kernel for a prior by itself; None for other penalties.
        batch_size: codes that the penalty sees.
    """

    prior: Prior
    penalty: MMD | None
    batch_size: int


def view_prior(
    source: str, overrides: Sequence[str] = (), *, dim: int | None = None, batch_size: int | None = None
) -> PriorView:
    """Build the prior of a config, or one that is named.

    Args:
        source: a YAML config; a target ``file.py:object``; or a prior as in YAML, a name or
            ``{name: uniform, low: -2}``.
        overrides: ``key.sub=value``, of a config.
        dim: number of dimensions of a prior that is named.
        batch_size: in place of the config's; 256 for a prior that is named.

    Raises:
        InputError: no config and no prior.
    """
    if source.endswith((".yaml", ".yml")):
        config = load_config(source, overrides)
        builder = Builder(config, read_assets(config))
        penalty = _mmd_of(builder.regularizer())
        size = batch_size or config.data.batch_size
        return PriorView(builder.intended_prior(), penalty, size)
    if overrides:
        raise InputError(f"prior: {overrides[0]!r} received; overrides go with a YAML config")
    prior = named_prior(source, 2 if dim is None else dim, "prior")
    return PriorView(prior, MMD(prior), batch_size or 256)


def named_prior(source: str, dim: int, path: str) -> Prior:
    """Build a prior that is named on the command line.

    Args:
        source: a target ``file.py:object``; or a prior as in YAML, a name or ``{name: uniform, low: -2}``.
        dim: number of dimensions, unless the prior sets its own.
        path: the option, for errors.

    Raises:
        InputError: no prior.
    """
    is_target = ":" in source and not source.lstrip().startswith("{")
    value = {"target": source} if is_target else parse_value(source, path)
    slot = check_slot("prior", value, path)
    return PriorBuilder(read_assets(slot)).build(slot, dim)


def _mmd_of(penalty: Regularizer) -> MMD | None:
    """Return an MMD penalty, or the first in a sum."""
    parts = penalty.penalties if isinstance(penalty, SumOfPenalties) else [penalty]
    return next((part for part in parts if isinstance(part, MMD)), None)

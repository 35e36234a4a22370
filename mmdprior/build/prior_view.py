"""Priors outside of training: the prior of a config, or one that is named on the command line."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmdprior.build.assets import read_assets
from mmdprior.build.builder import Builder
from mmdprior.build.construct import SlotBuilder
from mmdprior.config.base import shipped_names
from mmdprior.config.load import load_config, parse_value
from mmdprior.config.slots import check_slot
from mmdprior.errors import InputError
from mmdprior.priors import Prior
from mmdprior.regularizers import MMD, Regularizer, SumOfPenalties

__all__ = ["PriorView", "named_prior", "view_prior"]

_BATCH_SIZE = 256
_DIM = 2


@dataclass(frozen=True)
class PriorView:
    """A prior and the penalty that would enforce it.

    Attributes:
        prior: the prior.
        penalty: the MMD of the config, or one with the default kernel for a prior without a config; None
            for a config without an MMD.
        batch_size: number of codes that the penalty compares with the prior.
    """

    prior: Prior
    penalty: MMD | None
    batch_size: int


def view_prior(
    source: str, overrides: Sequence[str] = (), *, dim: int | None = None, batch_size: int | None = None
) -> PriorView:
    """Build the prior of a config, or a prior that is named.

    Args:
        source: path of a YAML config, the name of a shipped one, or a prior as `named_prior` reads it.
        overrides: ``key.sub=value`` texts for a config.
        dim: number of dimensions of a named prior; 2 by default.
        batch_size: number of codes per batch; by default that of the config, or 256 for a named prior.

    Raises:
        InputError: neither a config nor a prior.

    Example:
        >>> from mmdprior.build.prior_view import view_prior
        >>> view = view_prior("{name: uniform, low: -2}", dim=3)
        >>> view.prior.dim, view.batch_size
        (3, 256)
    """
    if source.endswith((".yaml", ".yml")) or source in shipped_names():
        config = load_config(source, overrides)
        builder = Builder(config, read_assets(config))
        penalty = _mmd_of(builder.regularizer())
        return PriorView(builder.intended_prior(), penalty, batch_size or config.data.batch_size)
    if overrides:
        raise InputError(f"prior: {overrides[0]!r} received; give overrides only with a YAML config")
    prior = named_prior(source, _DIM if dim is None else dim, "prior")
    return PriorView(prior, MMD(prior), batch_size or _BATCH_SIZE)


def named_prior(source: str, dim: int, path: str) -> Prior:
    """Build a prior that is named on the command line.

    Args:
        source: a prior as in YAML, such as ``uniform`` or ``{name: uniform, low: -2}``, or a target
            ``file.py:object``.
        dim: number of dimensions, unless the prior sets its own.
        path: the option, for errors.

    Raises:
        InputError: not a prior.

    Example:
        >>> from mmdprior.build.prior_view import named_prior
        >>> named_prior("laplace", 3, "--prior").dim
        3
    """
    is_target = ":" in source and not source.lstrip().startswith("{")
    slot = check_slot("prior", {"target": source} if is_target else parse_value(source, path), path)
    prior: Prior = SlotBuilder({"dim": dim}, read_assets(slot)).build(slot)
    return prior


def _mmd_of(penalty: Regularizer) -> MMD | None:
    """Return an MMD penalty, or the first one in a sum."""
    parts = penalty.penalties if isinstance(penalty, SumOfPenalties) else [penalty]
    return next((part for part in parts if isinstance(part, MMD)), None)

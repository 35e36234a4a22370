"""The supervised scores by name, and what computes them."""

import importlib.util
import math
from collections.abc import Callable
from functools import partial

from mmdprior.metrics.supervised.correlation import mcc, sap_r2
from mmdprior.metrics.supervised.dci import dci
from mmdprior.metrics.supervised.explicitness import dci_es, explicitness
from mmdprior.metrics.supervised.infomec import info_e, info_m_c
from mmdprior.metrics.supervised.information import information_scores
from mmdprior.metrics.supervised.irs import irs
from mmdprior.metrics.supervised.sap import sap
from mmdprior.metrics.supervised.table import Part, Table
from mmdprior.metrics.supervised.votes import beta_vae, factor_vae

__all__ = ["QUICK_SCORES", "SCORES", "available_scores", "compute"]

_PARTS: dict[tuple[str, ...], Callable[[Table], Part]] = {
    ("beta_vae",): beta_vae,
    ("factor_vae",): factor_vae,
    ("mig", "mig_sup", "dcimig", "jemmig", "modularity", "med"): information_scores,
    ("dci_disentanglement", "dci_completeness", "dci_informativeness"): dci,
    ("dci_es",): dci_es,
    ("sap",): sap,
    ("sap_r2",): sap_r2,
    ("explicitness", "explicitness_scaled"): explicitness,
    ("irs",): irs,
    ("info_m", "info_c"): info_m_c,
    ("info_e",): info_e,
    ("mcc_pearson",): partial(mcc, kind="pearson"),
    ("mcc_spearman",): partial(mcc, kind="spearman"),
}

SCORES = tuple(name for names in _PARTS for name in names)
"""Names of all scores, in the order of results."""
_SLOW = ("dci_disentanglement", "dci_completeness", "dci_informativeness", "info_e")
QUICK_SCORES = tuple(name for name in SCORES if name not in _SLOW)
"""Scores that fit no probe with many parameters: all of them together take a tenth of the time of DCI."""
_NEEDS_SKLEARN = (
    *("beta_vae", "explicitness", "explicitness_scaled", "mcc_pearson", "mcc_spearman"),
    *_SLOW,
)


def available_scores(names: tuple[str, ...] = SCORES) -> tuple[str, ...]:
    """Return the names of scores that can be computed with the packages that are installed."""
    if all(importlib.util.find_spec(package) for package in ("scipy", "sklearn")):
        return names
    return tuple(name for name in names if name not in _NEEDS_SKLEARN)


def compute(table: Table, names: tuple[str, ...]) -> Part:
    """Return the scores of some names. Scores that share a computation are computed once."""
    if not table.factors:
        text = "undefined, because no factor has two values"
        return Part(dict.fromkeys(names, math.nan), notes=dict.fromkeys(names, text))
    result = Part({})
    for group, function in _PARTS.items():
        if not set(group) & set(names):
            continue
        part = function(table)
        for name in group:
            if math.isnan(part.scores[name]):
                part.notes.setdefault(name, "undefined, because too few rows or levels are left")
        result.scores |= {name: part.scores[name] for name in group if name in names}
        result.per_factor |= part.per_factor
        result.matrices |= part.matrices
        result.notes |= {name: text for name, text in part.notes.items() if name in names}
    return result

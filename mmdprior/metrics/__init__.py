"""Scores of codes: LPS, the Latent Predictability Score, and other measures of dependence."""

from mmdprior.metrics.activity import active_dimensions, effective_rank
from mmdprior.metrics.importance import importance
from mmdprior.metrics.independence import Independence, independence
from mmdprior.metrics.lps import lps
from mmdprior.metrics.prior_match import PriorMatch
from mmdprior.metrics.protocol import Protocol
from mmdprior.metrics.result import LPSResult
from mmdprior.metrics.semantics import LabelScores, Semantics, semantics
from mmdprior.metrics.stateful import LPS
from mmdprior.metrics.supervised.alignment import Alignment, alignment
from mmdprior.metrics.supervised.disentanglement import Disentanglement, disentanglement
from mmdprior.metrics.supervised.table import SupervisedProtocol
from mmdprior.metrics.supervised.udr import UDR, udr

__all__ = [
    "Alignment",
    "Disentanglement",
    "Independence",
    "LPS",
    "LPSResult",
    "LabelScores",
    "PriorMatch",
    "Protocol",
    "Semantics",
    "SupervisedProtocol",
    "UDR",
    "active_dimensions",
    "alignment",
    "disentanglement",
    "effective_rank",
    "importance",
    "independence",
    "lps",
    "semantics",
    "udr",
]

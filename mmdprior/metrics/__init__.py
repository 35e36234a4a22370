"""Scores of codes: LPS, the Latent Predictability Score, and other measures of dependence."""

from mmdprior.metrics.activity import active_dimensions, effective_rank
from mmdprior.metrics.importance import importance
from mmdprior.metrics.independence import Independence, independence
from mmdprior.metrics.lps import lps
from mmdprior.metrics.prior_match import PriorMatch
from mmdprior.metrics.protocol import Protocol
from mmdprior.metrics.result import LPSResult

__all__ = [
    "Independence",
    "LPSResult",
    "PriorMatch",
    "Protocol",
    "active_dimensions",
    "effective_rank",
    "importance",
    "independence",
    "lps",
]

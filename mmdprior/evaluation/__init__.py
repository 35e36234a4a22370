"""Scores of trained models and of plain codes."""

from mmdprior.evaluation.codes import Codes, active_dimensions, encode, representations
from mmdprior.evaluation.evaluation import Evaluation, complete, evaluate, measure, score_codes
from mmdprior.evaluation.importance import importance
from mmdprior.evaluation.independence import Independence, PriorMatch, effective_rank, independence
from mmdprior.evaluation.lps import LPSResult, lps
from mmdprior.evaluation.protocol import Protocol
from mmdprior.evaluation.reconstruction import Reconstruction, reconstruction_error

__all__ = [
    "Codes",
    "Evaluation",
    "Independence",
    "LPSResult",
    "PriorMatch",
    "Protocol",
    "Reconstruction",
    "active_dimensions",
    "complete",
    "effective_rank",
    "encode",
    "evaluate",
    "importance",
    "independence",
    "lps",
    "measure",
    "reconstruction_error",
    "representations",
    "score_codes",
]

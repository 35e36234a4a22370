"""Scores of trained models on images: encoding, reconstruction, LPS and the match to the prior.

`evaluate` computes everything from one encoding pass. `encode` and `score_codes` are its parts, for codes
without a model or scores without reconstruction.
"""

from mmdprior.deprecation import moved
from mmdprior.evaluation.encode import Codes, encode, representations
from mmdprior.evaluation.evaluation import (
    Evaluation,
    add_reconstruction,
    encode_and_reconstruct,
    evaluate,
    score_codes,
)
from mmdprior.evaluation.reconstruction import Reconstruction, reconstruction_error
from mmdprior.evaluation.supervised import FactorScores

__all__ = [
    "Codes",
    "Evaluation",
    "FactorScores",
    "Reconstruction",
    "add_reconstruction",
    "encode",
    "encode_and_reconstruct",
    "evaluate",
    "reconstruction_error",
    "representations",
    "score_codes",
]

__getattr__ = moved(
    __name__,
    {
        "Independence": "mmdprior.metrics:Independence",
        "LPSResult": "mmdprior.metrics:LPSResult",
        "PriorMatch": "mmdprior.metrics:PriorMatch",
        "Protocol": "mmdprior.metrics:Protocol",
        "complete": "mmdprior.evaluation:add_reconstruction",
        "measure": "mmdprior.evaluation:encode_and_reconstruct",
        "active_dimensions": "mmdprior.metrics:active_dimensions",
        "effective_rank": "mmdprior.metrics:effective_rank",
        "importance": "mmdprior.metrics:importance",
        "independence": "mmdprior.metrics:independence",
        "lps": "mmdprior.metrics:lps",
    },
)

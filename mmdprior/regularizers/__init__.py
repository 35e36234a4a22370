"""Penalties on the latent codes of a batch: KL, MMD, predictability, and sums of them."""

from mmdprior.regularizers.estimators import Biased, Block, Estimator, KnownPrior, Unbiased
from mmdprior.regularizers.kl import KL
from mmdprior.regularizers.mmd import MMD, mmd
from mmdprior.regularizers.predictability import Predictability
from mmdprior.regularizers.regularizer import NoPenalty, Regularizer
from mmdprior.regularizers.sum import SumOfPenalties, Weighted

__all__ = [
    "Biased",
    "Block",
    "Estimator",
    "KL",
    "KnownPrior",
    "MMD",
    "NoPenalty",
    "Predictability",
    "Regularizer",
    "SumOfPenalties",
    "Unbiased",
    "Weighted",
    "mmd",
]

"""Penalties on the latent codes of a batch: KL, MMD, predictability, published ones, and sums of them."""

from mmdprior.regularizers.baselines.beta_tc import BetaTC
from mmdprior.regularizers.baselines.dip import DIP
from mmdprior.regularizers.baselines.factor import Factor
from mmdprior.regularizers.baselines.info import Info
from mmdprior.regularizers.baselines.wae_gan import WAEGAN
from mmdprior.regularizers.estimators import Biased, Block, Estimator, KnownPrior, Unbiased
from mmdprior.regularizers.kl import KL
from mmdprior.regularizers.mmd import MMD, mmd
from mmdprior.regularizers.predictability import Predictability
from mmdprior.regularizers.regularizer import NoPenalty, Regularizer
from mmdprior.regularizers.sum import SumOfPenalties, Weighted

__all__ = [
    "BetaTC",
    "Biased",
    "Block",
    "DIP",
    "Estimator",
    "Factor",
    "Info",
    "KL",
    "KnownPrior",
    "MMD",
    "NoPenalty",
    "Predictability",
    "Regularizer",
    "SumOfPenalties",
    "Unbiased",
    "WAEGAN",
    "Weighted",
    "mmd",
]

"""Penalties on the latent codes of a batch: KL, MMD, predictability, published ones, and sums of them."""

from mmdprior.regularizers.baselines.beta_tc import BetaTC
from mmdprior.regularizers.baselines.cramer_wold import CramerWold
from mmdprior.regularizers.baselines.decorrelation import Decorrelation, VICReg
from mmdprior.regularizers.baselines.dhsic import DHSIC
from mmdprior.regularizers.baselines.dip import DIP
from mmdprior.regularizers.baselines.factor import Factor
from mmdprior.regularizers.baselines.info import Info
from mmdprior.regularizers.baselines.nash import Nash
from mmdprior.regularizers.baselines.rae import RAE
from mmdprior.regularizers.baselines.sigreg import SIGReg
from mmdprior.regularizers.baselines.sliced_wasserstein import SlicedWasserstein
from mmdprior.regularizers.baselines.wae_gan import WAEGAN
from mmdprior.regularizers.conditional_mmd import ConditionalMMD
from mmdprior.regularizers.estimators import Biased, Block, Estimator, KnownPrior, Unbiased
from mmdprior.regularizers.kl import KL
from mmdprior.regularizers.label_penalty import LabelPenalty
from mmdprior.regularizers.mmd import MMD, mmd
from mmdprior.regularizers.predictability import Predictability
from mmdprior.regularizers.regularizer import Labelled, NoPenalty, Regularizer
from mmdprior.regularizers.sum import SumOfPenalties, Weighted
from mmdprior.regularizers.supervised import CrossEntropy, LinearHead, SquaredError

__all__ = [
    "BetaTC",
    "Biased",
    "Block",
    "ConditionalMMD",
    "CramerWold",
    "CrossEntropy",
    "DHSIC",
    "DIP",
    "Decorrelation",
    "Estimator",
    "Factor",
    "Info",
    "KL",
    "KnownPrior",
    "LabelPenalty",
    "Labelled",
    "LinearHead",
    "MMD",
    "Nash",
    "NoPenalty",
    "Predictability",
    "RAE",
    "Regularizer",
    "SIGReg",
    "SlicedWasserstein",
    "SquaredError",
    "SumOfPenalties",
    "Unbiased",
    "VICReg",
    "WAEGAN",
    "Weighted",
    "mmd",
]

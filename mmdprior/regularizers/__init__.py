"""Penalties on the latents: the slot in which KL and MMD compete."""

from mmdprior.regularizers.kl import KL
from mmdprior.regularizers.mmd import MMD, mmd
from mmdprior.regularizers.none import NoPenalty
from mmdprior.regularizers.regularizer import Regularizer

__all__ = ["KL", "MMD", "NoPenalty", "Regularizer", "mmd"]

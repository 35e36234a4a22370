"""One small instance of every published penalty, for tests that hold for all of them."""

import torch

from mmdprior import KL
from mmdprior.models import Autoencoder, GaussianPosterior, LinearDecoder, LinearEncoder
from mmdprior.priors import Laplace, Vamp
from mmdprior.regularizers import (
    DHSIC,
    DIP,
    RAE,
    WAEGAN,
    BetaTC,
    CramerWold,
    Decorrelation,
    Factor,
    Info,
    Nash,
    SIGReg,
    SlicedWasserstein,
    VICReg,
)


def with_model(penalty, dim):
    """Return a penalty with a model of small images, which a trainer replaces by its own."""
    shape = (1, 6, 6)
    encoder, decoder = LinearEncoder(shape, 2 * dim), LinearDecoder(shape, dim)
    images = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    penalty.before_training(
        model=Autoencoder(encoder, decoder, GaussianPosterior()), images=20, examples=lambda k: images[:k]
    )
    return penalty


def rae(dim, decoder):
    return with_model(RAE(decoder, beta=0.1, lambda_=0.1, seed=0), dim)


BASELINES = {
    "capacity": lambda dim: KL(capacity=4.0, capacity_steps=10, gamma=3.0),
    "beta_tc": lambda dim: BetaTC(),
    "beta_tc_stratified": lambda dim: BetaTC(estimator="stratified", data_size=500, seed=0),
    "factor": lambda dim: Factor(dim, hidden=[16, 16], seed=0),
    "dip": lambda dim: DIP(),
    "dip_ii": lambda dim: DIP("ii"),
    "info": lambda dim: Info(dim, seed=0),
    "wae_gan": lambda dim: WAEGAN(dim, hidden=[16, 16], seed=0),
    "cramer_wold": lambda dim: CramerWold(),
    "cramer_wold_exact": lambda dim: CramerWold("exact"),
    "sliced_wasserstein": lambda dim: SlicedWasserstein(dim, Laplace(dim), directions=20, seed=0),
    "sigreg": lambda dim: SIGReg(directions=20, seed=0),
    "nash": lambda dim: Nash(dim, hidden=[8], steps=2, seed=0),
    "dhsic": lambda dim: DHSIC(),
    "decorrelation": lambda dim: Decorrelation(),
    "vicreg": lambda dim: VICReg(),
    "vamp": lambda dim: with_model(KL(Vamp(dim, components=5)), dim),
    "rae": lambda dim: rae(dim, "l2"),
    "rae_gradient": lambda dim: rae(dim, "gradient"),
    "rae_none": lambda dim: rae(dim, "none"),
}
"""Name -> function of the latent dimension that makes a penalty."""

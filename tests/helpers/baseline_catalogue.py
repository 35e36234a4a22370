"""One small instance of every published penalty, for tests that hold for all of them."""

from mmdprior import KL
from mmdprior.models import Autoencoder, LinearDecoder, LinearEncoder
from mmdprior.priors import Laplace
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


def rae(dim, decoder):
    """Return a RAE penalty with a decoder, which a trainer replaces by its own."""
    penalty = RAE(decoder, beta=0.1, lambda_=0.1, seed=0)
    shape = (1, 4, 4)
    model = Autoencoder(LinearEncoder(shape, dim), LinearDecoder(shape, dim))
    penalty.before_training(model=model, images=100)
    return penalty


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
    "rae": lambda dim: rae(dim, "l2"),
    "rae_gradient": lambda dim: rae(dim, "gradient"),
    "rae_none": lambda dim: rae(dim, "none"),
}
"""Name -> function of the latent dimension that makes a penalty."""

"""Tables of factors, and codes whose supervised scores are known."""

import warnings

import numpy as np

from mmdprior.metrics import disentanglement

SIZES = (3, 6, 10, 8, 8)
ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
CLASSICAL = (
    "beta_vae",
    "factor_vae",
    "mig",
    "sap",
    "sap_r2",
    "modularity",
    "explicitness",
    "irs",
)


def grid(sizes):
    """Return every combination of the levels of some factors."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*map(np.arange, sizes), indexing="ij")], 1)


def sample(sizes, n, seed=0):
    """Return independent uniform levels."""
    return np.random.default_rng(seed).integers(0, sizes, (n, len(sizes)))


def standardised(values):
    values = np.asarray(values, dtype=float)
    return (values - values.mean(0)) / values.std(0)


def scores_of(codes, factors, *names, **options):
    """Return the result without shuffled copies and without printed warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return disentanglement(codes, factors, scores=names or None, **{"chance": 0, **options})

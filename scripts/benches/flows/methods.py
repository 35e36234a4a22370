"""Maps of codes that are compared: each takes training, held-out codes, a prior and a seed."""

from collections.abc import Callable

import torch
from sklearn.decomposition import FastICA
from torch import Tensor

from mmdprior.flows import (
    Bijection,
    Chain,
    FittedBijection,
    FixedLinear,
    FlowSettings,
    MonotoneSpline,
    fit_bijection,
    gaussian_to,
    whitening,
)
from mmdprior.priors import Prior

Method = Callable[[Tensor, Tensor, Prior, int], FittedBijection | Bijection]


def likelihood(train: Tensor, held_out: Tensor, prior: Prior, seed: int) -> FittedBijection:
    """Return the map of `fit_bijection` with its defaults."""
    return fit_bijection(train, prior, validation=held_out, seed=seed)


def near(train: Tensor, held_out: Tensor, prior: Prior, seed: int) -> FittedBijection:
    """Return the same with a transport cost."""
    return fit_bijection(train, prior, FlowSettings(transport=1.0), validation=held_out, seed=seed)


def by_mmd(train: Tensor, held_out: Tensor, prior: Prior, seed: int) -> FittedBijection:
    """Return couplings that are fitted by the MMD penalty alone."""
    return fit_bijection(train, prior, objective="mmd", validation=held_out, seed=seed)


def whitened(train: Tensor, held_out: Tensor, prior: Prior, seed: int) -> Bijection:
    """Return the principal components of the codes, each of variance 1."""
    return whitening(train, "pca")


def copula(train: Tensor, held_out: Tensor, prior: Prior, seed: int) -> Bijection:
    """Return whitening, and then a function per dimension that makes its marginal that of the prior."""
    white = whitening(train)
    marginals = MonotoneSpline(train.shape[1]).fit(white(train).detach())
    last = gaussian_to(prior)
    return Chain([white, marginals] if last is None else [white, marginals, last])


def fast_ica(train: Tensor, held_out: Tensor, prior: Prior, seed: int) -> Bijection:
    """Return the independent components of scikit-learn's FastICA, each of variance 1."""
    ica = FastICA(whiten="unit-variance", random_state=seed, max_iter=500).fit(train.double().cpu().numpy())
    matrix, mean = torch.from_numpy(ica.components_), torch.from_numpy(ica.mean_)
    return FixedLinear(train.shape[1], matrix, mean).to(train.device)


METHODS: dict[str, Method] = {
    "map": likelihood,
    "map, transport 1": near,
    "map by MMD": by_mmd,
    "PCA": whitened,
    "FastICA": fast_ica,
    "copula": copula,
}

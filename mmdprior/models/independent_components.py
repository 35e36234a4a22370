"""FastICA: the rotation of whitened principal components to independent ones."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, InputWarning
from mmdprior.models.linear_skip import PCA, fit_pca

__all__ = ["fit_fastica"]

_STEPS = 500
"""Most iterations of FastICA."""


def fit_fastica(chunks: Callable[[], Iterable[Float[Tensor, "b pixels"]]], dim: int, seed: int = 0) -> PCA:
    """Fit FastICA (Hyvarinen, IEEE Transactions on Neural Networks 10, 1999) on whitened codes of `fit_pca`.

    The codes stay uncorrelated and of variance 1, and the reconstruction is that of PCA: the components are
    rotated, to be independent if the data is a linear map of independent non-Gaussian sources. They are in
    decreasing order of the variance that they explain. Signs are fixed as for PCA. The fit uses scikit-learn.

    Args:
        chunks: called once per pass; yields the rows of the data in float.
        dim: number of components.
        seed: seed of the first rotation.

    Raises:
        InputError: as for `fit_pca`; or scikit-learn is not installed.

    Example:
        >>> import torch
        >>> from mmdprior.models import fit_fastica
        >>> sources = torch.rand(2000, 2)
        >>> data = sources @ torch.tensor([[1.0, 0.5, 0.2], [0.3, 1.0, -0.4]])
        >>> pca = fit_fastica(lambda: data.split(500), dim=2)
        >>> codes = (data - pca.mean) @ pca.projection
        >>> both = torch.corrcoef(torch.cat([codes, sources], 1).T)[:2, 2:].abs()
        >>> bool((both.max(0).values > 0.99).all())
        True
    """
    try:
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning
    except ImportError:
        raise InputError(
            "linear_skip: 'fastica' received; it needs scikit-learn, pip install 'mmdprior[metrics]'"
        ) from None
    pca = fit_pca(chunks, dim)
    codes = torch.cat([((chunk - pca.mean) @ pca.projection).cpu() for chunk in chunks()])
    model = FastICA(whiten=False, max_iter=_STEPS, random_state=seed)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        model.fit(codes.double().numpy())
    if any(issubclass(entry.category, ConvergenceWarning) for entry in raised):
        text = (
            f"not converged after {_STEPS} iterations; components that are Gaussian have no unique rotation"
        )
        warnings.warn(f"linear_skip: fastica has {text}", InputWarning, stacklevel=2)
    return _ordered(pca, torch.from_numpy(model.components_.T).to(pca.scale))


def _ordered(pca: PCA, rotation: Float[Tensor, "d d"]) -> PCA:
    """Return rotated components, sorted by the variance that they explain, with fixed signs."""
    expansion = replace(pca, rotation=rotation).expansion
    order = expansion.square().sum(1).argsort(descending=True)
    largest = expansion[order].gather(1, expansion[order].abs().argmax(1, keepdim=True))
    return replace(pca, rotation=rotation[:, order] * largest.sign().T)

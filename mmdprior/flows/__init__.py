"""Invertible maps between encoder and decoder: independence and any prior at no cost in reconstruction.

    ==================================================  ======================================================
    `Bijection`                                         the contract
    `fit_bijection`                                     fit a bijection that sends codes to a prior
    `fit_conditional`                                   put labels on dimensions, from few labelled codes
    `Chain`, `Blocks`, `Inverse`                        compose bijections
    `whitening`, `FixedLinear`, `InvertibleLinear`      linear maps
    `ActNorm`, `Permutation`                            scale and shift; reorder
    `AffineCoupling`, `SplineCoupling`, `coupling_flow` couplings
    `MonotoneSpline`, `MarginalMap`                     a function per dimension: learnable, or to marginals
    `MixtureMap`, `BallMap`, `gaussian_to`              exact maps from N(0, I) to a prior
    `PerPosition`                                       spatial codes: the same map at every position
    `save_bijection`, `load_bijection`                  files
    `intrinsic_dimension`                               how many dimensions codes fill
    ==================================================  ======================================================

Example:
    >>> import torch
    >>> from mmdprior.flows import FlowSettings, fit_bijection
    >>> from mmdprior.priors import Laplace
    >>> h = torch.randn(500, 3)
    >>> f = fit_bijection(h, Laplace(3), FlowSettings(layers=2, hidden=[16], steps=10)).bijection
    >>> z = f(h)
    >>> bool((f.inverse(z) - h).abs().max() < 1e-3)
    True
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdprior.flows.bijection import Bijection, Blocks, Chain, Inverse
    from mmdprior.flows.conditional import fit_conditional
    from mmdprior.flows.coupling import AffineCoupling, SplineCoupling, coupling_flow, trainable_flow
    from mmdprior.flows.exact import BallMap, MixtureMap
    from mmdprior.flows.fit import FittedBijection, Objective, fit_bijection
    from mmdprior.flows.linear import ActNorm, FixedLinear, InvertibleLinear, Permutation, whitening
    from mmdprior.flows.manifold import (
        IntrinsicDimension,
        intrinsic_dimension,
        two_nearest_neighbours,
    )
    from mmdprior.flows.marginals import MarginalMap
    from mmdprior.flows.optimise import Evaluation, FlowSettings
    from mmdprior.flows.positions import PerPosition, position_rows
    from mmdprior.flows.readers import ReaderSettings
    from mmdprior.flows.saved import bijection_from_spec, load_bijection, save_bijection
    from mmdprior.flows.spline import MonotoneSpline
    from mmdprior.flows.targets import Dequantized, Hazy, dequantized, gaussian_to

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "BallMap",
    "Bijection",
    "Blocks",
    "Chain",
    "Dequantized",
    "Evaluation",
    "FittedBijection",
    "FixedLinear",
    "FlowSettings",
    "Hazy",
    "IntrinsicDimension",
    "Inverse",
    "InvertibleLinear",
    "MarginalMap",
    "MixtureMap",
    "MonotoneSpline",
    "Objective",
    "PerPosition",
    "Permutation",
    "ReaderSettings",
    "SplineCoupling",
    "bijection_from_spec",
    "coupling_flow",
    "dequantized",
    "fit_bijection",
    "fit_conditional",
    "gaussian_to",
    "intrinsic_dimension",
    "load_bijection",
    "position_rows",
    "save_bijection",
    "trainable_flow",
    "two_nearest_neighbours",
    "whitening",
]

_MODULES = {
    "ActNorm": "linear",
    "AffineCoupling": "coupling",
    "BallMap": "exact",
    "Bijection": "bijection",
    "Blocks": "bijection",
    "Chain": "bijection",
    "Dequantized": "targets",
    "Evaluation": "optimise",
    "FittedBijection": "fit",
    "FixedLinear": "linear",
    "FlowSettings": "optimise",
    "Hazy": "targets",
    "IntrinsicDimension": "manifold",
    "Inverse": "bijection",
    "InvertibleLinear": "linear",
    "MarginalMap": "marginals",
    "MixtureMap": "exact",
    "MonotoneSpline": "spline",
    "Objective": "fit",
    "PerPosition": "positions",
    "Permutation": "linear",
    "ReaderSettings": "readers",
    "SplineCoupling": "coupling",
    "bijection_from_spec": "saved",
    "coupling_flow": "coupling",
    "dequantized": "targets",
    "fit_bijection": "fit",
    "fit_conditional": "conditional",
    "gaussian_to": "targets",
    "intrinsic_dimension": "manifold",
    "load_bijection": "saved",
    "position_rows": "positions",
    "save_bijection": "saved",
    "trainable_flow": "coupling",
    "two_nearest_neighbours": "manifold",
    "whitening": "linear",
}
"""Module of each name. Names are imported on first use: models import the contract alone."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

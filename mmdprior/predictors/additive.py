"""Sums of functions of the other dimensions, for the best function of each, from one block inverse."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import in_float64
from mmdprior.predictors.moments import Ranks, covariance, inverse
from mmdprior.predictors.outcome import Regression
from mmdprior.predictors.predictor import Fitted, Predictor

__all__ = ["AdditivePredictor"]

_RIDGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
_ENTRIES = 1 << 24
_LEAST_SLOPE = 0.01
_HELD = 20_000
_TINY = 1e-300


class AdditivePredictor(Predictor):
    """The function f_i(z_i) that a sum of functions of the others predicts best, and how well it does.

    Each coordinate's rank u among the training codes, in (0, 1), becomes m features phi: its standard
    normal quantile and cos(pi j u) for j = 1 ... m - 1. Let G be their covariance over all coordinates,
    W a penalty and P = (G + ridge W)^-1. The residual covariance of block i given all others is
    (P_ii)^-1, so the f_i = a'phi(z_i) of largest R2 has

        a = argmin a'(P_ii)^-1 a / a'(G_ii + ridge W_ii) a,

    an eigenproblem of m x m (alternating conditional expectations, Breiman & Friedman, 1985, in closed
    form). It sees what leaves the mean unchanged, such as a circle, and misses interactions.
    f_i is chosen on training codes, the ridge of every dimension and the scale of its prediction on at most
    20,000 validation codes, and `r2` is that of f_i on held-out codes; the R2 of z_i itself stands beside
    it as ``plain_r2``.

    Args:
        features: m, functions a coordinate.
        ridges: candidates. W is 1 for the normal quantile and j^2 for the cosines, all of unit variance,
            so rough functions have to earn their place.

    Raises:
        InputError: no feature, or a ridge that is not positive.
    """

    uses_validation = True
    random = False
    measure = "held-out best-function R2"

    def __init__(self, features: int = 9, ridges: Sequence[float] = _RIDGES) -> None:
        if features < 1:
            raise InputError(f"features: {features} received; give at least 1")
        if min(ridges, default=0) <= 0:
            raise InputError(f"ridges: {list(ridges)} received; give positive numbers")
        self.features = features
        self.ridges = tuple(ridges)

    @torch.no_grad()
    def fit(
        self,
        train: Float[Tensor, "p n d"],
        validation: Float[Tensor, "p m d"],
        generators: Sequence[torch.Generator],
    ) -> Fitted:
        """Choose functions by the training codes, ridge and scale of each by the validation codes."""
        basis = _Basis(train, self.features)
        mean, moments = covariance(train, basis)
        candidates = [_functions(moments, ridge, basis) for ridge in self.ridges]
        best = _choose(candidates, basis, mean, validation[:, :_HELD])

        @torch.no_grad()
        def outcome(z: Tensor) -> Regression:
            found = mean.new_empty(4, *z.shape)
            row = 0
            for part in basis.blocks(z):
                end = row + part.shape[1]
                for whole, values in zip(found, best(basis.centred(part, mean), basis), strict=True):
                    whole[:, row:end] = values
                row = end
            plain_r2 = Regression(found[2], found[3]).r2()
            return Regression(found[0], found[1], {"plain_r2": plain_r2}, plain_r2)

        return outcome


class _Basis:
    """(p, b, d) codes -> (p, b, d m + d): features, a coordinate's side by side, then the codes."""

    def __init__(self, train: Tensor, features: int) -> None:
        self.dim, self.features = train.shape[2], features
        self.ranks = Ranks(train)
        self.orders = torch.arange(1, features, device=train.device)
        one = torch.cat([self.orders.new_ones(1), self.orders.square()])
        self.penalty = one.repeat(self.dim)

    def __call__(self, z: Tensor) -> Tensor:
        u = self.ranks.uniform(z)[..., None]
        normal = math.sqrt(2) * torch.erfinv(2 * u - 1)
        waves = math.sqrt(2) * torch.cos(math.pi * self.orders.to(u) * u)
        return torch.cat([torch.cat([normal, waves], 3).flatten(2), z], 2)

    def centred(self, z: Tensor, mean: Tensor) -> Tensor:
        return in_float64(self(z)) - mean

    def blocks(self, z: Tensor) -> Sequence[Tensor]:
        """Rows in blocks whose features take 128 MiB."""
        return z.split(max(1, _ENTRIES // (len(z) * self.dim * (self.features + 1))), dim=1)


@dataclass(frozen=True)
class _Functions:
    """The chosen functions of a problem's dimensions, and what predicts them and the codes.

    Attributes:
        own: (p, d, m) coefficients a_i of f_i.
        others: (p, d m, d) coefficients of the prediction of f_i, zero in block i.
        plain: (p, d m, d) the same for z_i.
    """

    own: Tensor
    others: Tensor
    plain: Tensor

    def __call__(self, centred: Tensor, basis: _Basis) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return f_i, its prediction, z_i and its prediction from centred features, (p, b, d) each."""
        features, codes = centred.split([basis.dim * basis.features, basis.dim], dim=2)
        blocks = features.unflatten(2, (basis.dim, basis.features))
        target = (blocks * self.own[:, None]).sum(3)
        return target, features @ self.others, codes, features @ self.plain


def _functions(moments: Tensor, ridge: float, basis: _Basis) -> _Functions:
    d, m = basis.dim, basis.features
    gram = moments[:, : d * m, : d * m].clone()
    gram.diagonal(dim1=1, dim2=2).add_(ridge * basis.penalty)
    precision = inverse(gram)
    total, own_precision = _own_blocks(gram, d, m), _own_blocks(precision, d, m)
    residual = inverse(own_precision)
    factor = torch.linalg.cholesky(total)
    half = torch.linalg.solve_triangular(factor, residual, upper=False)
    relative = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    lowest = torch.linalg.eigh((relative + relative.mT) / 2).eigenvectors[..., :1]
    own = torch.linalg.solve_triangular(factor.mT, lowest, upper=True).squeeze(3)
    columns = precision.unflatten(2, (d, m))
    others = -torch.einsum("pqim,pim->pqi", columns, (residual @ own[..., None]).squeeze(3))
    cross = moments[:, : d * m, d * m :].clone()
    _own_rows(cross, d, m).zero_()
    solved = precision @ cross
    back = residual @ _own_rows(solved, d, m).mT[..., None]
    plain = solved - torch.einsum("pqim,pim->pqi", columns, back.squeeze(3))
    for coefficients in (others, plain):
        _own_rows(coefficients, d, m).zero_()
    return _Functions(own, others, plain)


def _own_blocks(matrix: Tensor, d: int, m: int) -> Tensor:
    """Return the diagonal blocks of (p, d m, d m) as (p, d, m, m)."""
    return matrix.unflatten(2, (d, m)).unflatten(1, (d, m)).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)


def _own_rows(matrix: Tensor, d: int, m: int) -> Tensor:
    """Return a view of block i of column i of (p, d m, d), as (p, m, d)."""
    return matrix.unflatten(1, (d, m)).diagonal(dim1=1, dim2=3)


def _choose(candidates: Sequence[_Functions], basis: _Basis, mean: Tensor, validation: Tensor) -> _Functions:
    """Take every dimension's functions from the candidate that predicts its validation codes best, scaled.

    The prediction is multiplied by its least-squares slope on the validation codes: what overfits there
    shrinks to almost nothing, so the estimation error is about one in the number of validation rows
    whatever the ridge. The slope stays positive, lest a p-value have nothing to permute.
    """
    p, d = len(validation), basis.dim
    sums = mean.new_zeros(len(candidates), 2, 4, p, d)
    for part in basis.blocks(validation):
        centred = basis.centred(part, mean)
        for row, candidate in zip(sums, candidates, strict=True):
            target, prediction, codes, plain = candidate(centred, basis)
            for kind, (y, f) in zip(row, ((target, prediction), (codes, plain)), strict=True):
                kind += torch.stack([(y * f).sum(1), f.square().sum(1), y.square().sum(1), y.sum(1)])
    product, squared, total, first = sums.unbind(2)
    slope = (product / squared.clamp(min=_TINY)).clamp(min=_LEAST_SLOPE)
    error = total - 2 * slope * product + slope.square() * squared
    variance = (total - first.square() / validation.shape[1]).clamp(min=_TINY)
    best, best_plain = (error / variance).argmin(0)
    rows, columns = torch.arange(p, device=best.device)[:, None], torch.arange(d, device=best.device)

    def chosen(name: str, index: Tensor, kind: int) -> Tensor:
        coefficients = torch.stack([getattr(c, name) for c in candidates]).mT[index, rows, columns]
        return (coefficients * slope[index, kind, rows, columns][..., None]).mT

    own = torch.stack([candidate.own for candidate in candidates])[best, rows, columns]
    return _Functions(own, chosen("others", best, 0), chosen("plain", best_plain, 1))

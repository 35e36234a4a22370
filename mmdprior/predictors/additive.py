"""Best function of every dimension, predicted by a sum of functions of the others, from one block inverse."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.atoms import find_atoms
from mmdprior.errors import InputError, check_integer
from mmdprior.precision import in_float64
from mmdprior.predictors.moments import Ranks, covariance, inverse
from mmdprior.predictors.outcome import Regression
from mmdprior.predictors.predictor import Fitted, Predictor

__all__ = ["AdditivePredictor"]

_RIDGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
_ENTRIES = 1 << 24
"""Features computed at a time: 128 MiB in float64."""
_MIN_SLOPE = 0.01
"""Smallest scale of a prediction; at 0 a permutation test would have nothing to permute."""
_MAX_VALIDATION = 20_000
_TINY = 1e-300


class AdditivePredictor(Predictor):
    """Predict the best function f_i(z_i) of every dimension by a sum of functions of the other dimensions.

    This is alternating conditional expectations (Breiman & Friedman, 1985) in closed form. It sees
    dependence that leaves the conditional mean unchanged, such as a circle, and misses interactions.

    The rank u of each coordinate among the training codes, in (0, 1), gives m features phi: its standard
    normal quantile and cos(pi j u) for j = 1 ... m - 1. Let G be the covariance of the features of all
    coordinates, W a penalty, and P = (G + ridge W)^-1. The residual covariance of block i given all other
    blocks is (P_ii)^-1. The function f_i = a'phi(z_i) of largest R2 therefore has

        a = argmin a'(P_ii)^-1 a / a'(G_ii + ridge W_ii) a,

    an eigenproblem of size m x m.

    A value that holds many rows (an atom, see `mmdprior.atoms`) counts as at most a sixteenth of the rows in
    the rank. In a column that has other values too, it adds a feature: its indicator.

    The functions f_i are fitted to the training codes. The ridge of every dimension and the scale of its
    prediction are chosen on at most 20,000 validation codes. ``r2`` is the held-out R2 of f_i. The held-out
    R2 of z_i itself is reported as ``plain_r2``.

    Args:
        features: number m of functions per coordinate without atoms.
        ridges: candidate ridges. W is 1 for the normal quantile and for indicators, and j^2 for the cosines.
            Without atoms all features have unit variance, so a ridge penalises rough functions most.

    Raises:
        InputError: ``features`` is below 1, or a ridge is not positive.

    Example:
        >>> import torch
        >>> from mmdprior import lps
        >>> angle = 2 * torch.pi * torch.rand(2000)
        >>> circle = torch.stack([angle.cos(), angle.sin()], 1)
        >>> lps(circle, "linear").score < 0.1, lps(circle, "additive").score > 0.9
        (True, True)
    """

    uses_validation = True
    random = False
    measure = "held-out best-function R2"

    def __init__(self, features: int = 9, ridges: Sequence[float] = _RIDGES) -> None:
        if not isinstance(ridges, Sequence) or min(ridges, default=0) <= 0:
            raise InputError(f"ridges: {ridges} received; give a list of positive numbers")
        self.features = check_integer("features", features)
        self.ridges = tuple(ridges)

    @torch.no_grad()
    def fit(
        self,
        train: Float[Tensor, "p n d"],
        validation: Float[Tensor, "p m d"],
        generators: Sequence[torch.Generator],
    ) -> Fitted:
        """Fit functions on the training codes, and choose ridge and scale on the validation codes."""
        basis = _Basis(train, self.features)
        mean, moments = covariance(train, basis)
        candidates = [_functions(moments, ridge, basis) for ridge in self.ridges]
        best = _select(candidates, basis, mean, validation[:, :_MAX_VALIDATION])

        @torch.no_grad()
        def outcome(z: Tensor) -> Regression:
            results = mean.new_empty(4, *z.shape)
            start = 0
            for rows in basis.blocks(z):
                end = start + rows.shape[1]
                for result, values in zip(results, best(basis.centred(rows, mean), basis), strict=True):
                    result[:, start:end] = values
                start = end
            target, prediction, codes, plain = results
            plain_r2 = Regression(codes, plain).r2()
            return Regression(target, prediction, {"plain_r2": plain_r2}, plain_r2)

        return outcome


class _Basis:
    """Features of codes, (p, b, d) -> (p, b, d m + d): m features per coordinate, then the codes.

    Args:
        train: (p, n, d) codes that define the ranks.
        features: number of smooth features per coordinate; the indicators of atoms add to them.
    """

    def __init__(self, train: Tensor, features: int) -> None:
        atoms = find_atoms(train)
        self.ranks, self.atoms = Ranks(train, atoms), atoms.among_others(train)
        self.dim, self.features = train.shape[2], features + self.atoms.count
        self.orders = torch.arange(1, features, device=train.device)
        # W: 1 for the normal quantile, j^2 for the cosine of order j, and 1 for indicators.
        ones = self.orders.new_ones(1 + self.atoms.count)
        weights = torch.cat([ones[:1], self.orders.square(), ones[1:]])
        self.penalty = weights.repeat(self.dim)

    def __call__(self, z: Tensor) -> Tensor:
        u = self.ranks.uniform(z)[..., None]
        normal = math.sqrt(2) * torch.erfinv(2 * u - 1)
        waves = math.sqrt(2) * torch.cos(math.pi * self.orders.to(u) * u)
        features = torch.cat([normal, waves, self.atoms.indicators(z)], 3)
        return torch.cat([features.flatten(2), z], 2)

    def centred(self, z: Tensor, mean: Tensor) -> Tensor:
        return in_float64(self(z)) - mean

    def blocks(self, z: Tensor) -> Sequence[Tensor]:
        """Return the rows in blocks of bounded memory."""
        return z.split(max(1, _ENTRIES // (len(z) * self.dim * (self.features + 1))), dim=1)


@dataclass(frozen=True)
class _Functions:
    """Functions f_i of every dimension, and the additive predictions of f_i and of z_i.

    Attributes:
        targets: (p, d, m) coefficients a_i of f_i on the features of dimension i.
        predictions: (p, d m, d) coefficients of the prediction of f_i on all features, 0 in block i.
        plain: (p, d m, d) coefficients of the prediction of z_i, 0 in block i.
    """

    targets: Tensor
    predictions: Tensor
    plain: Tensor

    def __call__(self, centred: Tensor, basis: _Basis) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return f_i, its prediction, z_i and its prediction from centred features, (p, b, d) each."""
        features, codes = centred.split([basis.dim * basis.features, basis.dim], dim=2)
        blocks = features.unflatten(2, (basis.dim, basis.features))
        target = (blocks * self.targets[:, None]).sum(3)
        return target, features @ self.predictions, codes, features @ self.plain


def _functions(moments: Tensor, ridge: float, basis: _Basis) -> _Functions:
    """Return the functions of all dimensions for one ridge, in closed form.

    Args:
        moments: (p, d m + d, d m + d) covariance of features and codes.
        ridge: multiple of the penalty W.
        basis: defines d, m and W.
    """
    d, m = basis.dim, basis.features
    # G + ridge W, and P = (G + ridge W)^-1.
    gram = moments[:, : d * m, : d * m].clone()
    gram.diagonal(dim1=1, dim2=2).add_(ridge * basis.penalty)
    precision = inverse(gram)
    # Total covariance G_ii + ridge W_ii, and residual covariance (P_ii)^-1 of block i given the others.
    total, residual = _diagonal_blocks(gram, d, m), inverse(_diagonal_blocks(precision, d, m))
    # With total = L L', the minimiser of a'residual a / a'total a is a = L'^-1 v, where v is the eigenvector
    # of L^-1 residual L'^-1 with the smallest eigenvalue.
    factor = torch.linalg.cholesky(total)
    half = torch.linalg.solve_triangular(factor, residual, upper=False)
    relative = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    lowest = torch.linalg.eigh((relative + relative.mT) / 2).eigenvectors[..., :1]
    targets = torch.linalg.solve_triangular(factor.mT, lowest, upper=True).squeeze(3)
    # Block inverse: the regression of block i on the others has coefficients -P_ji (P_ii)^-1, so f_i is
    # predicted with -P_ji (P_ii)^-1 a.
    columns = precision.unflatten(2, (d, m))
    predictions = -torch.einsum("pqim,pim->pqi", columns, (residual @ targets[..., None]).squeeze(3))
    # Ridge regression of z_i on all features but block i. With c the cross-covariance of the features with
    # z_i, zero in block i, it is P c - P_:i (P_ii)^-1 (P c)_i.
    cross = moments[:, : d * m, d * m :].clone()
    _diagonal_entries(cross, d, m).zero_()
    solved = precision @ cross
    back = residual @ _diagonal_entries(solved, d, m).mT[..., None]
    plain = solved - torch.einsum("pqim,pim->pqi", columns, back.squeeze(3))
    # Block i is 0 by algebra; make it exact, so that no dimension predicts itself by rounding.
    for coefficients in (predictions, plain):
        _diagonal_entries(coefficients, d, m).zero_()
    return _Functions(targets, predictions, plain)


def _diagonal_blocks(matrix: Tensor, d: int, m: int) -> Tensor:
    """Return the diagonal blocks of (p, d m, d m) as (p, d, m, m)."""
    return matrix.unflatten(2, (d, m)).unflatten(1, (d, m)).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)


def _diagonal_entries(matrix: Tensor, d: int, m: int) -> Tensor:
    """Return a view of block i of column i of (p, d m, d), as (p, m, d)."""
    return matrix.unflatten(1, (d, m)).diagonal(dim1=1, dim2=3)


def _select(candidates: Sequence[_Functions], basis: _Basis, mean: Tensor, validation: Tensor) -> _Functions:
    """Return the functions of the best ridge per dimension, with their predictions scaled.

    Every prediction f of y is multiplied by its least-squares slope sum y f / sum f^2 on the validation
    codes. An overfitted prediction shrinks to almost nothing, so that the estimation error is about one over
    the number of validation rows for any ridge.
    """
    p, d = len(validation), basis.dim
    # Sums over validation rows of y f, f^2, y^2 and y, for the targets f_i and z_i of every candidate.
    sums = mean.new_zeros(len(candidates), 2, 4, p, d)
    for rows in basis.blocks(validation):
        centred = basis.centred(rows, mean)
        for candidate_sums, candidate in zip(sums, candidates, strict=True):
            target, prediction, codes, plain = candidate(centred, basis)
            pairs = ((target, prediction), (codes, plain))
            for total, (y, f) in zip(candidate_sums, pairs, strict=True):
                total += torch.stack([(y * f).sum(1), f.square().sum(1), y.square().sum(1), y.sum(1)])
    product, squared, total, first = sums.unbind(2)
    slope = (product / squared.clamp(min=_TINY)).clamp(min=_MIN_SLOPE)
    # sum (y - slope f)^2, relative to the variation of y.
    error = total - 2 * slope * product + slope.square() * squared
    variance = (total - first.square() / validation.shape[1]).clamp(min=_TINY)
    best, best_plain = (error / variance).argmin(0)
    problems, dims = torch.arange(p, device=best.device)[:, None], torch.arange(d, device=best.device)

    def scaled(name: str, index: Tensor, kind: int) -> Tensor:
        coefficients = torch.stack([getattr(c, name) for c in candidates]).mT[index, problems, dims]
        return (coefficients * slope[index, kind, problems, dims][..., None]).mT

    targets = torch.stack([candidate.targets for candidate in candidates])[best, problems, dims]
    return _Functions(targets, scaled("predictions", best, 0), scaled("plain", best_plain, 1))

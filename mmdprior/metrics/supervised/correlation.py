"""Scores from correlations of single codes with factors: SAP on the R2 scale, and MCC."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.extras import optional
from mmdprior.metrics.supervised.factors import Factor
from mmdprior.metrics.supervised.groups import sorted_rows
from mmdprior.metrics.supervised.information import top_two
from mmdprior.metrics.supervised.table import Part, Table

__all__ = ["average_ranks", "best_match", "mcc", "sap_r2", "squared_correlation"]


def squared_correlation(z: Float[Tensor, "n d"], factors: list[Factor]) -> Float[Tensor, "d factors"]:
    """Return R2 of every code with every factor, over rows where the factor is present.

    It is the squared Pearson correlation for ordinal and continuous factors, the R2 of the code predicted
    from cosine and sine for circular ones, and from the mean of every level for discrete ones. It is NaN
    where the factor, and 0 where the code, does not vary.
    """
    return torch.stack([_r2_of(z, factor) for factor in factors], 1)


def _r2_of(z: Float[Tensor, "n d"], factor: Factor) -> Float[Tensor, "d"]:
    present = factor.levels >= 0
    if not bool(present.all()):
        z, factor = z[present], factor.take(present.nonzero()[:, 0])
    if len(z) < 2 or bool((factor.levels == factor.levels[0]).all()):
        return torch.full((z.shape[1],), math.nan, dtype=z.dtype, device=z.device)
    centred = z - z.mean(0)
    total = centred.square().sum(0)
    if factor.values is None:
        explained = _between_levels(centred, factor)
    else:
        explained = _explained(centred, factor.values)
    return torch.where(total > 0, explained / torch.where(total > 0, total, 1.0), 0.0).clamp(0, 1)


def _between_levels(centred: Float[Tensor, "n d"], factor: Factor) -> Float[Tensor, "d"]:
    """Return the sum of squares of the mean of every level."""
    count = torch.bincount(factor.levels, minlength=factor.num_levels)
    sums = centred.new_zeros(len(count), centred.shape[1]).index_add_(0, factor.levels, centred)
    return (sums.square() / count.clamp(min=1)[:, None]).sum(0)


def _explained(centred: Float[Tensor, "n d"], values: Float[Tensor, "n p"]) -> Float[Tensor, "d"]:
    """Return the sum of squares that a linear function of the values explains."""
    basis = values.to(centred) - values.to(centred).mean(0)
    basis, r = torch.linalg.qr(basis / basis.abs().amax(0).clamp(min=torch.finfo(basis.dtype).tiny))
    used = r.diagonal().abs() > 1e-9
    return (basis[:, used].T @ centred).square().sum(0)


def sap_r2(table: Table) -> Part:
    """Return the mean gap of the two largest R2 of every factor, as in DIP-VAE and InfoGAN-CR."""
    part = Part({}, matrices={"r2": squared_correlation(table.train_z, table.train_factors)})
    part.add_mean("sap_r2", torch.sub(*top_two(part.matrices["r2"])), table.factors)
    return part


def mcc(table: Table, kind: str) -> Part:
    """Return the mean absolute correlation of factors with their own code, on the test rows.

    Every factor gets one code, and every code at most one factor, so that the sum of correlations on the
    training rows is as large as possible. A factor without a code counts as 0.

    Args:
        table: codes and factors.
        kind: ``pearson``, or ``spearman``, where codes and values are replaced by their ranks.
    """
    name = f"mcc_{kind}"
    train, test = (_correlation(table, part, kind) for part in ("train", "test"))
    part = Part({}, matrices={kind: test})
    codes = best_match(train.nan_to_num())
    matched = torch.where(codes >= 0, test.cpu().gather(0, codes.clamp(min=0)[None])[0], 0.0)
    undefined = test.isnan().all(0).cpu()
    part.add_mean(name, torch.where(undefined, math.nan, matched), table.factors)
    return part


def _correlation(table: Table, part: str, kind: str) -> Float[Tensor, "d factors"]:
    z: Tensor = getattr(table, f"{part}_z")
    factors: list[Factor] = getattr(table, f"{part}_factors")
    if kind == "pearson":
        return squared_correlation(z, factors).sqrt()
    columns = []
    for factor in factors:
        rows = (factor.levels >= 0).nonzero()[:, 0]
        kept = factor.take(rows)
        if kept.kind in ("ordinal", "continuous") and kept.values is not None and len(rows):
            kept = replace(kept, values=average_ranks(kept.values))
        columns.append(_r2_of(average_ranks(z[rows]), kept))
    return torch.stack(columns, 1).sqrt()


def best_match(correlation: Float[Tensor, "d factors"]) -> Int[Tensor, "factors"]:
    """Return the code of every factor that maximises the sum of correlations; -1 for factors without one."""
    assignment = optional("scipy.optimize", "mcc_pearson").linear_sum_assignment
    codes, factors = assignment(correlation.cpu().numpy(), maximize=True)
    match = torch.full((correlation.shape[1],), -1)
    match[torch.from_numpy(factors)] = torch.from_numpy(codes)
    return match


def average_ranks(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return the rank of every entry in its column; equal entries share their mean rank."""
    columns = x.T.contiguous()
    ordered = sorted_rows(columns)
    low, high = (torch.searchsorted(ordered, columns, right=right) for right in (False, True))
    return ((low + high).to(x) / 2).T

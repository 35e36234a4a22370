"""InfoM, InfoE and InfoC of Hsu et al. (2023): modularity, explicitness and compactness in nats."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.factors import Factor
from mmdprior.metrics.supervised.groups import sorted_rows
from mmdprior.metrics.supervised.information import information_of
from mmdprior.metrics.supervised.logistic import class_scores, fit_logistic
from mmdprior.metrics.supervised.table import Part, Table

__all__ = ["info_e", "info_m_c", "neighbour_information"]

_ROWS_PER_VALUE = 10
_MAX_VALUES = 256
_NOISE = 1e-8
"""Standard deviation of the noise that separates equal standardised codes."""
_TOLERANCE = 1e-5
"""Gradient per row at which the unpenalised fits of ``info_e`` stop."""


def info_m_c(table: Table) -> Part:
    """Return ``info_m`` and ``info_c`` of the normalised mutual information N_jk = I(v_k; z_j) / H(v_k).

    ``info_m`` is the mean over codes of max_k / sum_k, scaled from its smallest value 1 / factors to 0, and
    ``info_c`` is the same over the other axis. A code or factor without any information counts as 0.
    Continuous codes use nearest neighbours and discrete codes the plug-in estimate.
    """
    discrete = _discrete_codes(table)
    columns = [_information(table, factor, discrete) for factor in table.train_factors]
    nmi = torch.stack(columns, 1)
    part = Part({}, matrices={"nmi": nmi})
    undefined = nmi.isnan().any(0)
    part.note_left_out(("info_m", "info_c"), table.factors, undefined)
    known = nmi[:, ~undefined]
    part.scores["info_m"] = _scaled_share(known.T)
    part.scores["info_c"] = 0.0 if table.active == 0 else _scaled_share(known)
    if known.shape[1] < 2:
        part.notes["info_m"] = "undefined for fewer than two factors with repeated levels"
    if table.active == 1:
        part.notes["info_c"] = "undefined for one active code"
    return part


def _scaled_share(information: Float[Tensor, "a b"]) -> float:
    """Return the mean over columns of max / sum, scaled from 1 / a to 0."""
    a, b = information.shape
    if a < 2 or b == 0:
        return math.nan
    sums = information.sum(0)
    share = torch.where(sums > 0, information.amax(0) / torch.where(sums > 0, sums, 1.0), 1 / a)
    return (float(share.mean()) - 1 / a) / (1 - 1 / a)


def _discrete_codes(table: Table) -> list[bool]:
    """Return which active codes have few distinct values, or what the protocol says."""
    if table.protocol.discrete_codes is not None:
        return [table.protocol.discrete_codes] * table.codes.shape[1]
    n = len(table.train)
    counts = [len(column.unique()) for column in table.train_codes.unbind(1)]
    return [count <= _MAX_VALUES and count * _ROWS_PER_VALUE <= n for count in counts]


def _information(table: Table, factor: Factor, discrete: list[bool]) -> Float[Tensor, "d"]:
    """Return the normalised mutual information of every code with one factor; NaN if no level is repeated."""
    rows, levels, classes = factor.classes()
    result = torch.full((len(discrete),), math.nan, dtype=torch.float64)
    if len(levels) < 2 or int(classes.bincount().max()) < 2:
        return result
    shares = classes.bincount().double() / len(classes)
    entropy = float(-torch.special.xlogy(shares, shares).sum())
    z = table.train_z[rows]
    plug_in = torch.tensor(discrete)
    for j in plug_in.nonzero().flatten().tolist():
        values, cells = z[:, j].unique(return_inverse=True)
        kept = Factor(factor.name, factor.kind, classes, None, len(levels))
        result[j] = float(information_of(cells[None], len(values), [kept]).mutual)
    if not bool(plug_in.all()):
        x = z[:, ~plug_in].T.contiguous()
        noise = torch.randn(x.shape, generator=table.random("info_ties"), dtype=torch.float64).to(x)
        neighbours = neighbour_information(x + _NOISE * noise, classes, table.protocol.neighbours)
        result[~plug_in] = neighbours.double().cpu()
    return result / entropy


def neighbour_information(
    x: Float[Tensor, "d n"], classes: Int[Tensor, "n"], neighbours: int
) -> Float[Tensor, "d"]:
    """Return the mutual information of continuous rows with a discrete one in nats (Ross, 2014), at least 0.

    I = psi(n) + mean psi(k_i) - mean psi(n_i) - mean psi(m_i), with n_i the rows of the class of row i,
    k_i = min(neighbours, n_i - 1), and m_i the rows of any class nearer than the k_i-th neighbour of the same
    class, with row i itself. Classes of one row are left out. Equal entries need small noise.
    """
    counts = classes.bincount()
    rows = counts[classes] > 1
    x, classes = x[:, rows], classes[rows]
    d, n = x.shape
    order = x.argsort(1)
    order = order.gather(1, classes[order].argsort(dim=1, stable=True))  # by class, then by x
    x, own = x.gather(1, order), classes[order[0]].expand(d, n)
    count = counts[own]
    first = (torch.where(counts > 1, counts, 0).cumsum(0) - counts)[own]
    last = first + count - 1
    k = (count - 1).clamp(max=neighbours)
    place = torch.arange(n, device=x.device)
    # The k nearest neighbours are next to the row in sorted order: the best of the k + 1 windows around it.
    radius = torch.full_like(x, torch.inf)
    for shift in range(neighbours + 1):
        left = place - shift
        right = left + k
        inside = (shift <= k) & (left >= first) & (right <= last)
        low, high = x.gather(1, left.clamp(min=0).expand(d, n)), x.gather(1, right.clamp(0, n - 1))
        radius = torch.where(inside, torch.minimum(radius, torch.maximum(x - low, high - x)), radius)
    nearer = _rows_within(sorted_rows(x), x, radius)
    psi = torch.special.digamma
    terms = psi(k.double()) - psi(count.double()) - psi(nearer.clamp(min=1).double())
    return (psi(torch.tensor(float(n), dtype=torch.float64)) + terms.mean(1)).clamp(min=0)


def _rows_within(
    ordered: Float[Tensor, "d n"], x: Float[Tensor, "d m"], radius: Float[Tensor, "d m"]
) -> Int[Tensor, "d m"]:
    """Return the number of entries y of every sorted row with |y - x| < radius."""
    last = ordered.shape[1] - 1
    high, low = torch.searchsorted(ordered, x + radius), torch.searchsorted(ordered, x - radius, right=True)
    # The sums are rounded, so an entry at the radius may be on the wrong side.
    high -= ((ordered.gather(1, (high - 1).clamp(min=0)) - x >= radius) & (high > 0)).long()
    high += ((ordered.gather(1, high.clamp(max=last)) - x < radius) & (high <= last)).long()
    low -= ((x - ordered.gather(1, (low - 1).clamp(min=0)) < radius) & (low > 0)).long()
    low += (x - ordered.gather(1, low.clamp(max=last)) >= radius).long()
    return high - low


def info_e(table: Table) -> Part:
    """Return ``info_e``: the mean over factors of 1 - (log loss of a linear classifier) / log(levels).

    As in Hsu et al., the classifier has balanced classes and no penalty, and the log loss is that of the
    training rows, so it is positive by chance. Discrete codes are one-hot.
    """
    x = _inputs(table)
    values = [_relative_gain(x, factor) for factor in table.train_factors]
    part = Part({})
    part.add_mean("info_e", torch.tensor(values, dtype=torch.float64), table.factors)
    return part


def _inputs(table: Table) -> Float[Tensor, "n_train e"]:
    columns = []
    for column, discrete in zip(table.train_z.unbind(1), _discrete_codes(table), strict=True):
        values, cells = column.unique(return_inverse=True)
        one_hot = discrete and len(values) <= _MAX_VALUES
        columns.append(torch.nn.functional.one_hot(cells).to(column) if one_hot else column[:, None])
    return torch.cat(columns, 1)


def _relative_gain(x: Float[Tensor, "n e"], factor: Factor) -> float:
    rows, levels, classes = factor.classes()
    if len(levels) < 2:
        return math.nan
    weights = len(classes) / (len(levels) * classes.bincount().double())[classes]
    coefficients = fit_logistic(
        x[rows], classes, len(levels), penalty=0.0, weights=weights, tolerance=_TOLERANCE
    )
    loss = torch.nn.functional.cross_entropy(class_scores(x[rows], coefficients), classes)
    # With balanced classes and no input, the classifier gives every level the same probability.
    return 1 - float(loss) / math.log(len(levels))

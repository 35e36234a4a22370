"""Permutation tests of LPS with fitted predictors held fixed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.layout import GroupLayout, Layout
from mmdprior.predictors import Outcome

__all__ = ["Agreement", "combine_folds", "permutation_agreement"]

Pairs = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""() -> pairs of (p, k, d) targets and predictions, as from `Outcome.pairings`."""

_ROUNDING = 1e-9
"""Relative rounding error of an agreement computed by Fourier transform."""
_PERMUTATIONS_PER_DIMENSION = 100
_TABLE_GROUPS = 64
"""Groups up to which all pairs of groups are multiplied; above, Fourier transforms are faster."""
_ENTRIES = 1 << 24
"""Entries of a table that are summed at a time."""
_TINY = 1e-300


class Agreement(NamedTuple):
    """Agreement of targets with predictions, for the observed and for permuted targets.

    The first axis is absent where the agreement is that of one problem.

    Attributes:
        observed: (p, d) agreement of the observed targets; the larger, the smaller the loss.
        permuted: (p, draws, d) agreement of permuted targets.
        rounding: (p, d) rounding error of both; smaller differences count as ties.
    """

    observed: Float[Tensor, "*p d"]
    permuted: Float[Tensor, "*p draws d"]
    rounding: Float[Tensor, "*p d"]


def permutation_agreement(
    outcome: Outcome, draws: int, generator: torch.Generator, layout: Layout | None = None
) -> Agreement:
    """Return how well observed and permuted targets agree with fixed predictions.

    If z_i is independent of the other dimensions, all permutations of the groups of z_i within a stratum of
    the test rows are equally likely, so the rank of the observed agreement gives an exact p-value. Nothing
    is refitted. Without groups, every row is a group of one stratum.

    Rows in time order are not exchangeable. There the targets are shifted in a circle, which keeps their
    autocorrelation. Targets and predictions are first replaced by their innovations y_t - r y_{t-1}, where r
    is the lag-1 autocorrelation of the target: they have no trend, whose ends would not meet, and hardly any
    autocorrelation, so that few rows decide more. The p-value holds for stationary rows that are much longer
    than their autocorrelation.

    Args:
        outcome: outcome on the test rows. Without a layout, these are in random order.
        draws: smallest number of permutations. It is raised to 100 d - 1, so that p-values can reach 0.05
            after the Bonferroni correction. Of k rows in time order there are at most k - 2 shifts.
        generator: random stream on the CPU.
        layout: groups of the test rows; by default every row is one.
    """
    first, _ = next(outcome.pairings())
    k, d = first.shape[1:]
    draws = max(draws, _PERMUTATIONS_PER_DIMENSION * d - 1)
    layout = GroupLayout(torch.arange(k)) if layout is None else layout
    strata = layout.strata(generator)
    pairs: Pairs = outcome.pairings
    if layout.ordered:
        pairs, draws = lambda: _innovations(outcome), min(draws, k - 2)
        strata = [stratum[:-1] for stratum in strata]
    observed, permuted = first.new_zeros(len(first), d), first.new_zeros(len(first), draws, d)
    for positions in strata:
        groups, length = positions.shape
        sums = _sums_by_table if length > 1 and groups <= _TABLE_GROUPS else _sums_by_shifts
        one, others = sums(pairs, positions.to(first.device), draws, generator, alone=len(strata) == 1)
        observed, permuted = observed + one, permuted + others
    scale = sum(a.norm(dim=1) * b.norm(dim=1) for a, b in pairs())
    return Agreement(observed, permuted, _ROUNDING * torch.as_tensor(scale))


def _innovations(outcome: Outcome) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every pairing with each column replaced by y_t - r y_{t-1}, one row shorter."""
    for a, b in outcome.pairings():
        r = (a[:, 1:] * a[:, :-1]).sum(1, keepdim=True) / a.square().sum(1, keepdim=True).clamp(min=_TINY)
        yield a[:, 1:] - r * a[:, :-1], b[:, 1:] - r * b[:, :-1]


def _sums_by_shifts(
    pairs: Pairs, positions: Int[Tensor, "g m"], draws: int, generator: torch.Generator, *, alone: bool
) -> tuple[Float[Tensor, "p d"], Float[Tensor, "p draws d"]]:
    """Return the agreement of observed and of permuted groups, from shifts of the groups in random orders.

    One Fourier transform per order gives all its shifts: sum_k a_{k+s} b_k for every s. Where groups are in
    random order, shifts are as exchangeable with the observed order as permutations drawn separately.

    Args:
        pairs: targets and predictions.
        positions: positions of g groups of m rows.
        draws: number of permutations.
        generator: random stream on the CPU.
        alone: whether this is the only stratum. Its first order is then the observed one, without shift 0.
            Otherwise the observed order of one stratum meets permutations of another, and all shifts count.
    """
    groups = len(positions)
    identity = torch.arange(groups)
    observed = _shift_agreement(pairs, positions, identity)
    first = observed[:, 0]
    permuted = []
    order, shifts, least = identity, observed, 1
    if not alone:
        order = torch.randperm(groups, generator=generator)
        shifts, least = _shift_agreement(pairs, positions, order), 0
    while draws > 0:
        chosen = torch.randperm(groups - least, generator=generator)[:draws] + least
        permuted.append(shifts[:, chosen.to(shifts.device)])
        draws -= len(chosen)
        order, least = torch.randperm(groups, generator=generator), 0
        if draws > 0:
            shifts = _shift_agreement(pairs, positions, order)
    return first, torch.cat(permuted, 1)


def _shift_agreement(pairs: Pairs, positions: Tensor, order: Tensor) -> Tensor:
    """Return sum_k a_{order(k+s)} b_k over groups k, their rows and all pairings, per shift s: (p, g, d)."""
    groups = len(order)
    moved = positions[order.to(positions.device)]
    spectrum: Tensor | float = 0.0
    for a, b in pairs():
        # Cross-correlation theorem: its transform is F(a) conj(F(b)).
        product = torch.fft.rfft(a[:, moved], dim=1) * torch.fft.rfft(b[:, positions], dim=1).conj()
        spectrum = spectrum + product.sum(2)
    return torch.fft.irfft(spectrum, n=groups, dim=1)


def _sums_by_table(
    pairs: Pairs, positions: Int[Tensor, "g m"], draws: int, generator: torch.Generator, *, alone: bool
) -> tuple[Float[Tensor, "p d"], Float[Tensor, "p draws d"]]:
    """Return the same sums from the products of every group of targets with every group of predictions."""
    del alone  # all draws are separate permutations
    table: Tensor | float = 0.0
    for a, b in pairs():
        table = table + torch.einsum("pgmd,phmd->pdgh", a[:, positions], b[:, positions])
    assert isinstance(table, Tensor)
    groups = len(positions)
    place = torch.arange(groups, device=table.device)
    permuted = []
    for block in torch.arange(draws).split(max(1, _ENTRIES // (table[..., 0, 0].numel() * groups))):
        order = torch.rand(len(block), groups, generator=generator).argsort(1).to(table.device)
        permuted.append(table[:, :, order, place].sum(3).mT)
    return table.diagonal(dim1=2, dim2=3).sum(2), torch.cat(permuted, 1)


def combine_folds(p_values: Float[Tensor, "folds d"]) -> tuple[Float[Tensor, "d"], float]:
    """Return one p-value per dimension, and one for all dimensions by Bonferroni's correction.

    Folds share training rows, so their p-values are dependent. Twice their median is a valid p-value under
    any dependence (Rueger, 1978).
    """
    folds, d = p_values.shape
    if folds > 1:
        p_values = (2 * p_values.sort(0).values[(folds - 1) // 2]).clamp(max=1)[None]
    return p_values[0], min(1.0, d * float(p_values.min()))

"""How sure a held-out score is: permutation p-values and bootstrap intervals, predictors fixed."""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.predictors import Outcome

__all__ = ["bootstrap_counts", "combined", "corrected", "interval", "permuted"]

_ENTRIES = 1 << 24
_TIE = 1e-9
_PER_DIMENSION = 100


def permuted(
    outcome: Outcome, draws: int, generator: torch.Generator
) -> tuple[Float[Tensor, "p d"], Float[Tensor, "p draws d"], Float[Tensor, "p d"]]:
    """Return how well targets agree with predictions, the same for permuted targets, and the rounding error.

    With the predictor fixed, z_i is permuted over the test rows; under independence of z_i and the others
    all permutations are alike, so their ranks give exact p-values (rows being exchangeable). The
    permutations are cyclic shifts of the rows in random orders, taken from one Fourier transform an order:
    a random order and its shifts are as exchangeable with the rows as they came as permutations drawn apart.

    Args:
        outcome: of the test rows, themselves in random order.
        draws: at least; raised to 100 d - 1, so that a level of .05 divided by d can be reached.
        generator: on the CPU.
    """
    first, _ = next(outcome.pairings())
    k, d = first.shape[1:]
    draws = max(draws, _PER_DIMENSION * d - 1)
    found, observed, order = [], None, torch.arange(k)
    while draws > 0:
        agreement = _shifts(outcome, order.to(first.device))
        others = torch.randperm(k - 1, generator=generator)[:draws].to(first.device) + 1
        if observed is None:
            observed = agreement[:, 0]
        found.append(agreement[:, others])
        draws -= len(others)
        order = torch.randperm(k, generator=generator)
    assert observed is not None
    scale = sum(a.norm(dim=1) * b.norm(dim=1) for a, b in outcome.pairings())
    return observed, torch.cat(found, 1), _TIE * torch.as_tensor(scale)


def _shifts(outcome: Outcome, order: Tensor) -> Tensor:
    """Return sum_k a_{order(k + s)} b_k over all pairings for every shift s, (p, k, d)."""
    k = len(order)
    spectrum: Tensor | float = 0.0
    for a, b in outcome.pairings():
        spectrum = spectrum + torch.fft.rfft(a[:, order], dim=1) * torch.fft.rfft(b, dim=1).conj()
    return torch.fft.irfft(spectrum, n=k, dim=1)


def combined(p_values: Float[Tensor, "folds d"]) -> tuple[Float[Tensor, "d"], float]:
    """Return one p-value a dimension, and one for all by Bonferroni.

    Folds share training rows, so their p-values depend on each other in a way that sums would get wrong;
    twice their median is valid whatever the dependence (Rueger, 1978).
    """
    folds, d = p_values.shape
    if folds > 1:
        p_values = (2 * p_values.sort(0).values[(folds - 1) // 2]).clamp(max=1)[None]
    return p_values[0], min(1.0, d * float(p_values.min()))


def bootstrap_counts(k: int, draws: int, generator: torch.Generator) -> Iterator[Float[Tensor, "b k"]]:
    """Yield how often each of k rows is drawn, a block of draws at a time."""
    for first in range(0, draws, max(1, _ENTRIES // k)):
        block = min(max(1, _ENTRIES // k), draws - first)
        rows = torch.randint(k, (block, k), generator=generator)
        yield torch.zeros(block, k, dtype=torch.float64).scatter_add_(
            1, rows, torch.ones(1, dtype=torch.float64).expand(block, k)
        )


def corrected(r2: Float[Tensor, "*b d"], chance: Float[Tensor, "d"]) -> Float[Tensor, "*b d"]:
    """Return R2 freed of estimation error: 1 - (1 - R2) / (1 - chance).

    Fitting d - 1 coefficients on n rows inflates the held-out error of a linear predictor by about 1 + d/n,
    the same factor whether there is something to predict or not (exactly so for Gaussian codes). The
    shuffled copies measure it: there the expected R2, ``chance``, is all estimation error.
    """
    return 1 - (1 - r2) / (1 - chance)


def interval(
    draws: Sequence[Float[Tensor, "b"]] | Float[Tensor, "b"], center: float, folds: int, level: float = 0.95
) -> tuple[float, float]:
    """Return the bootstrap percentiles around ``center``.

    The draws are shifted to have the mean ``center``: the entropy of resampled bins, for one, is too small.
    With several folds every pair of rows meets twice, once each way, which doubles the variance of the part
    of a mean R2 that is chance; so the interval is sqrt(2) times as wide, which is right for independent
    codes and wide for dependent ones.
    """
    values = torch.cat(list(draws)) if not isinstance(draws, Tensor) else draws
    spread = (values - values.mean()) * (math.sqrt(2) if folds > 1 else 1.0)
    tail = (1 - level) / 2
    low, high = torch.quantile(spread, torch.tensor([tail, 1 - tail], dtype=spread.dtype)).tolist()
    return center + low, center + high

"""How sure a held-out score is: permutation p-values and bootstrap intervals, predictors fixed."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.metrics.protocol import Problem, Protocol, Split
from mmdprior.predictors import Outcome
from mmdprior.seeding import stream

__all__ = ["ScoreStatistics", "Tested", "bootstrap_counts", "combined", "corrected", "interval", "permuted"]

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
    draws: Float[Tensor, "b"], center: float, variance: float = 0.0, level: float = 0.95
) -> tuple[float, float]:
    """Return the bootstrap percentiles around ``center``.

    The draws are shifted to have the mean ``center``: the entropy of resampled bins, for one, is too small.

    Args:
        draws: of the mean R2.
        center: the mean R2.
        variance: what else the mean varies by; the percentiles move away from it in proportion.
        level: of the interval.
    """
    tail = (1 - level) / 2
    levels = torch.tensor([tail, 1 - tail], dtype=draws.dtype)
    own = float(draws.var())
    widening = math.sqrt(1 + variance / own) if own > 0 else 1.0
    low, high = (torch.quantile(draws - draws.mean(), levels) * widening).tolist()
    return center + low, center + high


class Tested(NamedTuple):
    """P-values: one a dimension, one for all, and the permutations in each; None and NaN without a test."""

    each: Tensor | None
    overall: float
    permutations: int


@dataclass
class ScoreStatistics:
    """Numbers of all problems, (d,) over active dimensions in float64 on the CPU.

    Attributes:
        protocol: what was asked for.
        rows: the splits.
        seed: of permutations and bootstrap draws.
    """

    protocol: Protocol
    rows: Sequence[Split]
    seed: int
    _r2: dict[Problem, Tensor] = field(default_factory=dict)
    _chance: dict[Problem, Tensor] = field(default_factory=dict)
    _nats: list[Tensor] = field(default_factory=list)
    _extra: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    _draws: dict[Problem, Tensor] = field(default_factory=dict)
    _agreement: dict[int, list[Tensor]] = field(default_factory=dict)

    def add(self, problems: list[Problem], outcome: Outcome) -> None:
        """Take in what a group of problems gave; those of the codes themselves come first."""
        self._r2.update(zip(problems, _exact(outcome.r2()), strict=True))
        self._bootstrap(problems, outcome)
        real = [problem for problem in problems if problem.copy == 0]
        shuffled = problems[len(real) :]
        if shuffled:
            chance = outcome.take(slice(len(real), None)).chance()
            self._chance.update(zip(shuffled, _exact(chance), strict=True))
        if not real:
            return
        outcome = outcome if len(real) == len(problems) else outcome.take(slice(len(real)))
        self._nats += _exact(outcome.nats())
        for name, values in outcome.extra.items():
            self._extra[name] += _exact(values)
        self._permute(real, outcome)

    def _bootstrap(self, problems: list[Problem], outcome: Outcome) -> None:
        if self.protocol.bootstrap == 0:
            return
        first, _ = next(outcome.pairings())
        blocks = bootstrap_counts(first.shape[1], self.protocol.bootstrap, stream(self.seed, "bootstrap"))
        drawn = [outcome.resampled(counts.to(first.device)).cpu() for counts in blocks]
        self._draws.update(zip(problems, torch.cat(drawn).double().unbind(1), strict=True))

    def _permute(self, problems: list[Problem], outcome: Outcome) -> None:
        """Sum the agreement over predictor seeds: they share the test rows and the permutations."""
        if self.protocol.permutations == 0:
            return
        found = permuted(outcome, self.protocol.permutations, stream(self.seed, "permutations"))
        for problem, *new in zip(problems, *(part.cpu() for part in found), strict=True):
            before = self._agreement.get(problem.fold)
            self._agreement[problem.fold] = (
                new if before is None else [a + b for a, b in zip(before, new, strict=True)]
            )

    def r2(self) -> Tensor | None:
        """R2_i averaged over folds and seeds, or None where nothing was fitted."""
        return self._mean(self._r2, real=True)

    def null_r2(self) -> Tensor | None:
        """R2_i averaged over folds and shuffled copies."""
        return self._mean(self._r2, real=False)

    def score(self) -> float:
        """Mean over dimensions of max(0, R2_i)."""
        return _clipped(self.r2())

    def null(self) -> float:
        """The score of a shuffled copy, averaged over them."""
        copies = {problem.copy for problem in self._r2 if problem.copy}
        scores = [_clipped(_average([v for p, v in self._r2.items() if p.copy == c])) for c in copies]
        return sum(scores) / len(scores) if scores else math.nan

    def seed_scores(self) -> tuple[float, ...]:
        """The score of each predictor seed."""
        seeds = sorted({problem.seed for problem in self._r2 if problem.copy == 0})
        own = [(p.seed, value) for p, value in self._r2.items() if p.copy == 0]
        return tuple(_clipped(_average([value for seed, value in own if seed == s])) for s in seeds)

    def interval(self) -> tuple[float, tuple[float, float]]:
        """The mean R2, corrected where there are shuffled copies, and its bootstrap interval."""
        r2, chance = self.r2(), _average(list(self._chance.values()))
        if r2 is None:
            return math.nan, (math.nan, math.nan)
        error = torch.zeros_like(r2) if chance is None else chance
        center = float(corrected(r2, error).mean())
        if not self._draws:
            return center, (math.nan, math.nan)
        own = self._mean(self._draws, real=True)
        shuffled = [self._of_copy(1 + copy) for copy in range(self.protocol.null)]
        assert own is not None
        draws = corrected(own, error).mean(1)
        chance_draws = torch.stack([corrected(copy, error).mean(1) for copy in shuffled] or [draws])
        return center, interval(draws, center, self._beyond_test_rows() * float(chance_draws.var(1).mean()))

    def _of_copy(self, copy: int) -> Tensor:
        return torch.stack([drawn for problem, drawn in self._draws.items() if problem.copy == copy]).mean(0)

    def _beyond_test_rows(self) -> float:
        """The variance that the bootstrap, with its predictors fixed, leaves out, in units of a null's own.

        For the mean R2 of d independent codes under linear predictors the variance over k test rows is
        8 (d - 1) / (d k n), and that over the n training rows 4 (d - 1) / (d n^2), once for the codes and
        once for every shuffled copy in the mean that corrects them. With several folds every pair of rows
        meets twice, once each way, which doubles the former. Dependence adds to the variance over test rows
        alone.
        """
        tested = sum(len(split.test) for split in self.rows)
        fits = 1 + (1 / self.protocol.null if self.protocol.null else 0)
        return (len(self.rows) > 1) + fits * tested / (2 * len(self.rows[0].train))

    def p_values(self) -> Tested:
        """The share of permutations that agree at least as well, the identity among them."""
        if not self._agreement:
            return Tested(None, math.nan, 0)
        shares = []
        for observed, others, rounding in self._agreement.values():
            as_good = (others >= observed - rounding).sum(0)
            shares.append((1 + as_good).double() / (1 + len(others)))
        each, overall = combined(torch.stack(shares))
        return Tested(each, overall, len(others))

    def extra(self) -> dict[str, Tensor]:
        """Numbers beside R2, averaged over folds and seeds."""
        return {name: torch.stack(values).mean(0) for name, values in self._extra.items()}

    def information_bound(self) -> float:
        """Nats summed over dimensions; NaN unless the marginals are Gaussian or the nats are measured."""
        valid = self.protocol.transform == "rank_gaussian" or "nats" in self._extra
        return float(torch.stack(self._nats).mean(0).sum()) if self._nats and valid else math.nan

    def _mean(self, values: dict[Problem, Tensor], real: bool) -> Tensor | None:
        return _average([value for problem, value in values.items() if (problem.copy == 0) == real])


def _exact(values: Tensor) -> tuple[Tensor, ...]:
    return values.cpu().double().unbind()


def _average(values: list[Tensor]) -> Tensor | None:
    return torch.stack(values).mean(0) if values else None


def _clipped(r2: Tensor | None) -> float:
    return math.nan if r2 is None else float(r2.clamp(min=0).mean())

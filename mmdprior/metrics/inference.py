"""Statistics of LPS from the outcomes of all fits: scores, permutation p-values and intervals."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from mmdprior.metrics.intervals import (
    COPIES,
    INFORMATIVE_ROWS,
    Jackknife,
    bootstrap_counts,
    bootstrap_interval,
    correct_r2,
    few_rows_interval,
    jackknife_counts,
    row_counts,
)
from mmdprior.metrics.layout import GroupLayout, Layout
from mmdprior.metrics.permutation import Agreement, combine_folds, permutation_agreement
from mmdprior.metrics.protocol import Problem, Protocol, Split
from mmdprior.predictors import Outcome
from mmdprior.seeding import stream

__all__ = ["PValues", "ScoreStatistics"]


class PValues(NamedTuple):
    """P-values of independence.

    Attributes:
        per_dimension: (d,) p-values; None without a test.
        overall: p-value that no dimension depends on the others; NaN without a test.
        permutations: number of permutations per p-value.
    """

    per_dimension: Tensor | None
    overall: float
    permutations: int


@dataclass
class ScoreStatistics:
    """Collects the outcomes of all problems, and computes the statistics of an `LPSResult` from them.

    All tensors are of shape (d,) over the active dimensions, in float64 on the CPU.

    Attributes:
        protocol: number of copies, permutations and bootstrap draws.
        splits: split of every fold.
        seed: seed of permutations and bootstrap draws.
        layouts: groups of the test rows of every fold; by default every row is one. With groups, one call of
            `add` has problems of one fold only.
        no_interval: why there is no interval although it was requested; empty if there is one.
    """

    protocol: Protocol
    splits: Sequence[Split]
    seed: int
    layouts: Sequence[Layout] = ()
    no_interval: str = ""
    _r2: dict[Problem, Tensor] = field(default_factory=dict)
    _chance: dict[Problem, Tensor] = field(default_factory=dict)
    _nats: list[Tensor] = field(default_factory=list)
    _extra: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    _draws: dict[Problem, Tensor] = field(default_factory=dict)
    _left_out: dict[Problem, Tensor] = field(default_factory=dict)
    _agreement: dict[int, Agreement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layouts = self.layouts or [GroupLayout(torch.arange(len(s.test))) for s in self.splits]

    def add(self, problems: list[Problem], outcome: Outcome) -> None:
        """Add the outcome of a group of problems, those of the codes before those of shuffled copies."""
        self._add_bootstrap(problems, outcome)
        real = [problem for problem in problems if problem.copy == 0]
        if len(real) < len(problems):
            self.add_copies(problems[len(real) :], outcome.take(slice(len(real), None)))
        if not real:
            return
        outcome = outcome if len(real) == len(problems) else outcome.take(slice(len(real)))
        self._r2.update(zip(real, _per_problem(outcome.r2()), strict=True))
        self._add_jackknife(real, outcome)
        self._nats += _per_problem(outcome.nats())
        for name, values in outcome.extra.items():
            self._extra[name] += _per_problem(values)
        self._add_permutations(real, outcome)

    def add_copies(self, problems: list[Problem], outcome: Outcome) -> None:
        """Add the scores and the chance level of shuffled copies."""
        self._r2.update(zip(problems, _per_problem(outcome.r2()), strict=True))
        self._chance.update(zip(problems, _per_problem(outcome.chance()), strict=True))

    def _add_bootstrap(self, problems: list[Problem], outcome: Outcome) -> None:
        if self.protocol.bootstrap == 0:
            return
        layout, generator = self.layouts[problems[0].fold], stream(self.seed, "bootstrap")
        counts = bootstrap_counts(layout.count, self.protocol.bootstrap, generator)
        self._draws.update(_resampled(problems, outcome, row_counts(counts, layout.unit)))

    def _add_jackknife(self, problems: list[Problem], outcome: Outcome) -> None:
        if self.protocol.bootstrap:
            layout = self.layouts[problems[0].fold]
            counts = jackknife_counts(layout.count, min(each.count for each in self.layouts))
            self._left_out.update(_resampled(problems, outcome, row_counts(counts, layout.unit)))

    def _add_permutations(self, problems: list[Problem], outcome: Outcome) -> None:
        """Sum the agreement over predictor seeds, which share the test rows and the permutations."""
        if self.protocol.permutations == 0:
            return
        generator = stream(self.seed, "permutations")
        layout = self.layouts[problems[0].fold]
        parts = permutation_agreement(outcome, self.protocol.permutations, generator, layout)
        for problem, *values in zip(problems, *(part.cpu() for part in parts), strict=True):
            before = self._agreement.get(problem.fold)
            if before is not None:
                values = [a + b for a, b in zip(before, values, strict=True)]
            self._agreement[problem.fold] = Agreement(*values)

    def r2(self) -> Tensor | None:
        """Return R2_i averaged over folds and seeds, or None without any fit."""
        return self._mean(self._r2, real=True)

    def null_r2(self) -> Tensor | None:
        """Return R2_i averaged over folds and shuffled copies, or None without copies."""
        return self._mean(self._r2, real=False)

    def score(self) -> float:
        """Return LPS, the mean over dimensions of max(0, R2_i)."""
        return _mean_clipped(self.r2())

    def null(self) -> float:
        """Return the score of a shuffled copy, averaged over the copies."""
        scores = [_mean_clipped(r2) for r2 in self._per_copy(self._r2).values()]
        return sum(scores) / len(scores) if scores else math.nan

    def seed_scores(self) -> tuple[float, ...]:
        """Return the score of each predictor seed."""
        seeds = sorted({problem.seed for problem in self._r2 if problem.copy == 0})
        r2 = [(p.seed, value) for p, value in self._r2.items() if p.copy == 0]
        return tuple(_mean_clipped(_average([value for seed, value in r2 if seed == s])) for s in seeds)

    def interval(self) -> tuple[float, tuple[float, float]]:
        """Return the mean R2 and its 95 % interval, both corrected if there are shuffled copies.

        The interval is that of the population: 1 minus the expected held-out error of predictors fitted on
        this many rows, relative to their error on independent codes with the same marginals. It is 0 for
        independent codes for any numbers of rows and dimensions. Without copies, it is the expected
        mean R2 itself, which is below 0 for independent codes.

        Both ways leave out the variance over training rows, and the variance of the chance level that
        corrects R2. Both are added in units of the variance over test rows of independent codes
        (`_training_variance_ratio`).
        """
        r2 = self.r2()
        if r2 is None:
            return math.nan, (math.nan, math.nan)
        error = self._chance_level(r2)
        center = float(correct_r2(r2, error).mean())
        if not self._draws or self.no_interval:
            return center, (math.nan, math.nan)
        if self.informative_rows() < INFORMATIVE_ROWS and self.protocol.null >= COPIES:
            return center, self._few_rows_interval(center, error)
        mean_draws = self._mean(self._draws, real=True)
        assert mean_draws is not None
        draws = correct_r2(mean_draws, error).mean(1)
        copies = list(self._per_copy(self._draws).values())
        null_draws = torch.stack([correct_r2(copy, error).mean(1) for copy in copies] or [draws])
        missing = self._training_variance_ratio() * float(null_draws.var(1).mean())
        return center, bootstrap_interval(draws, center, missing)

    def informative_rows(self) -> float:
        """Return how many test rows decide the mean R2, see `Jackknife`; infinite without an interval."""
        r2 = self.r2()
        return self._jackknife(self._chance_level(r2)).rows if r2 is not None and self._left_out else math.inf

    def _few_rows_interval(self, center: float, error: Tensor) -> tuple[float, float]:
        """Return the interval from shuffled copies and the jackknife."""
        copies = [float(1 - correct_r2(r2, error).mean()) for r2 in self._per_copy(self._r2).values()]
        jackknife = self._jackknife(error)
        std = jackknife.std * math.sqrt(1 + self._training_variance_ratio())
        ratios = torch.tensor(copies, dtype=torch.float64)
        return few_rows_interval(1 - center, ratios, jackknife._replace(std=std))

    def _jackknife(self, error: Tensor) -> Jackknife:
        folds = [
            _average([values for problem, values in self._left_out.items() if problem.fold == fold])
            for fold in range(len(self.splits))
        ]
        return Jackknife.of(torch.stack([correct_r2(r2, error).mean(1) for r2 in folds if r2 is not None]))

    def _chance_level(self, r2: Tensor) -> Tensor:
        """Return the expected R2 of independent codes per dimension, and zeros without shuffled copies."""
        chance = _average(list(self._chance.values()))
        return torch.zeros_like(r2) if chance is None else chance

    def _per_copy(self, values: dict[Problem, Tensor]) -> dict[int, Tensor]:
        """Return the mean over folds of every shuffled copy."""
        parts: dict[int, list[Tensor]] = defaultdict(list)
        for problem, value in values.items():
            if problem.copy:
                parts[problem.copy].append(value)
        return {copy: torch.stack(each).mean(0) for copy, each in parts.items()}

    def _training_variance_ratio(self) -> float:
        """Return the variance that the bootstrap leaves out, relative to the variance over test rows.

        For d independent codes and linear predictors, the mean R2 has variance 8 (d - 1) / (d k n) over k
        test rows. Over n training rows it has variance 4 (d - 1) / (d n^2), once for the codes and once for
        the mean over shuffled copies that corrects them. The ratio is therefore (1 + 1 / copies) k / 2n.

        With several folds, every pair of rows meets twice, once with each of them as the test row. This
        doubles the variance over test rows, so the ratio grows by 1. Dependence adds only to the variance
        over test rows.
        """
        tested = sum(len(split.test) for split in self.splits)
        fits = 1 + (1 / self.protocol.null if self.protocol.null else 0)
        return (len(self.splits) > 1) + fits * tested / (2 * len(self.splits[0].train))

    def p_values(self) -> PValues:
        """Return the share of permutations that agree at least as well, counting the observed one."""
        if not self._agreement:
            return PValues(None, math.nan, 0)
        shares = []
        for observed, permuted, rounding in self._agreement.values():
            # p = (1 + #{permutations at least as good}) / (1 + #permutations).
            as_good = (permuted >= observed - rounding).sum(0)
            shares.append((1 + as_good).double() / (1 + len(permuted)))
        per_dimension, overall = combine_folds(torch.stack(shares))
        return PValues(per_dimension, overall, len(permuted))

    def extra(self) -> dict[str, Tensor]:
        """Return further numbers per dimension, averaged over folds and seeds."""
        return {name: torch.stack(values).mean(0) for name, values in self._extra.items()}

    def information_bound(self, ties: Tensor | None = None) -> float:
        """Return the sum over dimensions in nats; NaN unless marginals are Gaussian or nats are measured.

        Args:
            ties: (d,) `tie_variance` of the codes. R2 of rank-Gaussianised codes gives nats only if they are
                Gaussian, so ties are broken at random. Their variance cannot be predicted.
        """
        measured = "nats" in self._extra
        if not self._nats or not (measured or self.protocol.transform == "rank_gaussian"):
            return math.nan
        nats = torch.stack(self._nats).mean(0)
        if not measured and ties is not None:
            r2 = -torch.expm1(-2 * nats) * (1 - ties)
            nats = torch.where(ties > 0, -0.5 * torch.log1p(-r2), nats)
        return float(nats.sum())

    def _mean(self, values: dict[Problem, Tensor], real: bool) -> Tensor | None:
        return _average([value for problem, value in values.items() if (problem.copy == 0) == real])


def _per_problem(values: Tensor) -> tuple[Tensor, ...]:
    """Return (p, d) values as p float64 tensors on the CPU."""
    return values.cpu().double().unbind()


def _resampled(
    problems: list[Problem], outcome: Outcome, counts: Iterable[Tensor]
) -> Iterator[tuple[Problem, Tensor]]:
    """Yield the (draws, d) R2 of every problem with the test rows weighted by counts."""
    first, _ = next(outcome.pairings())
    draws = torch.cat([outcome.resampled(block.to(first.device)).cpu() for block in counts])
    yield from zip(problems, draws.double().unbind(1), strict=True)


def _average(values: list[Tensor]) -> Tensor | None:
    return torch.stack(values).mean(0) if values else None


def _mean_clipped(r2: Tensor | None) -> float:
    return math.nan if r2 is None else float(r2.clamp(min=0).mean())

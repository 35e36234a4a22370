"""What the fits of one score gave, and what follows from it."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from mmdprior.evaluation.inference import bootstrap_counts, combined, corrected, interval, permuted
from mmdprior.evaluation.protocol import Problem, Protocol
from mmdprior.predictors import Outcome
from mmdprior.seeding import stream

__all__ = ["Evidence", "Tested"]


class Tested(NamedTuple):
    """P-values: one a dimension, one for all, and the permutations in each; None and NaN without a test."""

    each: Tensor | None
    overall: float
    permutations: int


@dataclass
class Evidence:
    """Numbers of all problems, (d,) over active dimensions in float64 on the CPU.

    Attributes:
        protocol: what was asked for.
        seed: of permutations and bootstrap draws.
    """

    protocol: Protocol
    seed: int
    _r2: dict[Problem, Tensor] = field(default_factory=dict)
    _chance: dict[Problem, Tensor] = field(default_factory=dict)
    _nats: list[Tensor] = field(default_factory=list)
    _beside: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    _draws: list[Tensor] = field(default_factory=list)
    _agreement: dict[int, list[Tensor]] = field(default_factory=dict)

    def add(self, problems: list[Problem], outcome: Outcome) -> None:
        """Take in what a group of problems gave; those of the codes themselves come first."""
        self._r2.update(zip(problems, _exact(outcome.r2()), strict=True))
        self._chance.update(zip(problems, _exact(outcome.chance()), strict=True))
        real = [problem for problem in problems if problem.copy == 0]
        if not real:
            return
        outcome = outcome if len(real) == len(problems) else outcome.take(slice(len(real)))
        self._nats += _exact(outcome.nats())
        for name, values in outcome.beside.items():
            self._beside[name] += _exact(values)
        self._bootstrap(outcome)
        self._permute(real, outcome)

    def _bootstrap(self, outcome: Outcome) -> None:
        if self.protocol.bootstrap == 0:
            return
        first, _ = next(outcome.pairings())
        blocks = bootstrap_counts(first.shape[1], self.protocol.bootstrap, stream(self.seed, "bootstrap"))
        drawn = [outcome.resampled(counts.to(first.device)).cpu() for counts in blocks]
        self._draws += torch.cat(drawn).double().unbind(1)

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
        r2, chance = self.r2(), self._mean(self._chance, real=False)
        if r2 is None:
            return math.nan, (math.nan, math.nan)
        error = torch.zeros_like(r2) if chance is None else chance
        center = float(corrected(r2, error).mean())
        if not self._draws:
            return center, (math.nan, math.nan)
        draws = corrected(torch.stack(self._draws).mean(0), error).mean(1)
        return center, interval(draws, center, self.protocol.folds)

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

    def beside(self) -> dict[str, Tensor]:
        """Numbers beside R2, averaged over folds and seeds."""
        return {name: torch.stack(values).mean(0) for name, values in self._beside.items()}

    def information_bound(self) -> float:
        """Nats summed over dimensions; NaN unless the marginals are Gaussian or the nats are measured."""
        valid = self.protocol.transform == "rank_gaussian" or "nats" in self._beside
        return float(torch.stack(self._nats).mean(0).sum()) if self._nats and valid else math.nan

    def _mean(self, values: dict[Problem, Tensor], real: bool) -> Tensor | None:
        return _average([value for problem, value in values.items() if (problem.copy == 0) == real])


def _exact(values: Tensor) -> tuple[Tensor, ...]:
    return values.cpu().double().unbind()


def _average(values: list[Tensor]) -> Tensor | None:
    return torch.stack(values).mean(0) if values else None


def _clipped(r2: Tensor | None) -> float:
    return math.nan if r2 is None else float(r2.clamp(min=0).mean())

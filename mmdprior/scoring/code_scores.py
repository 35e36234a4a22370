"""Scores of codes before and after an invertible map."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdprior.metrics import PriorMatch, lps
from mmdprior.priors import Prior, Samples
from mmdprior.seeding import stream

__all__ = ["CodeScores", "shuffled_rows", "worst_marginal"]

_BATCHES = 16
"""Most batches that the match is averaged over."""

_FEWEST = 30
"""Fewer codes are not scored."""

_FEATURES = 32
"""Principal components in which decoded draws are compared with reconstructions."""


class CodeScores:
    """Scores of codes before and after the map; null distributions are simulated once.

    Args:
        prior: intended prior, on the CPU.
        predictors: predictors of LPS.
        seed: seed of predictors and draws.
    """

    def __init__(self, prior: Prior, predictors: Sequence[str], seed: int) -> None:
        self.prior, self.predictors, self.seed = prior, predictors, seed
        self._matches: dict[int, PriorMatch] = {}
        self._space: tuple[Tensor, Tensor, Tensor, PriorMatch] | None = None

    def scores(self, codes: Tensor) -> dict[str, float]:
        """Return LPS, match and the worst marginal of codes; nothing for fewer than 30."""
        if len(codes) < _FEWEST:
            return {}
        codes, batch = codes.detach().cpu(), min(256, len(codes))
        match = self._matches.setdefault(batch, PriorMatch(self.prior, n=batch, seed=self.seed))
        # At random: data sets are often ordered by class, and codes of one class do not follow the prior.
        shuffled = codes[shuffled_rows(len(codes), self.seed)]
        batches = [part for part in shuffled.split(batch)[:_BATCHES] if len(part) == batch]
        return {
            **(self._lps(codes) if codes.shape[1] > 1 else {}),
            "match": sum(match(part) for part in batches) / len(batches),
            "worst marginal": worst_marginal(codes, self.prior, self.seed),
        }

    def _lps(self, codes: Tensor) -> dict[str, float]:
        """Return LPS of each predictor, of the magnitudes, and the largest R2 of a dimension."""
        options: dict[str, Any] = {"null": 0, "permutations": 0, "bootstrap": 0, "seed": self.seed}
        results = {name: lps(codes, name, **options) for name in self.predictors}
        name = "mlp" if "mlp" in self.predictors else "linear"
        magnitudes = (codes - codes.mean(0)).abs()
        return {
            **{f"lps {name}": result.score for name, result in results.items()},
            f"lps {name} of |z|": lps(magnitudes, name, **options).score,
            "largest R2": max(result.max for result in results.values()),
        }

    def distance(self, draws: Tensor, images: Tensor) -> float:
        """Return the MMD of two sets of images in principal components of the second, in null standard
        deviations.

        The components are those of the first call: the map does not change reconstructions.
        """
        if self._space is None:
            flat = images.flatten(1).double()
            mean = flat.mean(0)
            components = torch.linalg.svd(flat - mean, full_matrices=False).Vh[:_FEATURES]
            features = (flat - mean) @ components.T
            scale = features.std(0).clamp(min=1e-6)
            match = PriorMatch(Samples((features / scale).float()), n=min(256, len(draws)))
            self._space = (mean, components, scale, match)
        mean, components, scale, match = self._space
        features = (((draws.flatten(1).double() - mean) @ components.T) / scale).float()
        batches = [part for part in features.split(match.n) if len(part) == match.n]
        return sum(match(part) for part in batches) / len(batches)


def shuffled_rows(n: int, seed: int) -> Tensor:
    """Return the rows 0 .. n - 1 in random order."""
    return torch.randperm(n, generator=stream(seed, "shuffled rows"))


def worst_marginal(codes: Tensor, prior: Prior, seed: int) -> float:
    """Return the largest Kolmogorov-Smirnov distance of a dimension from as many prior draws."""
    draws = prior.sample(len(codes), stream(seed, "marginals")).to(codes)
    worst = 0.0
    for column, reference in zip(codes.T.contiguous(), draws.T.contiguous(), strict=True):
        points, a, b = torch.cat([column, reference]), column.sort().values, reference.sort().values
        gap = torch.searchsorted(a, points, right=True) - torch.searchsorted(b, points, right=True)
        worst = max(worst, float(gap.abs().max()) / len(codes))
    return worst

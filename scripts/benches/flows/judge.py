"""Scores of codes with and without an invertible map, each against an intended prior."""

import torch
from torch import Tensor

from mmdprior import MMD, lps
from mmdprior.kernels import ANOVA, WAE_IMQ
from mmdprior.metrics import PriorMatch
from mmdprior.predictors import MLPPredictor
from mmdprior.priors import Prior
from mmdprior.regularizers import mmd
from mmdprior.scoring.code_scores import worst_marginal
from mmdprior.seeding import stream

_BATCHES = 16
"""Batches of 256 codes that a match is averaged over."""

_NULL = {256: 200, 10_000: 20}
"""Prior batches that the null distribution of the pair penalty, and of the match of 10,000, is taken from."""

_OPTIONS = {"null": 0, "permutations": 0, "bootstrap": 0}


class Judge:
    """Scores codes against a prior. Null distributions are simulated once per object.

    Args:
        prior: intended prior; the scores are computed on its device.
        large: whether the match of 10,000 codes is computed, which takes minutes.
    """

    def __init__(self, prior: Prior, large: bool = True) -> None:
        self.prior = prior
        self.match = PriorMatch(prior, n=256)
        self.sizes = (256, 10_000) if large else (256,)
        self.kernel = WAE_IMQ().bind(prior)
        self.pairs = MMD(prior, ANOVA()).eval()
        self._nulls: dict[tuple[str, int], tuple[float, float]] = {}

    def scores(self, z: Tensor, seed: int = 0) -> dict[str, float]:
        """Return LPS by every predictor, the matches and the worst marginal of (n, d) codes."""
        return {
            **dependence(z, seed),
            **self.matches(z, seed),
            "marginal": worst_marginal(z, self.prior, seed),
        }

    @torch.no_grad()
    def matches(self, z: Tensor, seed: int = 0) -> dict[str, float]:
        """Return the match by the evaluation kernel and by pairs of dimensions, in null deviations."""
        z = z[torch.randperm(len(z), generator=stream(seed, "shuffled rows")).to(z.device)]
        found = {}
        for n in self.sizes:
            batches = [part for part in z.split(n)[:_BATCHES] if len(part) == n]
            if not batches:
                continue
            found[f"match {n}"] = _mean([self._match(part) for part in batches])
            mean, std = self._null("pairs", n)
            found[f"pairs {n}"] = _mean([(float(self.pairs(part, step=0)) - mean) / std for part in batches])
        return found

    def _match(self, z: Tensor) -> float:
        if len(z) == self.match.n:
            return self.match(z)
        mean, std = self._null("joint", len(z))
        return (self._joint(z) - mean) / std

    def _joint(self, z: Tensor) -> float:
        """Return the unbiased MMD^2 by the kernel of `PriorMatch` against a fixed batch of the same size."""
        reference = self.prior.sample(len(z), stream(0, "reference"))
        return float(mmd(z, reference, self.kernel))

    def _null(self, kind: str, n: int) -> tuple[float, float]:
        if (kind, n) not in self._nulls:
            draws = (self.prior.sample(n, stream(n, "null", i)) for i in range(_NULL[n]))
            of = self._joint if kind == "joint" else (lambda z: float(self.pairs(z, step=0)))
            values = torch.tensor([of(draw) for draw in draws])
            self._nulls[kind, n] = float(values.mean()), float(values.std())
        return self._nulls[kind, n]


def dependence(z: Tensor, seed: int = 0) -> dict[str, float]:
    """Return LPS by every predictor, of magnitudes and squares, and the largest R2 of a dimension."""
    z = (z - z.mean(0)) / z.std(0)
    predictors = {
        **{name: name for name in ("linear", "additive", "mlp", "information", "experts")},
        "mlp 256x256x256": MLPPredictor(hidden=(256, 256, 256)),
    }
    results = {name: lps(z, predictor, seed=seed, **_OPTIONS) for name, predictor in predictors.items()}
    results["mlp of |z|"] = lps(z.abs(), "mlp", seed=seed, **_OPTIONS)
    results["mlp of z^2"] = lps(z.square(), "mlp", seed=seed, **_OPTIONS)
    scores = {f"lps {name}": result.score for name, result in results.items()}
    return {**scores, "largest R2": max(result.max for result in results.values())}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

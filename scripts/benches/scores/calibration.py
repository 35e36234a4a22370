"""Calibration of p-values and intervals, of independent rows and of groups of dependent rows."""

import itertools
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mmdprior import lps

EXACT = ("linear", "additive")
RHOS = (0.1, 0.3)


def families(n: int, d: int, seed: int, rhos: Sequence[float]) -> Iterator[tuple[str, Tensor, float]]:
    """Yield codes with their population R2: three independent families, then equicorrelated Gaussians."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, d, generator=g)
    signs = torch.randint(0, 2, (n, d), generator=g) * 2 - 1
    yield "gaussian", noise, 0.0
    yield "uniform", torch.rand(n, d, generator=g), 0.0
    yield "mixture", 2 * signs + 0.5 * torch.randn(n, d, generator=g), 0.0
    for rho in rhos:
        covariance = torch.full((d, d), rho, dtype=torch.float64).fill_diagonal_(1)
        truth = float(1 - 1 / torch.linalg.inv(covariance)[0, 0])
        yield f"rho {rho}", noise @ torch.linalg.cholesky(covariance).float().T, truth


def calibrate(predictors: Sequence[str], dims: list[int], sizes: list[int], repeats: int) -> None:
    """Print the rejection rate at 0.05, the coverage of the interval for the population R2, and its width.

    Dependent codes (d = 8) are scored by exact predictors only. A trained predictor with few codes stays
    below the population R2.
    """
    print("predictor    d      n  codes      p <= 0.05   covers   width  corrected  repeats")
    for predictor in predictors:
        pooled: list[tuple[float, ...]] = []
        for d, n in itertools.product(dims, sizes):
            cells: dict[str, list[tuple[float, ...]]] = {}
            rhos = RHOS if d == 8 and predictor in EXACT else ()
            for repeat in range(repeats):
                for name, codes, truth in families(n, d, repeat, rhos):
                    cells.setdefault(name, []).append(outcome(codes, predictor, repeat, truth))
            for name, rows in cells.items():
                print_means(f"{predictor:11} {d:2} {n:6}  {name:10}", rows)
            pooled += [row for name, rows in cells.items() if not name.startswith("rho") for row in rows]
        print_means(f"{predictor:11} independent, pooled ", pooled)


def grouped_families(d: int, seed: int) -> Iterator[tuple[str, Tensor, Tensor | str]]:
    """Yield independent codes of dependent rows, with their groups."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(400).repeat_interleave(10)
    samples = torch.randn(400, d, generator=g)
    yield "400 rows 10 times", samples[labels], labels
    yield "the same, noise 0.1", samples[labels] + 0.1 * torch.randn(4000, d, generator=g), labels
    yield "the same, noise 1", samples[labels] + torch.randn(4000, d, generator=g), labels
    labels = torch.arange(400).repeat_interleave(torch.randint(1, 20, (400,), generator=g))
    yield "1 to 19 times", samples[labels] + 0.5 * torch.randn(len(labels), d, generator=g), labels
    z = torch.randn(5000, d, generator=g)
    for before, row in itertools.pairwise(z):  # rows of z, changed in place
        row.mul_((1 - 0.99**2) ** 0.5).add_(before, alpha=0.99)
    yield "AR(1) 0.99, n 5000", z, "blocks"


def calibrate_groups(predictors: Sequence[str], dims: list[int], repeats: int) -> None:
    """Print the rejection rates of grouped independent codes, without and with their groups."""
    print("predictor    d  codes                 groups  p <= 0.05  interval excludes 0    score  repeats")
    warnings.simplefilter("ignore")
    for predictor, d in itertools.product(predictors, dims):
        cells: dict[tuple[str, bool], list[tuple[float, ...]]] = {}
        for repeat in range(repeats):
            for name, codes, groups in grouped_families(d, repeat):
                for used in (False, True):
                    result = lps(codes, predictor, seed=repeat, groups=groups if used else None)
                    low, high = result.interval
                    cells.setdefault((name, used), []).append(
                        (result.p_value <= 0.05 + 1e-12, low > 0 or high < 0, result.score)
                    )
        for (name, used), rows in cells.items():
            level, excluded, score = np.mean(np.array(rows, dtype=float), 0)
            label = f"{predictor:11} {d:2}  {name:20}  {'yes' if used else 'no':6}"
            print(f"{label} {level:10.3f} {excluded:20.3f} {score:8.4f} {len(rows):8}", flush=True)


def outcome(codes: Tensor, predictor: str, seed: int, truth: float) -> tuple[float, ...]:
    """Return whether independence is rejected, whether the interval covers, its width, and its centre."""
    result = lps(codes, predictor, seed=seed)
    low, high = result.interval
    return result.p_value <= 0.05 + 1e-12, low <= truth <= high, high - low, result.corrected_r2


def print_means(label: str, rows: list[tuple[float, ...]]) -> None:
    """Print the means over the repeats of a cell."""
    level, covers, width, mean = np.mean(np.array(rows, dtype=float), 0)
    print(f"{label} {level:9.3f} {covers:8.3f} {width:7.4f} {mean:10.5f} {len(rows):8}", flush=True)

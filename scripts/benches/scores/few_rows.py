"""Coverage of LPS intervals with few rows, or with rare values."""

import itertools
import math
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from mmdprior import InputError, lps

Codes = Callable[[np.random.Generator, int, int], np.ndarray]

INDEPENDENT: dict[str, Codes] = {
    "normal": lambda g, n, d: g.standard_normal((n, d)),
    "student 3": lambda g, n, d: g.standard_t(3, (n, d)),
    "10 % not 0": lambda g, n, d: g.standard_normal((n, d)) * (g.random((n, d)) < 0.1),
    "1 % bits": lambda g, n, d: (g.random((n, d)) < 0.01).astype(float),
}
RHOS = (0.3, 0.8)


def families(d: int) -> dict[str, tuple[Codes, float]]:
    """Return codes with the R2 of their population: independent ones, then equicorrelated Gaussians."""
    cases = {name: (codes, 0.0) for name, codes in INDEPENDENT.items()}
    for rho in RHOS:
        covariance = np.full((d, d), rho)
        np.fill_diagonal(covariance, 1)
        root = np.linalg.cholesky(covariance)
        truth = 1 - 1 / np.linalg.inv(covariance)[0, 0]
        cases[f"rho {rho}"] = (lambda g, n, d, root=root: g.standard_normal((n, d)) @ root.T, truth)
    return cases


def few_rows(predictors: Sequence[str], dims: list[int], sizes: list[int], repeats: int) -> None:
    """Print the coverage of the intervals that are not NaN, the misses on either side, and their width.

    Dependent codes are scored by ``linear`` only: with few rows, ``additive`` stays below the population.
    """
    print("predictor    d      n  codes        covers   above   below     NaN   width     ms")
    for predictor, d, n in itertools.product(predictors, dims, sizes):
        for name, (codes, truth) in families(d).items():
            if truth and predictor != "linear":
                continue
            start = time.process_time()
            rows = [interval(codes, predictor, n, d, seed) for seed in range(repeats)]
            milliseconds = 1000 * (time.process_time() - start) / repeats
            finite = np.array([row for row in rows if not math.isnan(row[0])]).reshape(-1, 2)
            line = f"{predictor:10} {d:3} {n:6}  {name:10}"
            if len(finite) == 0:
                print(f"{line} {'':25} {1:7.3f} {'':7} {milliseconds:6.0f}", flush=True)
                continue
            low, high = finite.T
            above, below = np.mean(low > truth + 1e-9), np.mean(high < truth - 1e-9)
            print(
                f"{line} {1 - above - below:8.3f} {above:7.3f} {below:7.3f} "
                f"{1 - len(finite) / repeats:7.3f} {np.median(high - low):7.3f} {milliseconds:6.0f}",
                flush=True,
            )


def interval(codes: Codes, predictor: str, n: int, d: int, seed: int) -> tuple[float, float]:
    """Return the interval of one set of codes; NaN where too few rows or columns are left to score."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            z = codes(np.random.default_rng([seed, n, d]), n, d)
            return lps(z, predictor, seed=seed, permutations=0).interval
        except InputError:
            return math.nan, math.nan

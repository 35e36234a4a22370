"""LPS against scikit-learn, and against codes whose dependence is known."""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior import lps
from mmdprior.data import image_folder
from mmdprior.data.batches import to_float
from mmdprior.evaluation.protocol import splits

QUICK: dict[str, Any] = {"null": 0, "permutations": 0, "bootstrap": 0}


def scores(given: argparse.Namespace) -> None:
    """Speed against scikit-learn or, with --calibrate, how often p-values and intervals are right."""
    if given.calibrate:
        calibrate(given)
        return
    print(f"{torch.get_num_threads()} threads")
    codes = pca_codes(given.images) if given.images else None
    if given.codes:
        codes = np.load(given.codes, allow_pickle=False)
    if codes is None:
        print("mlp: give --images FOLDER or --codes FILE.npy")
    else:
        against_mlp(codes)
    against_ridge()


def pca_codes(folder: str, n: int = 20_000, d: int = 32) -> np.ndarray:
    """Whitened principal components of the images in FOLDER/train."""
    images = image_folder(folder).train
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:n]
    x = torch.cat([to_float(images.gather(part)[0]).flatten(1) for part in rows.split(1000)])
    x = x - x.mean(0)
    _, vectors = torch.linalg.eigh((x.T @ x).double() / len(x))
    z = x @ vectors[:, -d:].float()
    return (z / z.std(0)).numpy()


def against_mlp(codes: np.ndarray) -> None:
    """`mlp` and scikit-learn's MLPRegressor on the same test rows."""
    from sklearn.neural_network import MLPRegressor

    begun = time.perf_counter()
    own = lps(codes, "mlp", **QUICK)
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    found = looped(codes, lambda i: MLPRegressor((64, 64), early_stopping=True, random_state=i))
    theirs = time.perf_counter() - begun
    print(f"mlp, {len(codes)} x {codes.shape[1]}: mean held-out R2 {own.mean_r2:.4f} in {seconds:.1f} s")
    ratio = theirs / seconds
    print(f"  MLPRegressor looped: {found.mean():.4f} in {theirs:.1f} s, {ratio:.1f} times as long")
    begun = time.perf_counter()
    full = lps(codes, "mlp")
    print(f"  with null, p-value and interval: {time.perf_counter() - begun:.1f} s\n{full}")


def against_ridge(n: int = 50_000, d: int = 256) -> None:
    """`linear` and scikit-learn's Ridge on the same rows."""
    from sklearn.linear_model import Ridge

    g = torch.Generator().manual_seed(0)
    mixing = torch.eye(d) + 0.3 * torch.randn(d, d, generator=g) / d**0.5
    codes = (torch.randn(n, d, generator=g) @ mixing).numpy()
    lps(codes[:1000], **QUICK)
    begun = time.perf_counter()
    own = lps(codes, **QUICK)
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    found = looped(codes, lambda i: Ridge(alpha=1e-8 * 0.8 * n))
    theirs = time.perf_counter() - begun
    ratio, worst = theirs / seconds, np.abs(found - own.r2).max()
    print(f"linear, {n} x {d}: {seconds:.2f} s; Ridge looped {theirs:.1f} s, {ratio:.0f} times as long")
    print(f"  largest difference in R2_i {worst:.1e}")
    begun = time.perf_counter()
    lps(codes)
    print(f"  with null, p-value and interval: {time.perf_counter() - begun:.2f} s")


def looped(codes: np.ndarray, make: Callable[[int], Any]) -> np.ndarray:
    """Held-out R2 of one scikit-learn regressor a dimension, on the rows that `lps` fits and tests."""
    from sklearn.metrics import r2_score

    rows = splits(len(codes), 1, 0, uses_validation=False)[0]
    train, test = codes[rows.train.numpy()], codes[rows.test.numpy()]
    train, test = ((part - train.mean(0)) / train.std(0) for part in (train, test))
    found = []
    for i in range(codes.shape[1]):
        regressor = make(i).fit(np.delete(train, i, 1), train[:, i])
        found.append(r2_score(test[:, i], regressor.predict(np.delete(test, i, 1))))
    return np.array(found)


def families(n: int, d: int, seed: int) -> Iterator[tuple[str, Tensor, float]]:
    """Codes and the population's R2: independent ones of three shapes, then equicorrelated Gaussians."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, d, generator=g)
    signs = torch.randint(0, 2, (n, d), generator=g) * 2 - 1
    yield "gaussian", noise, 0.0
    yield "uniform", torch.rand(n, d, generator=g), 0.0
    yield "mixture", 2 * signs + 0.5 * torch.randn(n, d, generator=g), 0.0
    for rho in (0.1, 0.3) if d == 8 else ():
        covariance = torch.full((d, d), rho, dtype=torch.float64).fill_diagonal_(1)
        truth = float(1 - 1 / torch.linalg.inv(covariance)[0, 0])
        yield f"rho {rho}", noise @ torch.linalg.cholesky(covariance).float().T, truth


def calibrate(given: argparse.Namespace) -> None:
    """How often p <= .05, how often the interval covers the population's mean R2, and how wide it is."""
    print("predictor    d      n  codes      p <= .05   covers   width  corrected  repeats")
    for predictor in given.predictor:
        pooled: list[tuple[float, ...]] = []
        for d, n in itertools.product(given.dims, given.sizes):
            found: dict[str, list[tuple[float, ...]]] = {}
            for repeat in range(given.repeats):
                for name, codes, truth in families(n, d, repeat):
                    found.setdefault(name, []).append(judged(codes, predictor, repeat, truth))
            for name, rows in found.items():
                told(f"{predictor:11} {d:2} {n:6}  {name:10}", rows)
            pooled += [row for name, rows in found.items() if not name.startswith("rho") for row in rows]
        told(f"{predictor:11} independent, pooled ", pooled)


def judged(codes: Tensor, predictor: str, seed: int, truth: float) -> tuple[float, ...]:
    """Whether independence is rejected, whether the interval covers, its width, and the mean."""
    result = lps(codes, predictor, seed=seed)
    low, high = result.interval
    return result.p_value <= 0.05 + 1e-12, low <= truth <= high, high - low, result.corrected_r2


def told(label: str, rows: list[tuple[float, ...]]) -> None:
    """Print the means of a cell."""
    level, covers, width, mean = np.mean(np.array(rows, dtype=float), 0)
    print(f"{label} {level:9.3f} {covers:8.3f} {width:7.4f} {mean:10.5f} {len(rows):8}", flush=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.py lps", description=__doc__)
    parser.add_argument("--images", help="image folder; mlp is timed on PCA codes of its train/")
    parser.add_argument("--codes", help="or a .npy of codes")
    parser.add_argument("--calibrate", action="store_true", help="levels and coverage instead of speed")
    parser.add_argument("--predictor", nargs="+", default=["linear", "additive"])
    parser.add_argument("--dims", nargs="+", type=int, default=[8, 64])
    parser.add_argument("--sizes", nargs="+", type=int, default=[2000, 20_000])
    parser.add_argument("--repeats", type=int, default=50, help="of each family in each cell")
    scores(parser.parse_args(arguments))

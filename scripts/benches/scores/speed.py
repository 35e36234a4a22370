"""Time of LPS against scikit-learn looped over dimensions, and the difference of their scores."""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mmdprior import lps
from mmdprior.data import image_folder
from mmdprior.data.source import to_float
from mmdprior.metrics.protocol import split_rows

QUICK: dict[str, Any] = {"null": 0, "permutations": 0, "bootstrap": 0}


def pca_codes(folder: str, n: int = 20_000, d: int = 32) -> np.ndarray:
    """Return whitened principal components of the images in FOLDER/train."""
    images = image_folder(folder, size=32).train
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:n]
    x = torch.cat([to_float(images.gather(part)[0]).flatten(1) for part in rows.split(1000)])
    x = x - x.mean(0)
    _, vectors = torch.linalg.eigh((x.T @ x).double() / len(x))
    z = x @ vectors[:, -d:].float()
    return (z / z.std(0)).numpy()


def speed(options: argparse.Namespace) -> None:
    """Time `mlp` and `information` on codes of images or of a file, and `linear` on normal variables."""
    print(f"{torch.get_num_threads()} threads")
    if {"mlp", "classifier"} & set(options.against):
        codes = pca_codes(options.images) if options.images else None
        if options.codes:
            codes = np.load(options.codes[0], allow_pickle=False)
        if codes is None:
            print("mlp, classifier: give --images FOLDER or --codes FILE.npy")
        if codes is not None and "mlp" in options.against:
            against_mlp(codes, options.looped)
        if codes is not None and "classifier" in options.against:
            against_classifier(codes, options.looped)
    if "ridge" in options.against:
        against_ridge(options.looped)


def against_mlp(codes: np.ndarray, most: int | None) -> None:
    """Compare `mlp` with scikit-learn's MLPRegressor on the same test rows."""
    from sklearn.neural_network import MLPRegressor

    own = lps(codes, "mlp", **QUICK)
    settings = {"hidden_layer_sizes": (64, 64), "early_stopping": True}
    dims, r2, theirs = looped(codes, regression(lambda i: MLPRegressor(**settings, random_state=i)), most)
    print(f"mlp, {len(codes)} x {codes.shape[1]}: mean held-out R2 {own.mean_r2:.4f} in {own.seconds:.1f} s")
    print(
        f"  MLPRegressor looped {dims_text(dims, codes.shape[1])}: {r2.mean():.4f} in {theirs:.1f} s, ",
        end="",
    )
    print(f"{theirs / own.seconds:.1f} times as long; mlp on these {own.r2[dims].mean():.4f}", flush=True)
    full = lps(codes, "mlp")
    print(f"  with null, p-value and interval: {full.seconds:.1f} s\n{full}")


def against_classifier(codes: np.ndarray, most: int | None, bins: int = 16) -> None:
    """Compare `information` with scikit-learn's MLPClassifier of the same bins on the same test rows."""
    from sklearn.neural_network import MLPClassifier

    def information(i: int, train: np.ndarray, test: np.ndarray) -> float:
        edges = np.quantile(train[:, i], np.linspace(0, 1, bins + 1)[1:-1])
        labels, held_out = (np.searchsorted(edges, part[:, i]) for part in (train, test))
        model = MLPClassifier((64, 64), early_stopping=True, random_state=i)
        probability = model.fit(np.delete(train, i, 1), labels).predict_proba(np.delete(test, i, 1))
        frequency = np.bincount(held_out, minlength=bins) / len(held_out)
        entropy = -(frequency * np.log(frequency)).sum()
        return float(1 - np.exp(-2 * (entropy + np.log(probability[np.arange(len(test)), held_out]).mean())))

    own = lps(codes, "information", **QUICK)
    dims, scores, theirs = looped(codes, information, most)
    print(f"information, {len(codes)} x {codes.shape[1]}: mean {own.mean_r2:.4f} in {own.seconds:.1f} s")
    print(
        f"  MLPClassifier looped {dims_text(dims, codes.shape[1])}: {scores.mean():.4f} in {theirs:.1f} s, "
        f"{theirs / own.seconds:.1f} times as long; information on these {own.r2[dims].mean():.4f}",
        flush=True,
    )


def against_ridge(most: int | None, n: int = 50_000, d: int = 256) -> None:
    """Compare `linear` with scikit-learn's Ridge on the same rows."""
    from sklearn.linear_model import Ridge

    g = torch.Generator().manual_seed(0)
    mixing = torch.eye(d) + 0.3 * torch.randn(d, d, generator=g) / d**0.5
    mixed = (torch.randn(n, d, generator=g) @ mixing).numpy()
    lps(mixed[:1000], **QUICK)
    for codes in (mixed, mixed.astype(np.float64)):
        own = lps(codes, **QUICK)
        dims, r2, theirs = looped(codes, regression(lambda i: Ridge(alpha=1e-8 * 0.8 * n)), most)
        ratio, worst = theirs / own.seconds, np.abs(r2 - own.r2[dims]).max()
        print(
            f"linear, {n} x {d}, {codes.dtype}: {own.seconds:.2f} s; Ridge looped {dims_text(dims, d)} ",
            end="",
        )
        print(f"{theirs:.1f} s, {ratio:.0f} times as long\n  largest difference in R2_i {worst:.1e}")
        print(f"  with null, p-value and interval: {lps(codes).seconds:.2f} s", flush=True)


def dims_text(dims: np.ndarray, d: int) -> str:
    return f"over {d} dimensions" if len(dims) == d else f"over {len(dims)} of {d} dimensions, time scaled,"


def looped(
    codes: np.ndarray, score: Callable[[int, np.ndarray, np.ndarray], float], most: int | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Score one scikit-learn model per dimension, on the rows that `lps` uses.

    Args:
        codes: (n, d) codes.
        score: score of a model of a dimension, from training and test rows.
        most: number of dimensions to fit, evenly spaced; None for all.

    Returns:
        Fitted dimensions, their scores, and seconds for all d.
    """
    d = codes.shape[1]
    dims = np.arange(d) if most is None else np.linspace(0, d - 1, min(most, d)).round().astype(int)
    start = time.perf_counter()
    rows = split_rows(len(codes), 1, 0, uses_validation=False)[0]
    train, test = codes[rows.train.numpy()], codes[rows.test.numpy()]
    train, test = ((part - train.mean(0)) / train.std(0) for part in (train, test))
    scores = [score(int(i), train, test) for i in dims]
    return dims, np.array(scores), (time.perf_counter() - start) * d / len(dims)


def regression(make: Callable[[int], Any]) -> Callable[[int, np.ndarray, np.ndarray], float]:
    """Return the held-out R2 of a regressor, as a function of its dimension."""
    from sklearn.metrics import r2_score

    def score(i: int, train: np.ndarray, test: np.ndarray) -> float:
        regressor = make(i).fit(np.delete(train, i, 1), train[:, i])
        return float(r2_score(test[:, i], regressor.predict(np.delete(test, i, 1))))

    return score

"""Codes of one model as the prior of another: match, MCC of both, and decoding one's codes with the other.

bench.py copying ORIGINAL COPY --device cpu      # two run directories or checkpoints with equal latent_dim

The codes of COPY get the distribution of the codes of ORIGINAL by an invertible map (`mmdprior sculpt`). It
sees no pairs. Then codes of ORIGINAL are decoded with COPY: as they are, and after alignments that are fitted
to pairs of codes of the same training images. The other way to copy is to train another architecture with
``regularizer: {name: mmd, prior: {name: samples, path: ORIGINAL/checkpoints/last.pt}}``.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmdprior.build.restore import open_checkpoint
from mmdprior.data import ImageSet
from mmdprior.evaluation import encode, reconstruction_error
from mmdprior.flows import FlowSettings
from mmdprior.metrics.supervised.correlation import best_match
from mmdprior.models import Autoencoder
from mmdprior.scoring.sculpt import Sculptor

Alignment = Callable[[Tensor], Tensor]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py copying",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("original", help="run directory or checkpoint whose codes are the prior")
    parser.add_argument("copy", help="run directory or checkpoint whose codes follow them")
    parser.add_argument("--pairs", type=int, nargs="+", default=[100, 1000, 10_000], help="pairs of codes")
    parser.add_argument("--steps", type=int, default=1000, help="updates of the map (1000)")
    parser.add_argument("--limit", type=int, default=50_000, help="training images of the map (50,000)")
    parser.add_argument("--device", default="cpu", help="torch device (cpu)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    original, copy = (
        open_checkpoint(path, device=options.device) for path in (options.original, options.copy)
    )
    train = copy.images(split="train", limit=options.limit)
    test = copy.images(split="test", limit=min(options.limit, 10_000))
    mine, mine_test = (codes(original.model, images, options.device) for images in (train, test))
    before = codes(copy.model, test, options.device)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "codes.npy", mine.cpu().numpy())
        prior = f"{{name: samples, path: {folder}/codes.npy}}"
        settings = FlowSettings(steps=options.steps)
        shared = {"predictors": ["linear"], "limit": options.limit, "device": options.device}
        sculptor = Sculptor(prior, settings, **shared)
        result, _ = sculptor.run(copy)
    theirs, theirs_test = (codes(copy.model, images, options.device) for images in (train, test))
    print(f"original: {reconstruction_error(original.model, test, mine_test, device=options.device)}")
    for name, scores, z in (("before", result.before, before), ("after", result.after, theirs_test)):
        print(
            f"copy, {name} the map: PSNR {scores['psnr']:.2f} dB, match {scores['match']:+.1f} null sd, "
            f"worst marginal {scores['worst marginal']:.3f}, MCC with the original {mcc(z, mine_test):.3f}"
        )
    print("| codes of the original, decoded with the copy | pairs | PSNR (dB) | MCC |\n|---|---|---|---|")
    for name, pairs, align in alignments(mine, theirs, options.pairs):
        aligned = align(mine_test)
        error = reconstruction_error(copy.model, test, aligned, device=options.device)
        print(f"| {name} | {pairs} | {error.psnr:.2f} | {mcc(theirs_test, aligned):.3f} |")


def codes(model: Autoencoder, images: ImageSet, device: str) -> Tensor:
    return encode(model, images, device=device).latent.mean


def mcc(z: Tensor, y: Tensor) -> float:
    """Return the mean absolute correlation of the best one-to-one assignment."""
    correlation = correlations(z, y).abs().double()
    return float(correlation[best_match(correlation), range(y.shape[1])].mean())


def correlations(z: Tensor, y: Tensor) -> Tensor:
    d = z.shape[1]
    return torch.corrcoef(torch.cat([z, y], 1).T)[:d, d:].cpu()


def alignments(mine: Tensor, theirs: Tensor, counts: list[int]) -> list[tuple[str, int, Alignment]]:
    """Return maps from the codes of the original to those of the copy, fitted to evenly spaced pairs."""
    found: list[tuple[str, int, Alignment]] = [("as they are", 0, lambda z: z)]
    for count in counts:
        rows = torch.arange(min(count, len(mine))) * len(mine) // min(count, len(mine))
        x, y = mine[rows], theirs[rows]
        found.append(("permutation and signs", count, permutation(x, y)))
        found.append(("rotation", count, rotation(x, y)))
        found.append(("linear map", count, linear_map(x, y)))
    return found


def permutation(x: Tensor, y: Tensor) -> Alignment:
    correlation = correlations(x, y)
    match = best_match(correlation.abs().double())
    signs = torch.sign(correlation[match, torch.arange(len(match))]).to(x)
    centre, shift, scale = x.mean(0), y.mean(0), y.std(0) / x.std(0)[match.to(x.device)]
    return lambda z: (z - centre)[:, match.to(z.device)] * signs * scale + shift


def rotation(x: Tensor, y: Tensor) -> Alignment:
    """Return the closest orthogonal map of centred codes (Procrustes)."""
    u, _, v = torch.linalg.svd((x - x.mean(0)).T.double() @ (y - y.mean(0)).double(), full_matrices=False)
    matrix = (u @ v).to(x)
    return lambda z: (z - x.mean(0)) @ matrix + y.mean(0)


def linear_map(x: Tensor, y: Tensor) -> Alignment:
    """Return the least-squares affine map."""
    matrix = torch.linalg.lstsq((x - x.mean(0)).double(), (y - y.mean(0)).double()).solution.to(x)
    return lambda z: (z - x.mean(0)) @ matrix + y.mean(0)

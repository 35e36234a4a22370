"""Codes of autoencoders before and after invertible maps: PSNR, LPS, match to the prior.

bench.py sculpt RUN... --out sculpt.jsonl                        # N(0, I): codes as they are, and the map
bench.py sculpt RUN... --out sculpt.jsonl --methods PCA FastICA copula "map by MMD"
bench.py sculpt RUN --out sculpt.jsonl --priors uniform laplace "ring of six" copula "swiss roll"
bench.py sculpt RUN --out sculpt.jsonl --sizes 1000 3000 10000 30000
bench.py sculpt --out sculpt.jsonl                               # print the rows

A RUN is a run directory, or a checkpoint. Every row is one line of JSON in --out. Rows that exist are
skipped, so an interrupted command continues. One row takes one to four minutes of one CPU thread.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from benches.flows.judge import Judge
from benches.flows.methods import METHODS
from torch import Tensor

from mmdprior.build.restore import TrainedRun, open_checkpoint
from mmdprior.evaluation import encode_and_reconstruct
from mmdprior.evaluation.encode import encode
from mmdprior.flows import Bijection, FittedBijection
from mmdprior.priors import (
    Correlated,
    Gaussian,
    GaussianMixture,
    Laplace,
    Product,
    SwissRoll,
    Uniform,
)

AS_TRAINED = "none"

PRIORS = {
    "gaussian": Gaussian,
    "uniform": Uniform,
    "laplace": Laplace,
    "ring of six": lambda d: Product([GaussianMixture.ring(6), Gaussian(d - 2)]),
    "copula": lambda d: Correlated(Uniform(d), 0.5),
    "swiss roll": lambda d: Product([SwissRoll(), Gaussian(d - 2)]),
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py sculpt", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run directories or checkpoints")
    parser.add_argument("--out", required=True, type=Path, help="file of rows, one JSON object per line")
    parser.add_argument("--methods", nargs="+", default=[AS_TRAINED, "map"], choices=[AS_TRAINED, *METHODS])
    parser.add_argument("--priors", nargs="+", default=["gaussian"], choices=list(PRIORS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[0], help="training codes; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="seed of maps and scores")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = {key(row) for row in read(options.out)}
    for path in options.runs:
        for row in rows(path, done, options):
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(line(row), flush=True)
    if not options.runs:
        print("\n".join(line(row) for row in read(options.out)))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("run", "method", "prior", "codes", "seed"))


def rows(path: str, done: set[tuple[Any, ...]], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run that do not exist yet."""
    run = name_of(path)
    wanted = [
        (method, prior, size)
        for prior in options.priors
        for size in options.sizes
        for method in options.methods
        if (run, method, prior, size, options.seed) not in done
    ]
    if not wanted:
        return
    trained = open_checkpoint(path, device="cpu")
    images = trained.images(split="test")
    train, held_out = (codes_of(trained, split) for split in ("train", "validation"))
    codes, error = encode_and_reconstruct(trained.model, images)
    judges: dict[str, Judge] = {}
    for method, prior, size in wanted:
        judge = judges.setdefault(prior, Judge(PRIORS[prior](train.shape[1]), large=not options.sizes[0]))
        row = {"run": run, "method": method, "prior": prior, "codes": size, "seed": options.seed}
        row |= {"d": train.shape[1], "psnr": error.psnr}
        if method == AS_TRAINED:
            yield row | judge.scores(codes.latent.sample, options.seed)
            continue
        start = time.process_time()
        fitted = METHODS[method](train[: size or None], held_out, judge.prior, options.seed)
        row["fit seconds"] = time.process_time() - start
        bijection = fitted.bijection if isinstance(fitted, FittedBijection) else fitted
        if isinstance(fitted, FittedBijection):
            row |= {"held-out loss": fitted.held_out_loss, "warnings": fitted.warnings}
        trained.model.flow = bijection
        after, error_after = encode_and_reconstruct(trained.model, images)
        trained.model.flow = None
        row["psnr"] = error_after.psnr
        yield row | nearness(bijection, codes.latent.sample) | judge.scores(after.latent.sample, options.seed)


def codes_of(run: TrainedRun, split: Any) -> Tensor:
    return encode(run.model, run.images(split=split)).latent.sample


def name_of(path: str) -> str:
    """Return the name of the run directory."""
    parts = [part for part in Path(path).parts if part != "checkpoints" and not part.endswith(".pt")]
    return parts[-1]


@torch.no_grad()
def nearness(bijection: Bijection, h: Tensor) -> dict[str, float]:
    """Return the inverse error in deviations of h, and the correlation of each z_i with its nearest h_j."""
    z = bijection(h)
    error = ((bijection.inverse(z) - h).abs() / h.std(0)).max()
    d = h.shape[1]
    nearest = torch.corrcoef(torch.cat([z, h], 1).T)[:d, d:].abs().amax(1)
    return {
        "inverse error": float(error),
        "nearest": float(nearest.mean()),
        "nearest, least": float(nearest.min()),
    }


def line(row: dict[str, Any]) -> str:
    names = [name for name in row if name.startswith(("lps", "match", "pairs", "marginal", "largest"))]
    scores = " ".join(f"{name.removeprefix('lps ')} {row[name]:.4f}" for name in names)
    title = f"{row['run']} {row['method']} {row['prior']} {row['codes'] or 'all'}"
    return f"{title}: {row['psnr']:.4f} dB, {scores}"

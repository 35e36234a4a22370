"""Codes of autoencoders before and after invertible maps: PSNR, LPS, match to the prior.

bench.py sculpt RUN... --out sculpt.jsonl                        # N(0, I): codes as they are, and the map
bench.py sculpt RUN... --out sculpt.jsonl --methods PCA FastICA copula "map by MMD"
bench.py sculpt RUN --out sculpt.jsonl --priors uniform laplace "ring of six" copula "swiss roll"
bench.py sculpt RUN --out sculpt.jsonl --sizes 1000 3000 10000 30000
bench.py sculpt RUN --out sculpt.jsonl --sizes 20000 --refine 10    # codes refined by 10 gradient steps
bench.py sculpt --out sculpt.jsonl                               # print a table of the rows, means over seeds
bench.py sculpt --out sculpt.jsonl --figure frontier.png --others cifar10_d32.json    # and other runs

A RUN is a run directory, or a checkpoint. Every row is one line of JSON in --out. Rows that exist are
skipped, so an interrupted command continues. One row takes one to four minutes of one CPU thread, and less
on a GPU (--device cuda).
"""

import argparse
import json
import statistics
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
from mmdprior.data import thin
from mmdprior.evaluation import encode_and_reconstruct
from mmdprior.evaluation.encode import encode
from mmdprior.figures import frontier
from mmdprior.figures.style import save_figure
from mmdprior.flows import Bijection, FittedBijection
from mmdprior.models import Refinement
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

STUDIED = ("linear", "additive", "mlp", "information")
"""The predictors of the other runs in the figure."""

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
    parser.add_argument("--refine", type=int, default=0, help="gradient steps that refine each code; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="seed of maps and scores")
    parser.add_argument("--device", default="cpu", help="device of networks, maps and scores (cpu)")
    parser.add_argument("--figure", help="draw PSNR against the highest LPS of the rows with 32 dimensions")
    parser.add_argument(
        "--others", help="JSON: [PSNR, deviation, LPS, deviation] by name of other runs to draw"
    )
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
        print(table(groups(read(options.out))))
    if options.figure:
        others = other_runs(Path(options.others)) if options.others else {}
        save_figure(frontier({**others, **points(groups(read(options.out)))}), Path(options.figure))


def other_runs(path: Path) -> dict[str, tuple[float, float, float, float]]:
    """Return PSNR, its deviation, LPS and its deviation by run; a deviation that is null becomes NaN."""
    runs = json.loads(path.read_text())
    return {
        name: tuple(float("nan") if value is None else value for value in values)
        for name, values in runs.items()
    }


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("run", "method", "prior", "codes", "seed"))


def rows(path: str, done: set[tuple[Any, ...]], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run that do not exist yet."""
    run = name_of(path, options.refine)
    wanted = [
        (method, prior, size)
        for prior in options.priors
        for size in options.sizes
        for method in options.methods
        if (run, method, prior, size, options.seed) not in done
    ]
    if not wanted:
        return
    trained = open_checkpoint(path, device=options.device)
    images = trained.images(split="test")
    trained.model.refinement = Refinement(options.refine) if options.refine else None
    most = None if 0 in options.sizes else max(options.sizes)
    codes, error = encode_and_reconstruct(trained.model, images, device=options.device)
    tested = codes.latent.sample.to(options.device)
    if any(method != AS_TRAINED for method, _, _ in wanted):
        train = codes_of(trained, "train", options.device, most)
        held_out = codes_of(trained, "validation", options.device)
    judges: dict[str, Judge] = {}
    for method, prior, size in wanted:
        if prior not in judges:
            intended = PRIORS[prior](tested.shape[1]).to(options.device)
            judges[prior] = Judge(intended, large=not options.sizes[0])
        judge = judges[prior]
        row = {"run": run, "method": method, "prior": prior, "codes": size, "seed": options.seed}
        row |= {} if options.device == "cpu" else {"device": torch.cuda.get_device_name()}
        row |= {"d": tested.shape[1], "psnr": error.psnr}
        if method == AS_TRAINED:
            yield row | judge.scores(tested, options.seed)
            continue
        clock = time.process_time if options.device == "cpu" else time.perf_counter
        start = clock()
        fitted = METHODS[method](some_of(train, size), held_out, judge.prior, options.seed)
        row["fit seconds"] = clock() - start
        bijection = fitted.bijection if isinstance(fitted, FittedBijection) else fitted
        if isinstance(fitted, FittedBijection):
            row |= {"held-out loss": fitted.held_out_loss, "warnings": fitted.warnings}
        trained.model.flow = bijection
        after, error_after = encode_and_reconstruct(trained.model, images, device=options.device)
        trained.model.flow = None
        row["psnr"] = error_after.psnr
        mapped = after.latent.sample.to(options.device)
        yield row | nearness(bijection, tested) | judge.scores(mapped, options.seed)


def some_of(codes: Tensor, size: int) -> Tensor:
    """Return evenly spaced codes, because images are often sorted by class; all of them for 0."""
    size = min(size or len(codes), len(codes))
    return codes[torch.arange(size) * len(codes) // size]


def codes_of(run: TrainedRun, split: Any, device: str, most: int | None = None) -> Tensor:
    """Return the codes of a split, or of at most so many evenly spaced images."""
    images = thin(run.images(split=split), most)
    return encode(run.model, images, device=device).latent.sample.to(device)


def name_of(path: str, refine: int = 0) -> str:
    """Return the name of the run directory; for a study, the name of the run and ``_s`` with its seed."""
    parts = [part for part in Path(path).parts if part != "checkpoints" and not part.endswith(".pt")]
    last = parts[-1]
    refined = f"_refined{refine}" if refine else ""
    if last.startswith("seed_"):
        return f"{parts[-2]}{refined}_s{last.removeprefix('seed_')}"
    return last + refined


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


Group = tuple[tuple[Any, ...], list[dict[str, Any]]]

COLUMNS = {
    "PSNR": "psnr",
    **{
        name: f"lps {name}"
        for name in ("linear", "additive", "mlp", "mlp 256x256x256", "information", "experts")
    },
    "mlp of magnitudes": "lps mlp of |z|",
    "mlp of squares": "lps mlp of z^2",
    "largest R2": "largest R2",
    "match, n = 256": "match 256",
    "pairs, n = 256": "pairs 256",
    "match, n = 10,000": "match 10000",
    "pairs, n = 10,000": "pairs 10000",
    "marginal": "marginal",
    "nearest": "nearest",
    "inverse error": "inverse error",
}


def groups(rows: list[dict[str, Any]]) -> list[Group]:
    """Return rows of runs that differ in their seed only, named ``*_s0``, ``*_s1``, together."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        run = row["run"].rsplit("_s", 1)[0]
        found.setdefault((run, row["method"], row["prior"], row["codes"]), []).append(row)
    return sorted(found.items(), key=lambda group: (group[1][0]["d"], group[0][0], group[0][2]))


def table(found: list[Group]) -> str:
    """Return a Markdown table: means over runs, and their standard deviation from three runs on."""
    titles = ["run", "map", "prior", "codes", "runs", *COLUMNS]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for (run, method, prior, codes), rows in found:
        cells = [run, method, prior, str(codes or "all"), str(len(rows))]
        lines.append(f"| {' | '.join([*cells, *(cell(rows, name) for name in COLUMNS.values())])} |")
    return "\n".join(lines)


def cell(rows: list[dict[str, Any]], name: str) -> str:
    values = [row[name] for row in rows if name in row]
    if not values:
        return ""
    style = (
        ".1e" if name == "inverse error" else ".2f" if name.startswith(("psnr", "match", "pairs")) else ".4f"
    )
    spread = f" ± {statistics.stdev(values):{style}}" if len(values) > 2 else ""
    return f"{statistics.mean(values):{style}}{spread}"


def points(found: list[Group]) -> dict[str, tuple[float, float, float, float]]:
    """Return mean and deviation of PSNR and of the highest LPS of codes behind the map, at d = 32."""
    chosen = {}
    for (run, method, prior, codes), rows in found:
        if method == "map" and prior == "gaussian" and not codes and rows[0]["d"] == 32:
            highest = [max(row[f"lps {name}"] for name in STUDIED) for row in rows]
            psnr = [row["psnr"] for row in rows]
            chosen[f"{run.rsplit('_d', 1)[0]} + map"] = (*spread_of(psnr), *spread_of(highest))
    return chosen


def spread_of(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")

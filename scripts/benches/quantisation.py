"""Bits per image against PSNR: autoencoders quantised after training, and trained with a quantiser.

bench.py quantisation --rows ROWS data.root=DIR trainer.device=cuda    # train what is missing
bench.py quantisation --rows ROWS                                      # print the table
bench.py quantisation --rows ROWS --figure rate.png                    # and draw PSNR over bits

ROWS has one line of JSON per run of the plan, and one per run without a penalty whose codes were given a box
prior by a map. Runs that have their rows are skipped, and interrupted ones continue.
"""

import argparse
import itertools
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mmdprior.build.restore import TrainedRun, open_checkpoint
from mmdprior.cli.train import main as train
from mmdprior.figures.style import line_style, new_figure, save_figure, styled
from mmdprior.flows import FlowSettings
from mmdprior.priors import Uniform
from mmdprior.runs.execute import Job, JobPool
from mmdprior.runs.plan import Plan, read_plan
from mmdprior.scoring.quantise import CodeQuantiser
from mmdprior.scoring.sculpt import Sculptor
from mmdprior.training.checkpoint import write_checkpoint

PLAN = Path(__file__).parents[2] / "configs" / "semantics" / "quantisation.yaml"
LEVELS = (2, 3, 4, 8, 16)
EQUAL, ALLOCATED = ("lloyd", "uniform", "quantile"), ("allocated",)
"""Cells with equal numbers of levels in all dimensions, and others, which are fitted to training codes."""
REFERENCE = "vae"
MAP = "_map"
"""End of the name of rows of a run whose codes were given a box prior by a map."""

Row = dict[str, Any]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.py quantisation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", required=True, type=Path, help="file of rows, one JSON object per line")
    parser.add_argument("--plan", default=str(PLAN), help="the study")
    parser.add_argument("--runs", default="runs", help="folder of the run directories (runs)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, also on one GPU (1)")
    parser.add_argument("--map-steps", type=int, default=1000, help="updates of the map to a box (1000)")
    parser.add_argument("--limit", type=int, help="images that are scored (10,000)")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="runs of the plan, by name (all)")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--figure", help="draw PSNR over bits per image here")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="settings of all runs")
    options = parser.parse_intermixed_args(arguments)
    warnings.simplefilter("ignore")
    plan = read_plan(options.plan, options.overrides, "study")
    names = sorted({run.name for run in plan.runs})
    if unknown := sorted(set(options.only or []) - set(names)):
        parser.error(f"--only: {unknown[0]} received; give runs of {options.plan}: {', '.join(names)}")
    if options.inside:
        torch.set_num_threads(1)
        (run,) = [run for run in plan.runs if run.label == options.inside]
        for row in rows_of_run(run, options):
            append(options.rows, row)
        return 0
    failed = train_missing(plan, options, arguments) if options.overrides else False
    rows = read(options.rows)
    print(table(rows))
    if options.figure and rows:
        save_figure(figure(rows), Path(options.figure))
    return 2 if failed else 0


def train_missing(plan: Plan, options: argparse.Namespace, arguments: list[str]) -> bool:
    """Run every run of the plan that has no row, in a process of its own; return whether one failed."""
    done = {(row["run"], row["seed"]) for row in read(options.rows)}
    wanted = [run for run in plan.runs if not options.only or run.name in options.only]
    command = [sys.executable, str(Path(__file__).parents[1] / "bench.py"), "quantisation"]
    settings = ["--rows", str(options.rows), "--plan", options.plan, "--runs", options.runs]
    settings += ["--map-steps", str(options.map_steps), *options.overrides]
    settings += [] if options.limit is None else ["--limit", str(options.limit)]
    jobs = [
        Job(run.label, [*command, *settings, "--inside", run.label], run.log(options.runs))
        for run in wanted
        if (run.name, run.seed) not in done
    ]
    pool = JobPool(options.jobs, lambda line: print(line, flush=True))
    return any(status != 0 for status in pool.run(jobs).values())


def rows_of_run(run: Any, options: argparse.Namespace) -> Iterator[Row]:
    """Train a run, unless it is finished, and yield its row; without a penalty, first that of the map."""
    directory = run.directory(options.runs)
    if train([*run.settings(), "--directory", str(directory)]) != 0:
        raise SystemExit(f"{run.label}: not trained")
    trained = open_checkpoint(directory, device=run.load().trainer.device)
    own = row(run.name, trained, options)
    if run.load().regularizer.penalty.name == "none" and trained.model.quantiser is None:
        settings = FlowSettings(steps=options.map_steps)
        device = str(trained.device)
        sculptor = Sculptor("{name: uniform}", settings, predictors=["linear"], device=device, limit=50_000)
        _, content = sculptor.run(trained)
        file = directory / "checkpoints" / "map.pt"
        write_checkpoint(content, file)
        yield row(run.name + MAP, open_checkpoint(file, device=device), options)
    yield own


def row(name: str, trained: TrainedRun, options: argparse.Namespace) -> Row:
    """Return the scores of a model with its own quantiser, or with all kinds of cells and all levels."""
    box = ("box",) if isinstance(trained.prior, Uniform) else ()
    kinds = (*box, *EQUAL, *ALLOCATED) if trained.model.quantiser is None else ("own",)
    quantiser = CodeQuantiser(LEVELS, kinds, ["linear"], limit=options.limit)
    return {"run": name, "seed": trained.config.seed, **quantiser.run(trained).to_dict()}


def append(path: Path, line: Row) -> None:
    """Append a row in one write, so that rows of other processes stay whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(short(line), separators=(",", ":")) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, text.encode())
    os.close(file)


def short(value: Any) -> Any:
    """Return numbers with six significant digits, at any depth."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: short(entry) for key, entry in value.items()}
    return [short(entry) for entry in value] if isinstance(value, list) else value


def read(path: Path) -> list[Row]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def curve(row: Row, kinds: tuple[str, ...]) -> list[tuple[float, float]]:
    """Return (index bits per dimension, PSNR) of the best kinds of cells, increasing."""
    points = sorted((r["entropy_bits"], r["psnr"]) for r in row["rows"] if r["bins"] in kinds)
    best: list[tuple[float, float]] = []
    for bits, psnr in points:
        if not best or psnr > best[-1][1]:
            best.append((bits, psnr))
    return best


def at(points: list[tuple[float, float]], bits: float) -> float | None:
    """Return the PSNR of a curve at a number of bits, interpolated; None outside of the curve."""
    for (low, first), (high, second) in itertools.pairwise(points):
        if low <= bits <= high:
            return first + (second - first) * (bits - low) / (high - low)
    return None


COLUMNS = ("d", "run", "seed", "cells", "levels", "bits per dimension", "of log2 L", "bits per image")
RATIOS = ("usage", "PSNR (dB)", "over VAE, equal levels", "over VAE, allocated", "code error / cell error")


def table(rows: list[Row]) -> str:
    """Return a Markdown table of all rows, with the gain over the VAE at equal entropy of the indices."""
    vaes = {(row["dim"], row["seed"]): row for row in rows if row["run"].split("_d")[0] == REFERENCE}
    titles = [*COLUMNS, *RATIOS, "LPS linear"]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in sorted(rows, key=lambda row: (row["dim"], row["run"].split("_d")[0])):
        vae = vaes.get((row["dim"], row["seed"]))
        for r in row["rows"]:
            names = [str(row["dim"]), row["run"], str(row["seed"]), r["bins"], str(r["levels"])]
            lines.append(f"| {' | '.join([*names, *measurements(r, vae)])} |")
    return "\n".join(lines)


def measurements(r: Row, vae: Row | None) -> list[str]:
    """Return the numbers of a line of the table."""
    share = None if r["bins"] == "allocated" else r["index_bits"] / r["level_bits"]
    references = [
        None if vae is None else at(curve(vae, kinds), r["entropy_bits"]) for kinds in (EQUAL, ALLOCATED)
    ]
    gains = [None if psnr is None else r["psnr"] - psnr for psnr in references]
    error = None if r["cell_mse"] is None else r["code_mse"] / r["cell_mse"]
    return [
        f"{r['entropy_bits']:.3f}",
        number(share, ".3f"),
        f"{r['index_bits']:.1f}",
        f"{r['usage']:.3f}",
        f"{r['psnr']:.2f}",
        *(number(gain, "+.2f") for gain in gains),
        number(error, ".2f"),
        number(r["lps"]["linear"], ".4f"),
    ]


def number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def figure(rows: list[Row]) -> Any:
    """Return PSNR over the bits of the indices per image, one panel per number of dimensions."""
    dims = sorted({row["dim"] for row in rows})
    with styled():
        drawing = new_figure(5.0 * len(dims), 4.0)
        for axes, dim in zip(drawing.subplots(1, len(dims), squeeze=False)[0], dims, strict=True):
            lines: dict[str, list[tuple[float, float]]] = {}
            for row in (row for row in rows if row["dim"] == dim):
                name = row["run"].replace(f"_d{dim}", "")
                if row["rows"][0]["bins"] == "own":  # runs that differ in their levels are one line
                    family = name.rstrip("0123456789")
                    lines.setdefault(family.rstrip("_"), []).extend(curve(row, ("own",)))
                else:
                    lines[f"{name}, equal levels"] = curve(row, ("box", *EQUAL))
                    lines[f"{name}, allocated"] = curve(row, ALLOCATED)
            for index, (name, points) in enumerate(lines.items()):
                axes.plot(
                    [bits * dim for bits, _ in sorted(points)],
                    [p for _, p in sorted(points)],
                    **line_style(index),
                    label=name,
                    markersize=4,
                    linewidth=1,
                )
            axes.set_title(f"d = {dim}")
            axes.set_xlabel("entropy of the indices (bits per image)")
            axes.set_ylabel("PSNR (dB)")
            axes.legend(fontsize=6)
    return drawing

"""Bias, spread and ranks of every predictor on known dependences, and agreement on trained models."""

import argparse
import itertools
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.scores.calibration import EXACT
from benches.scores.families import Family, families
from benches.scores.trained import agreement, default_models, print_agreement, scored, spearman
from benches.scores.validation_figure import draw
from scipy import stats

from mmdprior import lps
from mmdprior.results import finite_or_none

KEY = ("predictor", "d", "n", "family", "level", "repeat")

Cell = dict[str, Any]


def validate(options: argparse.Namespace) -> None:
    """Compute the entries that the JSON lacks, print the summary, draw the figure."""
    out = Path(options.out)
    results = json.loads(out.read_text()) if out.exists() else {"cells": [], "models": {}}
    known = {tuple(cell[name] for name in KEY) for cell in results["cells"]}
    for d, n, predictor in itertools.product(options.dims, options.sizes, options.predictor):
        for family, repeat in itertools.product(families(d), range(options.repeats)):
            if (predictor, d, n, family.name, family.level, repeat) not in known:
                results["cells"].append(measured(family, predictor, d, n, repeat))
        write(out, results)
        print(f"{predictor} d {d} n {n} done", flush=True)
    for path in default_models(out.with_suffix("")) if options.codes is None else options.codes:
        if str(path) not in results["models"]:
            results["models"][str(path)] = scored(path, options.limit)
            write(out, results)
    results["summary"] = summary(results["cells"])
    print_summary(results["summary"])
    if results["models"]:
        results["agreement"] = agreement(results["models"])
        print_agreement(results["agreement"])
    write(out, results)
    if options.figure:
        draw(results, options.figure)


def write(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def measured(family: Family, predictor: str, d: int, n: int, repeat: int) -> Cell:
    """Score one draw of a family. Only exact predictors use shuffled copies, which correct the score."""
    codes = family.draw(n, torch.Generator().manual_seed(repeat))
    start = time.perf_counter()
    null = int(predictor in EXACT)
    result = lps(codes, predictor, seed=repeat, null=null, permutations=0, bootstrap=0)
    cell: Cell = dict(zip(KEY, (predictor, d, n, family.name, family.level, repeat), strict=True))
    cell |= {"score": result.score, "mean_r2": result.mean_r2}
    cell |= {"corrected_r2": result.corrected_r2} if null else {}
    reach = {"target": family.target(predictor), "dependence": family.dependence}
    return cell | reach | {"seconds": time.perf_counter() - start}


def summary(cells: list[Cell]) -> list[Cell]:
    """Compute bias, spread and rank correlation with the true dependence, by predictor, d and n."""
    groups: dict[tuple[Any, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell["predictor"], cell["d"], cell["n"]].append(cell)
    return [{"predictor": p, "d": d, "n": n, **_summary(group)} for (p, d, n), group in groups.items()]


def _summary(cells: list[Cell]) -> Cell:
    by_family: dict[tuple[str, float], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_family[cell["family"], cell["level"]].append(cell)
    rows = list(by_family.values())
    target, truth = (np.array([row[0][name] for row in rows]) for name in ("target", "dependence"))
    score = np.array([np.mean([cell["score"] for cell in row]) for row in rows])
    variances = [np.var([cell["score"] for cell in row], ddof=1) for row in rows if len(row) > 1]
    copula = np.array([family in ("gaussian", "uniform") for family, _ in by_family])
    independent = truth == 0
    largest = int(np.abs(score - target).argmax())
    kind, level = list(by_family)[largest]
    return {
        "bias": float((score - target).mean()),
        "bias_independent": float((score - target)[independent].mean()),
        "largest_bias": float((score - target)[largest]),
        "largest_bias_at": f"{kind} {level:g}",
        "spread": float(np.sqrt(np.mean(variances))) if variances else None,
        "spearman": spearman(score, truth),
        "kendall": finite_or_none(float(stats.kendalltau(score, truth).statistic)),
        "spearman_copulas": spearman(score[copula], truth[copula]),
        "spearman_target": spearman(target, truth),
        "families": len(rows),
        "repeats": max(len(row) for row in rows),
    }


def print_summary(rows: list[Cell]) -> None:
    print("LPS minus population R2, its spread over draws, its rank correlation with true dependence")
    print(
        "predictor    d      n     bias  independent  largest              spread  Spearman Kendall copulas"
    )
    for row in rows:
        row = {name: float("nan") if value is None else value for name, value in row.items()}
        worst = f"{row['largest_bias']:+.3f} {row['largest_bias_at']}"
        off = f"{row['bias']:+8.4f} {row['bias_independent']:+12.4f}  {worst:20} {row['spread']:6.4f}"
        ranks = f"{row['spearman']:9.3f} {row['kendall']:7.3f} {row['spearman_copulas']:7.3f}"
        print(f"{row['predictor']:11} {row['d']:2} {row['n']:6} {off} {ranks}")

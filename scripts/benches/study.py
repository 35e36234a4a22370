"""The study of independence against disentanglement: table, rank correlations and figures of its rows.

bench.py study ROWS.jsonl
bench.py study ROWS.jsonl --alignment ALIGNMENT.json --runs runs/dsprites_study
bench.py study ROWS.jsonl --alignment ALIGNMENT.json --figures FOLDER

--runs adds MCC and MIG before and after the best rotation and FastICA, from the codes that finished runs
saved, to the file of --alignment. Entries that exist are kept.
"""

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from mmdprior.figures.style import COLOURS, MARKERS, new_figure, save_figure, styled
from mmdprior.metrics import alignment

PREDICTORS = ("linear", "additive", "mlp", "information")
SCORES = {
    "beta-VAE": "beta_vae",
    "FactorVAE": "factor_vae",
    "MIG": "mig",
    "DCI D": "dci_disentanglement",
    "DCI C": "dci_completeness",
    "DCI I": "dci_informativeness",
    "SAP": "sap",
    "modularity": "modularity",
    "explicitness": "explicitness",
    "IRS": "irs",
    "MCC": "mcc_pearson",
}
ROTATED = {"MCC codes": "codes", "MCC rotated": "rotation", "MCC FastICA": "ica"}

Row = dict[str, Any]
Values = dict[str, float]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="file of rows, one JSON object per line")
    parser.add_argument("--runs", type=Path, help="folder of the study's runs, whose codes are aligned")
    parser.add_argument("--alignment", type=Path, help="JSON file of scores before and after alignment")
    parser.add_argument("--figures", type=Path, help="folder to which both figures are written")
    options = parser.parse_args(arguments)
    if options.runs and options.alignment:
        align(options.runs, options.alignment)
    aligned = read_json(options.alignment) if options.alignment else {}
    runs = [values_of(row, aligned) for row in map(json.loads, options.rows.read_text().splitlines())]
    configurations = grouped(runs)
    print(table(configurations))
    print()
    print(correlations([values for _, values in runs]))
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
        save_figure(scatter(configurations), options.figures / "lps_mig.png")
        save_figure(parallel(configurations), options.figures / "scores.png")


def align(folder: Path, path: Path) -> None:
    """Add scores before and after alignment of every finished run that the file lacks."""
    found = read_json(path)
    for codes in sorted(folder.glob("*/seed_*/report/codes.npz")):
        name = "/".join(codes.parts[-4:-2])
        if name in found or not (codes.parent / "test.json").exists():
            continue
        arrays = np.load(codes, allow_pickle=False)
        if not arrays["active"].any():
            continue
        names = [str(text) for text in arrays["label_names"]]
        result = alignment(arrays["mean"], arrays["labels"], names=names)
        found[name] = {
            kind: {score: round(float(scores[score]), 4) for score in ("mig", "mcc_pearson")}
            for kind, scores in result.scores.items()
        }
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def values_of(row: Row, aligned: dict[str, Any]) -> tuple[str, Values]:
    """Return the name of a row's configuration and its numbers by title; NaN for missing ones."""
    test, name = row["test"], row["config"]["name"].rsplit("/", 1)[-1]
    dependence = {
        entry["predictor"]: entry["score"] for entry in test["lps"] if entry["representation"] == "mean"
    }
    scores = test["disentanglement"]["scores"]
    rotated = aligned.get(f"{name}/seed_{row['config']['seed']}", {})
    values = {
        "d": row["config"]["model"]["latent_dim"],
        "PSNR": test["reconstruction"]["psnr"],
        **{f"LPS {predictor}": dependence.get(predictor) for predictor in PREDICTORS},
        "TC": test["independence"]["mean"]["total_correlation"],
        "active": sum(test["disentanglement"]["active"]),
        **{title: scores.get(key) for title, key in SCORES.items()},
        **{title: rotated.get(kind, {}).get("mcc_pearson") for title, kind in ROTATED.items()},
    }
    return name, {title: math.nan if value is None else float(value) for title, value in values.items()}


def grouped(runs: Sequence[tuple[str, Values]]) -> dict[str, list[Values]]:
    """Return the values of every seed by configuration, in order of dimensions and names."""
    found: dict[str, list[Values]] = {}
    for name, values in sorted(runs, key=lambda run: (-run[1]["d"], run[0])):
        found.setdefault(name, []).append(values)
    return found


def table(configurations: dict[str, list[Values]]) -> str:
    """Return a Markdown table: means over seeds, and standard deviations from three seeds on."""
    titles = list(next(iter(configurations.values()))[0])
    lines = [f"| run | seeds | {' | '.join(titles)} |", "|" + "---|" * (len(titles) + 2)]
    for name, seeds in configurations.items():
        cells = [cell(title, [values[title] for values in seeds]) for title in titles]
        lines.append(f"| `{name}` | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(title: str, values: list[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    digits = {"d": 0, "active": 0, "PSNR": 2, "TC": 2}.get(title, 3)
    spread = f" ± {statistics.stdev(finite):.{digits}f}" if len(finite) > 2 and digits else ""
    return f"{statistics.mean(finite):.{digits}f}{spread}"


def correlations(runs: Sequence[Values]) -> str:
    """Return Spearman's correlation of numbers without labels and supervised scores, as a Markdown table."""
    rows = ["PSNR", *(f"LPS {predictor}" for predictor in PREDICTORS), "TC"]
    lines = [f"| over {len(runs)} runs | {' | '.join(SCORES)} |", "|" + "---|" * (len(SCORES) + 1)]
    for name in rows:
        cells = [f"{rank_correlation(runs, name, title):+.2f}" for title in SCORES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rank_correlation(runs: Sequence[Values], first: str, second: str) -> float:
    pairs = np.array([[values[first], values[second]] for values in runs])
    pairs = pairs[np.isfinite(pairs).all(1)]
    return float(spearmanr(pairs).statistic) if len(pairs) > 3 else math.nan


def _mean(seeds: Sequence[Values], title: str) -> float:
    finite = [values[title] for values in seeds if math.isfinite(values[title])]
    return statistics.mean(finite) if finite else math.nan


def scatter(configurations: dict[str, list[Values]]) -> Figure:
    """Draw LPS by every predictor against MIG, one point per configuration, with rank correlations."""
    with styled():
        figure = new_figure(11.0, 3.4)
        axes = figure.subplots(1, len(PREDICTORS), sharey=True)
        for axis, predictor in zip(axes, PREDICTORS, strict=True):
            title = f"LPS {predictor}"
            for d, marker, colour in ((10, MARKERS[0], COLOURS[0]), (6, MARKERS[1], COLOURS[1])):
                points = [
                    (_mean(seeds, title), _mean(seeds, "MIG"), name)
                    for name, seeds in configurations.items()
                    if seeds[0]["d"] == d
                ]
                x, y = [p[0] for p in points], [p[1] for p in points]
                axis.scatter(x, y, marker=marker, color=colour, s=18, label=f"d = {d}")
            runs = [values for seeds in configurations.values() for values in seeds]
            axis.set_title(f"rank correlation {rank_correlation(runs, title, 'MIG'):+.2f}", fontsize=9)
            axis.set_xlabel(title)
        axes[0].set_ylabel("MIG")
        axes[0].legend(fontsize=8)
        return figure


def parallel(configurations: dict[str, list[Values]]) -> Figure:
    """Draw every score as one axis, scaled to its range, with one line per configuration at d = 10."""
    titles = ["PSNR", *(f"LPS {predictor}" for predictor in PREDICTORS), *SCORES]
    shown = {name: seeds for name, seeds in configurations.items() if seeds[0]["d"] == 10}
    table_ = np.array([[_mean(seeds, title) for title in titles] for seeds in shown.values()])
    low, high = np.nanmin(table_, 0), np.nanmax(table_, 0)
    scaled = (table_ - low) / np.where(high > low, high - low, 1.0)
    with styled():
        figure = new_figure(12.0, 5.2)
        axis = figure.subplots()
        for i, (name, line) in enumerate(zip(shown, scaled, strict=True)):
            style = {
                "color": COLOURS[i % len(COLOURS)],
                "marker": MARKERS[(i // len(COLOURS)) % len(MARKERS)],
            }
            axis.plot(range(len(titles)), line, lw=1.0, ms=4, label=name, **style)
        labels = [f"{t}\n{a:.2f} to {b:.2f}" for t, a, b in zip(titles, low, high, strict=True)]
        axis.set_xticks(range(len(titles)), labels, rotation=45, ha="right", fontsize=7)
        axis.set_yticks([0, 1], ["lowest", "highest"])
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
        return figure

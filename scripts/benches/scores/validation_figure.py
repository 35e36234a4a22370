"""Figure of the validation: small multiples, one column per predictor."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "gaussian": "#1b6ca8",
    "uniform": "#6bb1de",
    "bimodal": "#9a9a9a",
    "clusters": "#2a9d5c",
    "ring": "#d1495b",
    "sphere": "#f2a2ac",
    "parabola": "#e09f1f",
    "xor": "#7b4fa3",
    "duplicate": "#222222",
}
LINES = ("-", "--", ":")

Cells = list[dict[str, Any]]


def draw(results: dict[str, Any], path: str) -> None:
    """Draw the figure and save it in the format of the path."""
    cells = results["cells"]
    predictors = list(dict.fromkeys(cell["predictor"] for cell in cells))
    figure = Figure(figsize=(2.3 * len(predictors), 6.6), layout="constrained")
    rows = 3 if "agreement" in results else 2
    axes = figure.subplots(rows, len(predictors), squeeze=False, sharey="row")
    for column, predictor in zip(axes.T, predictors, strict=True):
        own = [cell for cell in cells if cell["predictor"] == predictor]
        d, n = _finest(own)
        same = (d, n) == _finest(cells)
        column[0].set_title(predictor if same else f"{predictor}, n = {n:,}", fontsize=10)
        scores(column[0], own)
        bias(column[1], own)
        if len(column) > 2:
            models(column[2], results["agreement"], predictor)
    for row, label in zip(axes, ("LPS", "LPS minus\npopulation R2", "LPS of trained models"), strict=False):
        row[0].set_ylabel(label, fontsize=9)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    d, n = _finest(cells)
    marks = [axes[0, 0].plot([], [], "o", color=c, ms=4)[0] for c in COLOURS.values()]
    title = f"known dependence, d = {d}, n = {n:,}: dot LPS, bar population R2 of the predictor"
    figure.legend(
        marks,
        COLOURS,
        loc="outside upper center",
        ncols=len(COLOURS),
        fontsize=7.5,
        frameon=False,
        title=title,
        title_fontsize=8.5,
        columnspacing=1.0,
        handletextpad=0.2,
    )
    figure.savefig(path, dpi=110)


def _finest(cells: Cells) -> tuple[int, int]:
    """Return the smallest d, and the largest n that was measured for it."""
    d = min(cell["d"] for cell in cells)
    return d, max(cell["n"] for cell in cells if cell["d"] == d)


def scores(axis: Axes, cells: Cells) -> None:
    """Draw LPS against the true dependence of every family."""
    d, n = _finest(cells)
    axis.plot([0, 1], [0, 1], color="#dddddd", lw=1, zorder=0)
    rows: dict[tuple[str, float], Cells] = {}
    for cell in cells:
        if (cell["d"], cell["n"]) == (d, n):
            rows.setdefault((cell["family"], cell["level"]), []).append(cell)
    for (family, _), row in rows.items():
        x, reach = row[0]["dependence"], row[0]["target"]
        score = np.mean([cell["score"] for cell in row])
        axis.plot([x, x], [score, reach], color=COLOURS[family], lw=0.8, alpha=0.6)
        axis.plot(x, reach, "_", color=COLOURS[family], ms=7)
        axis.plot(x, score, "o", color=COLOURS[family], ms=3.5)
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    axis.set_xlabel("true dependence", fontsize=8)


def bias(axis: Axes, cells: Cells) -> None:
    """Draw the median and the 10 to 90 % range of LPS minus the population R2, one line per d."""
    axis.axhline(0, color="#dddddd", lw=1, zorder=0)
    for line, d in zip(LINES, sorted({cell["d"] for cell in cells}), strict=False):
        sizes = sorted({cell["n"] for cell in cells if cell["d"] == d})
        off = [[c["score"] - c["target"] for c in cells if (c["d"], c["n"]) == (d, n)] for n in sizes]
        low, middle, high = np.array([np.quantile(each, [0.1, 0.5, 0.9]) for each in off]).T
        colour = "#1b6ca8" if line == "-" else "#d1495b"
        axis.fill_between(sizes, low, high, color=colour, alpha=0.15, lw=0)
        axis.plot(sizes, middle, line, color=colour, lw=1.2, marker=".", ms=4, label=f"d = {d}")
    axis.set_xscale("log")
    axis.set_xticks(every := sorted({cell["n"] for cell in cells}), [f"{n:,}" for n in every])
    axis.minorticks_off()
    axis.set_xlabel("n codes (median, 10 to 90 % of families)", fontsize=7)
    axis.legend(fontsize=7, frameon=False, loc="lower right")


def models(axis: Axes, agreement: dict[str, Any], predictor: str) -> None:
    """Draw LPS of trained models with error bars over predictor seeds and splits."""
    scores = agreement["scores"][predictor]
    error = np.hypot(agreement["predictor_seeds"][predictor], agreement["splits"][predictor])
    labels = [_short(name) for name in agreement["codes"]]
    axis.bar(range(len(scores)), scores, color="#6bb1de")
    axis.errorbar(range(len(scores)), scores, yerr=error, fmt="none", ecolor="#222222", lw=0.8)
    axis.set_xticks(range(len(scores)), labels, rotation=90)


def _short(name: str) -> str:
    """Return a short label: the name of the run for a checkpoint, the stem for other files."""
    path, _, kind = name.rpartition(" ")
    parts = path.split("/")
    run = parts[-4] if parts[-2:-1] == ["checkpoints"] and len(parts) > 3 else parts[-1].rpartition(".")[0]
    return run if kind == "mean" else f"{run} {kind}"

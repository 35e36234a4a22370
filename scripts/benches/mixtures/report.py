"""Tables and figure of the rows of the benchmark of mixtures of experts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmdprior.figures.style import FAINT, line_style, new_figure, save_figure, styled

__all__ = ["figure", "tables", "title"]

Row = dict[str, Any]
METHODS = {
    "em": "EM, exact",
    "em_1": "EM, 1 Newton step",
    "gradient": "gradient descent",
    "gradient_em": "gradient EM, 5 steps",
    "adam": "Adam",
}


def title(setting: Row) -> str:
    """Return the values of a setting in one line."""
    return " ".join(f"{k}={v}" for k, v in setting.items() if not isinstance(v, (list, dict)))


def tables(rows: list[Row]) -> str:
    """Return a Markdown table of each experiment with rows."""
    parts = []
    for name, table in (
        ("rates", rate_table),
        ("symmetric", cost_table),
        ("several", cost_table),
        ("inverted_mnist", mnist_table),
    ):
        own = [row for row in rows if row["setting"]["experiment"] == name]
        if own:
            parts.append("\n".join([f"{name}", "", *table(own)]))
    return "\n\n".join(parts)


def markdown(heads: list[str], lines: list[list[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    for cells in (heads, ["---"] * len(heads), *lines):
        yield f"| {' | '.join(cells)} |"


def spread(values: list[float | None] | None, scale: float = 1.0, digits: int = 3) -> str:
    """Return median and quartiles."""
    if values is None or values[1] is None:
        return "-"
    low, middle, high = (None if v is None else f"{v * scale:.{digits}g}" for v in values)
    return f"{middle} ({low or '-'} to {high or '-'})"


def rate_table(rows: list[Row]) -> Iterator[str]:
    lines = []
    for row in rows:
        setting, result = row["setting"], row["result"]
        lines.append(
            [
                setting["family"],
                f"{setting['snr']:g}",
                f"{result['exists']} of {setting['seeds']}",
                spread(result.get("predicted")),
                spread(result.get("measured")),
                f"{100 * result['largest_difference']:.2g} %" if result["exists"] else "-",
                spread(result["iterations"]),
                spread(result["start_error"]),
                spread(result["error"]),
            ]
        )
    heads = ["family", "SNR", "maximiser exists", "predicted rate", "measured rate", "largest difference"]
    return markdown([*heads, "iterations to 1e-6", "error of the start", "error of the fixed point"], lines)


def cost_table(rows: list[Row]) -> Iterator[str]:
    """Return iterations, gradients, milliseconds and the share of problems that reached the goal."""
    names = [name for name in ("family", "n", "snr", "experts", "start") if name in rows[0]["setting"]]
    lines = []
    for row in rows:
        for name, method in row["result"]["methods"].items():
            lines.append(
                [
                    *(str(row["setting"][key]) for key in names),
                    METHODS[name],
                    f"{method['reached']} of {method['problems']}",
                    spread(method["iterations"]),
                    spread(method["gradients"]),
                    spread(method["seconds"], 1000),
                    "" if name.startswith("em") else spread(method["step_size"]),
                ]
            )
    heads = ["method", "reached", "iterations", "gradients", "ms per problem", "step size"]
    return markdown([*names, *heads], lines)


def mnist_table(rows: list[Row]) -> Iterator[str]:
    lines = []
    for row in rows:
        setting, result = row["setting"], row["result"]
        accuracy, loss = (np.array(result["final"][name]) for name in ("accuracy", "cross_entropy"))
        path, (goal, least) = result.get("path"), goals(row, rows)
        lines.append(
            [
                str(setting["features"]),
                str(setting["train"]),
                str(setting["experts"] or "-"),
                {**METHODS, "em": METHODS["em_1"], "mlp": "MLP"}[setting["method"]],
                f"{100 * accuracy.mean():.2f} ± {100 * accuracy.std():.2f}",
                f"{loss.mean():.3f} ± {loss.std():.3f}",
                "" if path is None else f"{np.mean(path['objective'][-1]):.4f}",
                *reached(path, goal),
                first_accurate(path, least),
                purity(result.get("confusion")),
                f"{result.get('step_size') or ''}",
            ]
        )
    heads = ["features", "images", "experts", "method", "held-out accuracy (%)", "cross-entropy (nats)"]
    heads += ["objective", "iterations", "gradients", "seconds", "iterations to accuracy"]
    heads += ["sorted by inversion (%)", "step size"]
    return markdown(heads, lines)


def goals(row: Row, rows: list[Row]) -> tuple[float, float]:
    """Return the objective and the accuracy to reach, among rows with as many experts on the same data.

    They are the least mean objective plus 0.001, and the highest mean accuracy at the end minus 0.002; NaN
    without other rows.
    """
    keys = ("features", "train", "experts", "seeds", "start")
    same = [
        other["result"]
        for other in rows
        if "path" in other["result"] and all(other["setting"].get(k) == row["setting"][k] for k in keys)
    ]
    if len(same) < 2:
        return np.nan, np.nan
    objectives = [float(np.mean(result["path"]["objective"], 1).min()) for result in same]
    accuracies = [float(np.mean(result["final"]["accuracy"])) for result in same]
    return min(objectives) + 0.001, max(accuracies) - 0.002


def first_accurate(path: Row | None, least: float) -> str:
    """Return median and range over seeds of the first iteration with a held-out accuracy."""
    if path is None or np.isnan(least):
        return ""
    accurate = np.array(path["accuracy"]) >= least
    first = np.where(accurate.any(0), np.array(path["iterations"])[accurate.argmax(0)], np.inf)
    low, middle, high = (
        f"{v:g}" if np.isfinite(v) else "-" for v in np.quantile(first, [0, 0.5, 1], method="lower")
    )
    return f"{middle} ({low} to {high})"


def reached(path: Row | None, goal: float) -> list[str]:
    """Return iterations, gradients and seconds until the mean objective is at the goal."""
    if path is None or np.isnan(goal):
        return ["", "", ""]
    below = np.flatnonzero(np.mean(path["objective"], 1) <= goal)
    if not len(below):
        return [f"> {path['iterations'][-1]}", f"> {path['gradients'][-1]}", f"> {path['seconds'][-1]:.3g}"]
    first = below[0]
    return [str(path["iterations"][first]), str(path["gradients"][first]), f"{path['seconds'][first]:.3g}"]


def purity(confusion: list[list[list[int]]] | None) -> str:
    """Return the share of images whose expert takes mostly images of their kind, plain or inverted."""
    if confusion is None:
        return ""
    counts = np.array(confusion)  # (p, 2, K)
    shares = counts.max(1).sum(1) / counts.sum((1, 2))
    return f"{100 * shares.mean():.2f} ± {100 * shares.std():.2f}"


def figure(rows: list[Row], path: Path) -> None:
    """Draw rates, costs on symmetric mixtures, and held-out accuracy on inverted MNIST."""
    with styled():
        sheet = new_figure(10.5, 3.4)
        axes = sheet.subplots(1, 3)
        panels = {"rates": draw_rates, "symmetric": draw_costs, "inverted_mnist": draw_accuracy}
        for panel, (name, draw) in zip(axes, panels.items(), strict=True):
            own = [row for row in rows if row["setting"]["experiment"] == name]
            if own:
                draw(panel, own)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(sheet, path, dpi=130)


def draw_rates(axes: Any, rows: list[Row]) -> None:
    for index, family in enumerate(dict.fromkeys(row["setting"]["family"] for row in rows)):
        own = [r for r in rows if r["setting"]["family"] == family and r["result"]["exists"]]
        if not own:
            continue
        snr = [row["setting"]["snr"] for row in own]
        style = line_style(index)
        predicted = [row["result"]["predicted"][1] for row in own]
        axes.plot(snr, predicted, color=style["color"], label=f"{family}, predicted")
        measured = np.array([row["result"]["measured"] for row in own]).T
        axes.errorbar(
            snr,
            measured[1],
            yerr=[measured[1] - measured[0], measured[2] - measured[1]],
            fmt=style["marker"],
            color=style["color"],
            label=f"{family}, measured",
        )
    axes.set(xscale="log", xlabel="signal-to-noise ratio", ylabel="linear rate of EM", ylim=(0, 1.05))
    axes.set_xticks([0.125, 0.5, 2, 8], ["0.125", "0.5", "2", "8"])
    axes.set_xticks([], minor=True)
    axes.set_title("Rate and missing information")
    axes.legend(fontsize=7)


def draw_costs(axes: Any, rows: list[Row]) -> None:
    """Draw median iterations of each method per setting, against those of EM."""
    limit = max((row["setting"]["iterations"] for row in rows), default=1)
    for index, (name, label) in enumerate(METHODS.items()):
        if name == "em":
            continue
        pairs = []
        for row in rows:
            middle = [row["result"]["methods"][key]["iterations"][1] for key in ("em", name)]
            pairs.append([limit if value is None else max(value, 1) for value in middle])
        style = line_style(index)
        axes.plot(*np.array(pairs).T, style["marker"], color=style["color"], label=label, ms=4, alpha=0.8)
    axes.plot([1, limit], [1, limit], color=FAINT, lw=0.8)
    axes.set(xscale="log", yscale="log", xlabel="iterations of exact EM", ylabel="iterations of the method")
    axes.set_title("To within 0.001 of the best objective")
    axes.legend(fontsize=7)


def draw_accuracy(axes: Any, rows: list[Row]) -> None:
    """Draw held-out accuracy against iterations, for the data with most images."""
    components = [row for row in rows if row["setting"]["features"] != "pixels"]
    most = max((row["setting"]["train"] for row in components), default=0)
    own = [row for row in components if row["setting"]["train"] == most]
    for row in own:
        setting, result = row["setting"], row["result"]
        if setting["experts"] != 2:
            level = float(np.mean(result["final"]["accuracy"]))
            name = (
                "MLP" if setting["method"] == "mlp" else f"{setting['experts']} experts, {setting['method']}"
            )
            name = "1 expert" if setting["experts"] == 1 else name
            if setting["experts"] in (0, 1):
                axes.axhline(level, color=FAINT, lw=0.9, ls="--")
                axes.annotate(name, (1, level), va="bottom", fontsize=7)
            continue
        method = {"em": "em_1"}.get(setting["method"], setting["method"])
        path, style = result["path"], line_style(list(METHODS).index(method))
        iterations = np.maximum(path["iterations"], 0.7)
        accuracy = np.array(path["accuracy"])
        axes.plot(iterations, accuracy.mean(1), color=style["color"], label=METHODS[method])
        axes.fill_between(
            iterations, accuracy.min(1), accuracy.max(1), color=style["color"], alpha=0.15, lw=0
        )
    axes.set(xscale="log", xlabel="iterations", ylabel="held-out accuracy")
    axes.set_title(f"Inverted MNIST, 2 experts, {most:,} images")
    axes.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 0.1))

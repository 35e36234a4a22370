"""Figures over several runs: what they logged while training, and where they ended."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmdprior.figures.style import FAINT, INK, PAPER, line_style, new_figure, styled, text_figure

__all__ = ["curves", "frontier"]

_LEGEND = 12
_NAMED = 16


def curves(
    lines: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], title: str, label: str, *, log: bool = False
) -> Figure:
    """Draw a number over training steps: a thin line a seed, a thick one their mean.

    Args:
        lines: (steps, values) of every seed, by run.
        title: above.
        label: of the vertical axis.
        log: a logarithmic axis, where all values are positive.
    """
    there = {name: [_finite(*curve) for curve in seeds] for name, seeds in lines.items()}
    there = {name: kept for name, seeds in there.items() if (kept := [c for c in seeds if len(c[0])])}
    if not there:
        return text_figure(f"{title}: no finite numbers were logged")
    with styled():
        figure = new_figure(5.2, 3.1)
        axes = figure.subplots()
        for index, (name, seeds) in enumerate(there.items()):
            _line(axes, seeds, line_style(index), name)
        lowest = min(float(c[1].min()) for seeds in there.values() for c in seeds)
        if log and lowest > 0:
            axes.set_yscale("log")
        axes.set(title=title, xlabel="step", ylabel=label)
        axes.grid(axis="y", alpha=0.6)
        if len(there) <= _LEGEND:
            figure.legend(loc="outside lower center", ncols=min(4, len(there)), fontsize=8)
    return figure


def frontier(
    points: Mapping[str, tuple[float, float, float, float]],
    hollow: Collection[str] = (),
    title: str = "reconstruction against independence",
) -> Figure:
    """Draw runs by LPS and PSNR, with the runs that none beats in both joined by a line.

    Args:
        points: by run: PSNR in dB, its spread over seeds, LPS, its spread; spreads may be NaN.
        hollow: runs drawn hollow: their prior was not enforced.
        title: above.
    """
    there = {n: p for n, p in points.items() if math.isfinite(p[0]) and math.isfinite(p[2])}
    if not there:
        return text_figure(f"{title}: no run has both a PSNR and an LPS")
    with styled():
        figure = new_figure(5.2, 3.6)
        axes = figure.subplots()
        best = _undominated(there)
        axes.plot([p[2] for p in best], [p[0] for p in best], color=FAINT, lw=1, zorder=1)
        many = len(there) > _NAMED
        for index, (name, (psnr, psnr_sd, lps, lps_sd)) in enumerate(there.items()):
            look = line_style(0 if many else index) | {
                "linestyle": "none",
                "ms": 4 if many else 6,
                "zorder": 2,
            }
            look["markerfacecolor"] = PAPER if name in hollow else look["color"]
            spreads: dict[str, Any] = {} if many else {"yerr": _shown(psnr_sd), "xerr": _shown(lps_sd)}
            axes.errorbar(lps, psnr, label=name, elinewidth=1, **spreads, **look)
            if many and there[name] in best[:: max(1, len(best) // 6)]:
                axes.annotate(name, (lps, psnr), xytext=(4, 4), textcoords="offset points", fontsize=7)
        _lps_axis(axes, [p[2] + (p[3] if math.isfinite(p[3]) else 0.0) for p in there.values()])
        axes.set(title=title, xlabel="LPS of mean codes, highest predictor (left: independent)")
        axes.set_ylabel("PSNR (dB)")
        axes.margins(y=0.12)
        axes.grid(alpha=0.6)
        if any(name in hollow for name in there):
            axes.text(
                0.98, 0.02, "hollow: prior not enforced", transform=axes.transAxes, ha="right", color=INK
            )
        axes.text(0.02, 0.98, "better", transform=axes.transAxes, va="top", color=INK, fontstyle="italic")
        if not many:
            figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _lps_axis(axes: Axes, values: Sequence[float]) -> None:
    """Let small scores be told apart and large ones fit: linear to .01, logarithmic from there."""
    axes.set_xscale("symlog", linthresh=0.01, linscale=1.0)
    top = max(0.02, 1.6 * max(values))
    ticks = [tick for tick in (0, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0) if tick <= top]
    axes.set_xlim(min([-0.001, *(1.2 * value for value in values)]), top)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _undominated(points: Mapping[str, tuple[float, float, float, float]]) -> list[tuple[float, ...]]:
    """Return the points that no other beats in PSNR and in LPS, by LPS."""
    found: list[tuple[float, ...]] = []
    for point in sorted(points.values(), key=lambda p: (p[2], -p[0])):
        if not found or point[0] > found[-1][0]:
            found.append(point)
    return found


def _line(
    axes: Axes, seeds: Sequence[tuple[np.ndarray, np.ndarray]], look: dict[str, Any], name: str
) -> None:
    thick = {**look, "marker": None}
    if len(seeds) == 1:
        axes.plot(*seeds[0], lw=1.6, label=name, **thick)
        return
    common = set.intersection(*(set(steps.tolist()) for steps, _ in seeds)) if seeds else set()
    for place, (steps, values) in enumerate(seeds):
        named = name if place == 0 and not common else None
        axes.plot(steps, values, lw=0.6, alpha=0.45, label=named, **thick)
    if common:
        grid = np.array(sorted(common))
        rows = [values[np.searchsorted(steps, grid)] for steps, values in seeds]
        axes.plot(grid, np.mean(rows, axis=0), lw=1.8, label=name, **thick)


def _finite(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = np.isfinite(values)
    return np.asarray(steps)[there], np.asarray(values)[there]


def _shown(sd: float) -> float | None:
    return sd if math.isfinite(sd) else None

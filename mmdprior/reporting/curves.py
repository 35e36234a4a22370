"""Figures over several runs: what they logged while training, and where they ended."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmdprior.reporting.style import FAINT, INK, figure_of, message, series, styled

__all__ = ["curves", "frontier"]

_LEGEND = 12
_NAMED = 24


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
    there = {name: [c for c in seeds if len(c[0])] for name, seeds in there.items()}
    if not any(there.values()):
        return message(f"{title}: no finite numbers were logged")
    with styled():
        figure = figure_of(5.2, 3.1)
        axes = figure.subplots()
        for index, (name, seeds) in enumerate(there.items()):
            _line(axes, seeds, series(index), name)
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
    title: str = "reconstruction against independence",
) -> Figure:
    """Draw runs by LPS and PSNR, with the runs that none beats in both joined by a line.

    Args:
        points: by run: PSNR in dB, its spread over seeds, LPS, its spread; spreads may be NaN.
        title: above.
    """
    there = {n: p for n, p in points.items() if math.isfinite(p[0]) and math.isfinite(p[2])}
    if not there:
        return message(f"{title}: no run has both a PSNR and an LPS")
    with styled():
        figure = figure_of(5.2, 3.6)
        axes = figure.subplots()
        best = _undominated(there)
        axes.plot([p[2] for p in best], [p[0] for p in best], color=FAINT, lw=1, zorder=1)
        for index, (name, (psnr, psnr_sd, lps, lps_sd)) in enumerate(there.items()):
            look = series(index) | {"linestyle": "none", "ms": 6, "elinewidth": 1, "zorder": 2}
            axes.errorbar(lps, psnr, yerr=_shown(psnr_sd), xerr=_shown(lps_sd), label=name, **look)
        axes.set_xscale("symlog", linthresh=0.01)
        axes.set_xlim(left=-0.001 if min(p[2] for p in there.values()) >= 0 else None)
        axes.set(title=title, xlabel="LPS, highest predictor, mean codes (left: independent)")
        axes.set_ylabel("PSNR (dB)")
        axes.margins(0.12)
        axes.grid(alpha=0.6)
        axes.text(0.02, 0.98, "better", transform=axes.transAxes, va="top", color=INK, fontstyle="italic")
        if len(there) <= _NAMED:
            figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


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
    for steps, values in seeds:
        axes.plot(steps, values, lw=0.6, alpha=0.45, **thick)
    common = set.intersection(*(set(steps.tolist()) for steps, _ in seeds)) if seeds else set()
    grid = np.array(sorted(common))
    if len(grid):
        rows = [values[np.searchsorted(steps, grid)] for steps, values in seeds]
        axes.plot(grid, np.mean(rows, axis=0), lw=1.8, label=name, **thick)


def _finite(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = np.isfinite(values)
    return np.asarray(steps)[there], np.asarray(values)[there]


def _shown(sd: float) -> float | None:
    return sd if math.isfinite(sd) else None

"""Figures over several runs: logged values over training steps, and PSNR against LPS."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdprior.figures.style import FAINT, PAPER, line_style, new_figure, styled, text_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["curves", "frontier", "pareto_optimal"]

_MOST_IN_LEGEND = 12
"""Curves with more runs have no legend."""
_MOST_LABELS = 16
"""Labelled points for which the usual size of a figure has space."""
_MOST_DISTINCT = 12
"""Up to this many points differ in colour and marker and are in the legend; more have labels."""
_LETTERS_IN_LEGEND = 90
"""Letters that fit into a line of the legend."""
_SIDES = ((5, 5), (5, -5), (-5, 5), (-5, -5), (0, 8), (0, -8), (8, 0), (-8, 0))
_PLACES = [(distance * x, distance * y) for distance in (1, 2, 3) for x, y in _SIDES]
"""Offsets of labels from their points in typographic points, nearest first."""
_CROWDED_LPS = 0.1
"""If no LPS is lower, the axis of `frontier` is linear."""
_LINEAR_LPS = 0.01
"""LPS up to which the axis of `frontier` is linear; it is logarithmic above."""
_LPS_TICKS = (0, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0)


def curves(
    lines: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    title: str,
    label: str,
    *,
    log: bool = False,
) -> "Figure":
    """Draw a logged value over training steps: a thin line per seed, a thick line for their mean per run.

    The mean covers the steps that all seeds of a run logged. Values that are not finite are left out.

    Args:
        lines: (steps, values) of every seed, by name of the run; the two arrays have equal length.
        title: title of the figure.
        label: label of the vertical axis.
        log: whether the vertical axis is logarithmic; ignored if any value is not positive.

    Returns:
        The figure, with a legend of up to 12 runs.

    Example:
        >>> import numpy as np
        >>> from mmdprior.figures import curves
        >>> steps = np.array([0, 100, 200])
        >>> seeds = [(steps, np.array([9.0, 4.0, 2.0])), (steps, np.array([8.0, 5.0, 3.0]))]
        >>> figure = curves({"vae": seeds}, "training loss", "loss")
        >>> figure.axes[0].lines[-1].get_ydata().tolist()
        [8.5, 4.5, 2.5]
    """
    finite = {name: [_finite(*curve) for curve in seeds] for name, seeds in lines.items()}
    finite = {name: kept for name, seeds in finite.items() if (kept := [c for c in seeds if len(c[0])])}
    if not finite:
        return text_figure(f"{title}: no finite values were logged")
    with styled():
        rows = math.ceil(len(finite) / _legend_columns(finite)) if len(finite) <= _MOST_IN_LEGEND else 0
        figure = new_figure(5.2, 2.9 + 0.17 * rows)
        axes = figure.subplots()
        for index, (name, seeds) in enumerate(finite.items()):
            _draw_run(axes, seeds, line_style(index), name)
        lowest = min(float(values.min()) for seeds in finite.values() for _, values in seeds)
        if log and lowest > 0:
            axes.set_yscale("log")
        axes.set(title=title, xlabel="training step", ylabel=label)
        axes.grid(axis="y", alpha=0.6)
        if len(finite) <= _MOST_IN_LEGEND:
            figure.legend(loc="outside lower center", ncols=_legend_columns(finite), fontsize=8)
    return figure


def frontier(
    points: Mapping[str, tuple[float, float, float, float]],
    hollow: Collection[str] = (),
    title: str = "reconstruction against independence",
    quality: str = "PSNR (dB)",
) -> "Figure":
    """Draw runs by LPS (horizontal) and PSNR (vertical), with a line through the Pareto-optimal ones.

    A run is Pareto-optimal if no other run has both a higher PSNR and a lower LPS. The LPS axis is linear up
    to 0.01 and logarithmic above, so that small scores differ visibly and large ones fit. It is linear if all
    are large. Up to 12 runs have a legend. More runs are labelled, as far as there is space; from 16 on the
    figure grows with their number.

    Args:
        points: by name of the run: PSNR in dB, its standard deviation over seeds, LPS, its standard
            deviation. Standard deviations may be NaN. Runs without a finite PSNR and LPS are left out.
        hollow: names of the runs to draw with a hollow marker, because they do not match their prior.
        title: title of the figure.
        quality: label of the vertical axis, for a measure of reconstructions other than PSNR, such as R2.

    Returns:
        The figure; error bars show one standard deviation over seeds.

    Example:
        >>> from mmdprior.figures import frontier
        >>> scores = {"vae": (18.0, 0.1, 0.07, 0.0), "mmd": (19.2, 0.1, 0.01, 0.0)}
        >>> scores["ae"] = (19.4, 0.1, 0.06, 0.0)
        >>> figure = frontier(scores, hollow=["ae"])
        >>> best = figure.axes[0].lines[0]
        >>> best.get_xdata().tolist(), best.get_ydata().tolist()
        ([0.01, 0.06], [19.2, 19.4])
    """
    finite = {n: p for n, p in points.items() if math.isfinite(p[0]) and math.isfinite(p[2])}
    if not finite:
        return text_figure(f"{title}: no run has both a {quality.split()[0]} and an LPS")
    with styled():
        many = len(finite) > _MOST_DISTINCT
        columns = _legend_columns(finite)
        legend_height = 0 if many else 0.17 * math.ceil(len(finite) / columns)
        scale = max(1.0, math.sqrt(len(finite) / _MOST_LABELS))
        figure = new_figure(6.4 * scale, 4.8 * scale) if many else new_figure(5.2, 3.2 + legend_height)
        axes = figure.subplots()
        best = pareto_optimal(finite.values())
        axes.plot([p[2] for p in best], [p[0] for p in best], color=FAINT, lw=1, zorder=1)
        for index, (name, (psnr, psnr_sd, lps, lps_sd)) in enumerate(finite.items()):
            style = line_style(0 if many else index)
            style |= {"linestyle": "none", "ms": 4 if many else 6, "zorder": 2}
            style["markerfacecolor"] = PAPER if name in hollow else style["color"]
            bars: dict[str, Any] = {"yerr": _or_none(psnr_sd), "xerr": _or_none(lps_sd)}
            axes.errorbar(lps, psnr, label=name, elinewidth=1, **bars, **style)
        _set_lps_axis(axes, [p[2] + (p[3] if math.isfinite(p[3]) else 0.0) for p in finite.values()])
        axes.set(title=title, xlabel="highest LPS of mean codes (0: independent)", ylabel=quality)
        axes.margins(y=0.2)
        axes.grid(alpha=0.6)
        corner = [axes.text(0.02, 0.98, "better", transform=axes.transAxes, va="top", fontstyle="italic")]
        if any(name in hollow for name in finite):
            note = "hollow: prior not matched"
            corner.append(axes.text(0.98, 0.02, note, transform=axes.transAxes, ha="right"))
        if many:
            order = sorted(finite, key=lambda name: (finite[name] not in best, -finite[name][0]))
            _label_points(axes, {name: (finite[name][2], finite[name][0]) for name in order}, corner)
        else:
            figure.legend(loc="outside lower center", ncols=columns, fontsize=8)
    return figure


def _legend_columns(names: Collection[str]) -> int:
    """Return the number of columns of a legend that fits below a figure."""
    longest = max(map(len, names)) + 6
    return max(1, min(3, _LETTERS_IN_LEGEND // longest))


def _label_points(
    axes: "Axes", points: Mapping[str, tuple[float, float]], texts: Sequence["Text"] = ()
) -> None:
    """Label points, each at the first free place around it; points without a free place have no label.

    Args:
        axes: where to draw; its limits are final.
        points: (x, y) by label, the most important ones first.
        texts: texts that labels must not cover.
    """
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    outline: list[Any] = [withStroke(linewidth=2, foreground=PAPER)]  # interrupts bars behind the letters
    figure: Any = axes.figure
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    size = 0.04 * figure.dpi
    centres = [axes.transData.transform(point) for point in points.values()]
    taken = [Bbox.from_extents(x - size, y - size, x + size, y + size) for x, y in centres]
    taken += [text.get_window_extent(renderer) for text in texts]
    for name, point in points.items():
        for dx, dy in _PLACES:
            side = "left" if dx > 0 else "right" if dx < 0 else "center"
            label = axes.annotate(
                name, point, (dx, dy), textcoords="offset points", fontsize=7, ha=side, va="center"
            )
            label.set_path_effects(outline)
            box = label.get_window_extent(renderer)
            inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def _draw_run(
    axes: "Axes", seeds: Sequence[tuple[np.ndarray, np.ndarray]], style: dict[str, Any], name: str
) -> None:
    style = {**style, "marker": "o" if all(len(steps) == 1 for steps, _ in seeds) else None}
    if len(seeds) == 1:
        axes.plot(*seeds[0], lw=1.6, label=name, **style)
        return
    common = set.intersection(*(set(steps.tolist()) for steps, _ in seeds))
    for index, (steps, values) in enumerate(seeds):
        # Without common steps there is no mean line, so the first seed carries the name in the legend.
        label = name if index == 0 and not common else None
        axes.plot(steps, values, lw=0.6, alpha=0.45, label=label, **style)
    if common:
        grid = np.array(sorted(common))
        rows = [values[np.searchsorted(steps, grid)] for steps, values in seeds]
        axes.plot(grid, np.mean(rows, axis=0), lw=1.8, label=name, **style)


def _set_lps_axis(axes: "Axes", values: Sequence[float]) -> None:
    if min(values) > _CROWDED_LPS:
        axes.set_xlim(0, 1.1 * max(values))
        return
    axes.set_xscale("symlog", linthresh=_LINEAR_LPS, linscale=1.0)
    right = max(2 * _LINEAR_LPS, 1.6 * max(values))
    ticks = [tick for tick in _LPS_TICKS if tick <= right]
    axes.set_xlim(min([-0.001, *(1.2 * value for value in values)]), right)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def pareto_optimal(points: Iterable[tuple[float, float, float, float]]) -> list[tuple[float, ...]]:
    """Return the points that no other exceeds in PSNR at an equal or lower LPS, by rising LPS."""
    best: list[tuple[float, ...]] = []
    for point in sorted(points, key=lambda p: (p[2], -p[0])):
        if not best or point[0] > best[-1][0]:
            best.append(point)
    return best


def _finite(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mask = np.isfinite(values)
    return np.asarray(steps)[mask], np.asarray(values)[mask]


def _or_none(sd: float) -> float | None:
    return sd if math.isfinite(sd) else None

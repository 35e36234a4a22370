"""Aggregate posterior against prior, one dimension at a time: densities and quantiles."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from mmdprior.figures.prior_shape import PriorShape, finite_rows
from mmdprior.figures.style import ACCENT, COLOURS, FAINT, INK, new_figure, styled, text_figure

__all__ = ["dependence", "marginals", "pair_grid", "quantiles", "strongest_pairs"]

_CELLS = 32
_BINS = 48
_ACROSS = 8
_NAMED = 3


def marginals(codes: Tensor | np.ndarray, prior: PriorShape | None = None, title: str = "") -> Figure:
    """Draw the histogram of every dimension, and the prior's density over it.

    Of more than 32 dimensions the 32 farthest from the prior are drawn (without a prior, the first).

    Args:
        codes: (n, d); rows that are not finite are left out and told of.
        prior: the intended one.
        title: above.
    """
    z, note = finite_rows(codes)
    if not len(z):
        return text_figure("aggregate posterior: no finite codes")
    d = z.shape[1]
    distances = np.full(d, np.nan) if prior is None else prior.distances(z)
    shown = (
        np.arange(d)
        if d <= _CELLS
        else np.sort(np.argsort(-np.nan_to_num(distances), kind="stable")[:_CELLS])
    )
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    with styled():
        heading = title or f"aggregate posterior{'' if prior is None else ' (filled) against prior (line)'}"
        if d > _CELLS:
            heading += f"; {_CELLS} of {d} dimensions{'' if prior is None else ', the farthest'}"
        figure = new_figure(
            1.1 * max(across, 4) + 0.3, 0.95 * down + 0.75, "\n".join([heading, *filter(None, [note])])
        )
        axes = figure.subplots()
        for place, i in enumerate(shown):
            _cell(axes, z[:, i], prior, int(i), distances[i], (place % across, place // across))
        axes.set(xlim=(-0.05, across * 1.12), ylim=(-1.45 * (down - 1) - 0.35, 1.4))
        axes.set_axis_off()
    return figure


def quantiles(
    codes: Tensor | np.ndarray, prior: PriorShape, title: str = "quantiles, codes against prior"
) -> Figure:
    """Draw the quantiles of every dimension against the prior's; on the diagonal where they agree.

    Args:
        codes: (n, d); rows that are not finite are left out and told of.
        prior: the intended one, of d dimensions.
        title: above.
    """
    z, note = finite_rows(codes)
    if not len(z):
        return text_figure("quantiles: no finite codes")
    levels = np.concatenate([[0.002, 0.005], np.linspace(0.01, 0.99, 99), [0.995, 0.998]])
    theirs, ours = prior.quantiles(levels), np.quantile(z, levels, axis=0)
    worst = np.argsort(-prior.distances(z), kind="stable")[:_NAMED]
    with styled():
        figure = new_figure(4.2, 4.2)
        axes = figure.subplots()
        rest = [np.column_stack([theirs[:, i], ours[:, i]]) for i in range(z.shape[1]) if i not in worst]
        axes.add_collection(LineCollection(rest, colors=FAINT, linewidths=0.8, alpha=0.6, rasterized=True))
        for place, i in enumerate(worst):
            axes.plot(theirs[:, i], ours[:, i], color=COLOURS[place], lw=1.6, label=f"z{i}")
        low, high = theirs.min(), theirs.max()
        axes.plot([low, high], [low, high], color=INK, lw=0.8, ls="--")
        axes.set(title="\n".join(filter(None, [title, note])), xlabel="prior", ylabel="sampled codes")
        axes.legend(loc="upper left", title="farthest", fontsize=7.5)
    return figure


def _cell(
    axes: Axes,
    column: Float[np.ndarray, "n"],
    prior: PriorShape | None,
    i: int,
    distance: float,
    at: tuple[int, int],
) -> None:
    """Draw one dimension into its place; all share one axes, which is many times faster than one each."""
    x0, y0 = 1.12 * at[0], -1.45 * at[1]
    ends = (column.min(), column.max()) if prior is None else (prior.grid[i, 0], prior.grid[i, -1])
    low, high = float(ends[0]), float(ends[1])
    width = max(high - low, 1e-6)
    low, high = low - 0.04 * width, high + 0.04 * width
    counts, edges = np.histogram(np.clip(column, low, high), bins=_BINS, range=(low, high))
    heights = counts / (len(column) * (edges[1] - edges[0]))
    top = heights.max()
    if prior is not None:
        middles, density = prior.density(i)
        # a spike of codes may leave the cell's top, the prior's density may not fall to its floor
        top = max(min(top, 2.5 * density.max()), density.max())
    scale = 1.0 / max(top, 1e-12)

    def across(values: np.ndarray) -> np.ndarray:
        return x0 + (values - low) / (high - low)

    tall = y0 + np.minimum(heights * scale, 1.08)
    xs, ys = np.repeat(across(edges), 2), np.concatenate([[y0], np.repeat(tall, 2), [y0]])
    axes.add_collection(
        PolyCollection([np.column_stack([xs, ys])], facecolors=ACCENT, alpha=0.55, linewidths=0)
    )
    axes.plot([x0, x0 + 1], [y0, y0], color=FAINT, lw=0.7)
    if prior is not None:
        line = y0 + np.minimum(density * scale, 1.08)
        axes.plot(across(middles), line, color=COLOURS[1], lw=1.3)
    for end, value, side in ((0.0, low, "left"), (1.0, high, "right")):
        axes.text(x0 + end, y0 - 0.04, f"{value:.2g}", fontsize=5.5, ha=side, va="top", color=INK)
    told = "" if np.isnan(distance) else f"  {distance:.3f}".replace("0.", ".")
    axes.text(x0 + 0.02, y0 + 1.12, f"z{i}{told}", fontsize=7.5, va="bottom")


_POINTS = 2000


def dependence(codes: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """Return a quick measure of each pair's dependence, to rank pairs by: 0 to 1, NaN where one is constant.

    The largest absolute correlation among (z_i, z_j), (z_i^2, z_j^2), (z_i^2, z_j) and (z_i, z_j^2): it sees
    lines, circles, parabolas and signs times a common size.
    """
    parts = [_standard(codes)]
    parts.append(_standard(np.square(parts[0])))
    n = max(len(codes), 1)
    found = [np.abs(parts[a].T @ parts[b]) / n for a, b in ((0, 0), (1, 1), (0, 1), (1, 0))]
    both = np.fmax.reduce(found)
    np.fill_diagonal(both, np.nan)
    return both


def strongest_pairs(measure: Float[np.ndarray, "d d"], count: int) -> list[tuple[int, int]]:
    """Return the pairs of the largest entries above the diagonal, the largest first; NaN is passed over."""
    i, j = np.triu_indices(len(measure), 1)
    values = measure[i, j]
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:count]
    return [(int(i[k]), int(j[k])) for k in order if np.isfinite(values[k])]


def pair_grid(
    codes: Tensor | np.ndarray, prior: PriorShape | None = None, count: int = 4, title: str = ""
) -> Figure:
    """Draw the most dependent pairs above the same pairs of prior draws, on the same axes.

    Args:
        codes: (n, d); rows that are not finite are left out and told of.
        prior: the intended one.
        count: pairs.
        title: above.
    """
    z, note = finite_rows(codes)
    if not len(z):
        return text_figure("pairs: no finite codes")
    z = z[:_POINTS]
    pairs = strongest_pairs(dependence(z), count)
    if not pairs:
        return text_figure("pairs: fewer than two dimensions vary")
    rows = 1 if prior is None else 2
    with styled():
        heading = title or "the most dependent pairs of codes" + (
            ", and the prior" if prior is not None else ""
        )
        figure = new_figure(
            1.75 * max(len(pairs), 2) + 0.5, 1.75 * rows + 0.7, "\n".join(filter(None, [heading, note]))
        )
        grid = figure.subplots(rows, len(pairs), squeeze=False, sharex="col", sharey="col")
        for column, (i, j) in enumerate(pairs):
            clouds = [(z, ACCENT, "codes")]
            if prior is not None:
                clouds.append((prior.draws[: len(z)], COLOURS[1], "prior"))
            for axes, (points, colour, name) in zip(grid[:, column], clouds, strict=True):
                axes.plot(points[:, i], points[:, j], ".", ms=1.6, alpha=0.5, color=colour, rasterized=True)
                axes.set_ylabel(f"{name}: z{j}" if column == 0 else f"z{j}")
            grid[-1, column].set_xlabel(f"z{i}")
    return figure


def _standard(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(0)
    scale = centred.std(0)
    floor = 1e-6 * max(float(np.nan_to_num(scale).max(initial=0.0)), 1e-300)
    return centred / np.where(scale > floor, scale, np.nan)

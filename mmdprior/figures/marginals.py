"""Codes against the prior: densities and quantiles per dimension, and the most dependent pairs."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mmdprior.figures.prior_shape import PriorShape, finite_rows
from mmdprior.figures.style import ACCENT, COLOURS, FAINT, INK, new_figure, styled, text_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["dependence", "marginals", "pair_grid", "quantiles", "strongest_pairs"]

_MOST_DIMENSIONS = 32
_PER_ROW = 8
_BINS = 48
_PITCH = 1.12, -1.45
"""Distance between the cells of `marginals`, across and down; a cell is 1 wide and 1 high."""
_HIGHEST = 1.08
"""Height in a cell at which bars and lines are cut off."""
_NAMED = 3
"""Dimensions farthest from the prior that `quantiles` names."""
_POINTS = 2000
"""Points per panel of `pair_grid`."""


def marginals(codes: Tensor | np.ndarray, prior: PriorShape | None = None, title: str = "") -> "Figure":
    """Draw a histogram of every code dimension (filled), and the density of the prior (line).

    With a prior, each panel states the Kolmogorov-Smirnov distance of the dimension (KS): the largest
    difference between the CDF of the codes and that of the prior. Of more than 32 dimensions the 32 with the
    largest distance are drawn, or the first 32 without a prior.

    Args:
        codes: (n, d); rows that are not finite are left out, and the title states how many.
        prior: the intended prior, with d dimensions; none by default.
        title: replaces the default title.

    Example:
        >>> import torch
        >>> from mmdprior.figures import PriorShape, marginals
        >>> from mmdprior.priors import Gaussian
        >>> figure = marginals(torch.randn(1000, 3), PriorShape.of(Gaussian(3)))
        >>> figure.savefig("codes_against_prior.svg")
    """
    z, note = finite_rows(codes)
    if not len(z):
        return text_figure("aggregate posterior: no finite codes")
    d = z.shape[1]
    distances = np.full(d, np.nan) if prior is None else prior.distances(z)
    shown = np.arange(d)
    if d > _MOST_DIMENSIONS:
        farthest_first = np.argsort(-np.nan_to_num(distances), kind="stable")
        shown = np.sort(farthest_first[:_MOST_DIMENSIONS])
    across = min(_PER_ROW, len(shown))
    down = -(-len(shown) // across)
    heading = title or ("sampled codes" if prior is None else "sampled codes (filled) and prior (line)")
    if d > _MOST_DIMENSIONS:
        order = "first" if prior is None else "farthest"
        heading += f"; the {order} {_MOST_DIMENSIONS} of {d} dimensions"
    with styled():
        figure = new_figure(
            1.1 * max(across, 4) + 0.3, 0.95 * down + 0.75, "\n".join(filter(None, [heading, note]))
        )
        axes = figure.subplots()
        for index, i in enumerate(shown):
            corner = index % across * _PITCH[0], index // across * _PITCH[1]
            _draw_marginal(axes, z[:, i], prior, int(i), distances[i], corner)
        axes.set(xlim=(-0.05, across * _PITCH[0]), ylim=((down - 1) * _PITCH[1] - 0.35, 1.4))
        axes.set_axis_off()
    return figure


def quantiles(
    codes: Tensor | np.ndarray, prior: PriorShape, title: str = "quantiles of codes against the prior"
) -> "Figure":
    """Draw the quantiles of every code dimension against those of the prior, as one line per dimension.

    A dimension that follows the prior is on the dashed diagonal. The three dimensions with the largest
    Kolmogorov-Smirnov distance are named.

    Args:
        codes: (n, d); rows that are not finite are left out, and the title states how many.
        prior: the intended prior, with d dimensions.
        title: title of the figure.

    Example:
        >>> import torch
        >>> from mmdprior.figures import PriorShape, quantiles
        >>> from mmdprior.priors import Gaussian
        >>> figure = quantiles(torch.randn(1000, 3), PriorShape.of(Gaussian(3)))
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
        ('quantile of the prior', 'quantile of sampled codes')
    """
    z, note = finite_rows(codes)
    if not len(z):
        return text_figure("quantiles: no finite codes")
    from matplotlib.collections import LineCollection

    levels = np.concatenate([[0.002, 0.005], np.linspace(0.01, 0.99, 99), [0.995, 0.998]])
    x, y = prior.quantiles(levels), np.quantile(z, levels, axis=0)
    worst = np.argsort(-prior.distances(z), kind="stable")[:_NAMED]
    with styled():
        figure = new_figure(4.2, 4.2)
        axes = figure.subplots()
        others = [np.column_stack([x[:, i], y[:, i]]) for i in range(z.shape[1]) if i not in worst]
        axes.add_collection(LineCollection(others, colors=FAINT, linewidths=0.8, alpha=0.6, rasterized=True))
        for index, i in enumerate(worst):
            axes.plot(x[:, i], y[:, i], color=COLOURS[index], lw=1.6, label=f"z{i}")
        low, high = x.min(), x.max()
        axes.plot([low, high], [low, high], color=INK, lw=0.8, ls="--")
        axes.set(title="\n".join(filter(None, [title, note])))
        axes.set(xlabel="quantile of the prior", ylabel="quantile of sampled codes")
        axes.legend(loc="upper left", title="largest distance", fontsize=7.5)
    return figure


def pair_grid(
    codes: Tensor | np.ndarray, prior: PriorShape | None = None, count: int = 4, title: str = ""
) -> "Figure":
    """Draw scatter plots of the most dependent pairs of dimensions, and samples from the prior below them.

    Pairs are ranked by `dependence`. The plots of a pair share their axes.

    Args:
        codes: (n, d); rows that are not finite are left out, and the title states how many. At most the
            first 2000 finite rows are drawn.
        prior: the intended prior, with d dimensions; none by default.
        count: number of pairs.
        title: replaces the default title.

    Example:
        >>> import torch
        >>> from mmdprior.figures import pair_grid
        >>> z = torch.randn(500, 3)
        >>> z[:, 2] = z[:, 0] ** 2
        >>> figure = pair_grid(z, count=1)
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
        ('z0', 'codes: z2')
    """
    z, note = finite_rows(codes)
    if not len(z):
        return text_figure("pairs: no finite codes")
    z = z[:_POINTS]
    pairs = strongest_pairs(dependence(z), count)
    if not pairs:
        return text_figure("pairs: fewer than two dimensions vary")
    clouds = [(z, ACCENT, "codes")]
    if prior is not None:
        clouds.append((prior.draws[: len(z)], COLOURS[1], "prior"))
    heading = title or "most dependent pairs of dimensions" + ("" if prior is None else ": codes and prior")
    with styled():
        figure = new_figure(
            1.75 * max(len(pairs), 2) + 0.5,
            1.75 * len(clouds) + 0.7,
            "\n".join(filter(None, [heading, note])),
        )
        grid = figure.subplots(len(clouds), len(pairs), squeeze=False, sharex="col", sharey="col")
        for column, (i, j) in enumerate(pairs):
            for axes, (points, colour, name) in zip(grid[:, column], clouds, strict=True):
                axes.plot(points[:, i], points[:, j], ".", ms=1.6, alpha=0.5, color=colour, rasterized=True)
                axes.set_ylabel(f"{name}: z{j}" if column == 0 else f"z{j}")
            grid[-1, column].set_xlabel(f"z{i}")
    return figure


def dependence(codes: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """Return a fast measure of the dependence of every pair, from 0 to 1, to rank pairs by.

    The measure is the largest absolute correlation among (z_i, z_j), (z_i^2, z_j^2), (z_i^2, z_j) and
    (z_i, z_j^2). It detects lines, circles, parabolas and a shared scale. The diagonal and pairs with a
    constant dimension are NaN.
    """
    z = _standardise(codes)
    parts = [z, _standardise(np.square(z))]
    n = max(len(codes), 1)
    correlations = [np.abs(parts[a].T @ parts[b]) / n for a, b in ((0, 0), (1, 1), (0, 1), (1, 0))]
    largest = np.fmax.reduce(correlations)
    np.fill_diagonal(largest, np.nan)
    return largest


def strongest_pairs(measure: Float[np.ndarray, "d d"], count: int) -> list[tuple[int, int]]:
    """Return the index pairs of the ``count`` largest entries above the diagonal, skipping NaN."""
    i, j = np.triu_indices(len(measure), 1)
    values = measure[i, j]
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:count]
    return [(int(i[k]), int(j[k])) for k in order if np.isfinite(values[k])]


def _draw_marginal(
    axes: "Axes",
    column: Float[np.ndarray, "n"],
    prior: PriorShape | None,
    i: int,
    distance: float,
    corner: tuple[float, float],
) -> None:
    """Draw one dimension with its lower left corner at a place of the shared axes.

    One axes for all dimensions is many times faster than one axes per dimension.
    """
    from matplotlib.collections import PolyCollection

    x0, y0 = corner
    ends = (column.min(), column.max()) if prior is None else (prior.grid[i, 0], prior.grid[i, -1])
    low, high = float(ends[0]), float(ends[1])
    width = max(high - low, 1e-6)
    low, high = low - 0.04 * width, high + 0.04 * width
    counts, edges = np.histogram(np.clip(column, low, high), bins=_BINS, range=(low, high))
    heights = counts / (len(column) * (edges[1] - edges[0]))
    top = heights.max()
    if prior is not None:
        middles, density = prior.density(i)
        # A spike of codes is cut off at 2.5 times the prior's density, which otherwise would look flat.
        top = max(min(top, 2.5 * density.max()), density.max())
    scale = 1.0 / max(top, 1e-12)

    def across(values: np.ndarray) -> np.ndarray:
        return x0 + (values - low) / (high - low)

    bars = y0 + np.minimum(heights * scale, _HIGHEST)
    xs, ys = np.repeat(across(edges), 2), np.concatenate([[y0], np.repeat(bars, 2), [y0]])
    outline = np.column_stack([xs, ys])
    axes.add_collection(PolyCollection([outline], facecolors=ACCENT, alpha=0.55, linewidths=0))
    axes.plot([x0, x0 + 1], [y0, y0], color=FAINT, lw=0.7)
    if prior is not None:
        line = y0 + np.minimum(density * scale, _HIGHEST)
        axes.plot(across(middles), line, color=COLOURS[1], lw=1.3)
    for end, value, side in ((0.0, low, "left"), (1.0, high, "right")):
        axes.text(x0 + end, y0 - 0.04, f"{value:.2g}", fontsize=5.5, ha=side, va="top", color=INK)
    label = f"z{i}" if np.isnan(distance) else f"z{i}  KS {distance:.3f}"
    axes.text(x0 + 0.02, y0 + 1.12, label, fontsize=7.5, va="bottom")


def _standardise(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Return columns with mean 0 and standard deviation 1; NaN where a column is constant to rounding."""
    centred = values - values.mean(0)
    scale = centred.std(0)
    floor = 1e-6 * max(float(np.nan_to_num(scale).max(initial=0.0)), 1e-300)
    return centred / np.where(scale > floor, scale, np.nan)

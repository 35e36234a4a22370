"""Codes against the prior: densities and quantiles per dimension, and the most dependent pairs."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.atoms import find_atoms
from mmdprior.figures.prior_shape import PriorShape, finite_rows
from mmdprior.figures.style import ACCENT, COLOURS, FAINT, INK, new_figure, styled, text_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["dependence", "marginals", "pair_grid", "quantiles", "strongest_pairs"]

_MOST_DIMENSIONS = 32
_PER_ROW = 8
_BINS = 48
_PITCH = 1.12, -1.6
"""Distance between the cells of `marginals`, across and down; a cell is 1 wide and 1 high."""
_HIGHEST = 1.08
"""Height in a cell at which bars and lines are cut off."""
_NAMED = 3
"""Dimensions farthest from the prior that `quantiles` names."""
_POINTS = 2000
"""Points per panel of `pair_grid`."""


def marginals(
    codes: Tensor | np.ndarray,
    prior: PriorShape | None = None,
    title: str = "",
    *,
    means: Tensor | np.ndarray | None = None,
    per_row: int = _PER_ROW,
) -> "Figure":
    """Draw a histogram of every code dimension (filled), and the density of the prior (line).

    With a prior, each panel states the Kolmogorov-Smirnov distance of the dimension (KS): the largest
    difference between the CDF of the codes and that of the prior. Of more than 32 dimensions the 32 with the
    largest distance are drawn, or the first 32 without a prior. A value that many rows share (an atom, see
    `mmdprior.atoms`) is cut off at the top, so that the other values remain visible. Its share of the rows is
    written above it.

    Args:
        codes: (n, d); rows that are not finite are left out, and the title states how many.
        prior: the intended prior, with d dimensions; none by default.
        title: replaces the default title.
        means: (n, d) mean codes, whose histograms are drawn dashed; none by default.
        per_row: dimensions next to each other.

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
    scaling = ~_among_others(z)
    centres = None if means is None else finite_rows(means)[0]
    across = min(per_row, len(shown))
    down = -(-len(shown) // across)
    parts = ["sampled codes (filled)"] if centres is None else ["sampled codes (filled)", "means (dashed)"]
    heading = title or (" and ".join(parts) if prior is None else f"{', '.join(parts)} and prior (line)")
    if d > _MOST_DIMENSIONS:
        order = "first" if prior is None else "farthest"
        heading += f"; the {order} {_MOST_DIMENSIONS} of {d} dimensions"
    with styled():
        figure = new_figure(
            1.1 * max(across, 4) + 0.3, 1.05 * down + 0.75, "\n".join(filter(None, [heading, note]))
        )
        axes = figure.subplots()
        for index, i in enumerate(shown):
            corner = index % across * _PITCH[0], index // across * _PITCH[1]
            centre = None if centres is None else centres[:, i]
            _draw_marginal(axes, z[:, i], scaling[:, i], prior, int(i), distances[i], corner, centre)
        axes.set(xlim=(-0.05, across * _PITCH[0]), ylim=((down - 1) * _PITCH[1] - 0.35, 1.45))
        axes.set_axis_off()
    return figure


def quantiles(
    codes: Tensor | np.ndarray, prior: PriorShape, title: str = "quantiles of codes against the prior"
) -> "Figure":
    """Draw the quantiles of every code dimension against those of the prior, as one line per dimension.

    A dimension that follows the prior is on the dashed diagonal. If many rows share a value, the line also
    has a point for each such value, and the quantiles of all other values. The three dimensions with the
    largest Kolmogorov-Smirnov distance are named.

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
    lines = [
        np.column_stack([np.interp(u, cdf, grid), np.quantile(column, u)])
        for u, cdf, grid, column in zip(_levels(z, levels), prior.cdf, prior.grid, z.T, strict=True)
    ]
    worst = np.argsort(-prior.distances(z), kind="stable")[:_NAMED]
    with styled():
        figure = new_figure(4.2, 4.2)
        axes = figure.subplots()
        others = [line for i, line in enumerate(lines) if i not in worst]
        axes.add_collection(LineCollection(others, colors=FAINT, linewidths=0.8, alpha=0.6, rasterized=True))
        for index, i in enumerate(worst):
            axes.plot(*lines[i].T, color=COLOURS[index], lw=1.6, label=f"z{i}")
        low, high = (f([f(line[:, 0]) for line in lines]) for f in (np.min, np.max))
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


def _among_others(z: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, "n d"]:
    """Return which entries are atoms of a column that has other values too."""
    columns = torch.from_numpy(z)[None]
    return (find_atoms(columns).among_others(columns).position(columns)[0] >= 0).numpy()


def _levels(z: Float[np.ndarray, "n d"], levels: Float[np.ndarray, "q"]) -> list[Float[np.ndarray, "levels"]]:
    """Return the levels of the quantiles to draw, per dimension: more where there are atoms.

    A level is added in the middle of every atom, and at each quantile of the values that are no atoms.
    """
    columns = torch.from_numpy(z)[None]
    atomic = (find_atoms(columns).position(columns)[0] >= 0).numpy()
    result = []
    for column, is_atom in zip(z.T, atomic.T, strict=True):
        if not is_atom.any():
            result.append(levels)
            continue
        values = np.unique(column[is_atom])
        if not is_atom.all():
            values = np.union1d(values, np.quantile(column[~is_atom], levels, method="nearest"))
        ordered = np.sort(column)
        ends = [np.searchsorted(ordered, values, side=side) for side in ("left", "right")]
        result.append(np.union1d(levels, (ends[0] + ends[1] - 1) / 2 / max(len(z) - 1, 1)))
    return result


def _draw_marginal(
    axes: "Axes",
    column: Float[np.ndarray, "n"],
    scaling: Bool[np.ndarray, "n"],
    prior: PriorShape | None,
    i: int,
    distance: float,
    corner: tuple[float, float],
    centres: Float[np.ndarray, "m"] | None = None,
) -> None:
    """Draw one dimension with its lower left corner at a place of the shared axes.

    One axes for all dimensions is many times faster than one axes per dimension. Only the rows ``scaling``
    determine its scale.
    """
    from matplotlib.collections import PolyCollection

    x0, y0 = corner
    ends = (column.min(), column.max()) if prior is None else (prior.grid[i, 0], prior.grid[i, -1])
    low, high = float(ends[0]), float(ends[1])
    width = max(high - low, 1e-6)
    low, high = low - 0.04 * width, high + 0.04 * width
    counts, scaled = (
        np.histogram(np.clip(rows, low, high), bins=_BINS, range=(low, high))[0]
        for rows in (column, column[scaling])
    )
    edges = np.linspace(low, high, _BINS + 1)
    area = len(column) * (edges[1] - edges[0])
    heights, top = counts / area, scaled.max() / area
    if prior is not None:
        middles, density = prior.density(i)
        # A spike of codes is cut off at 2.5 times the prior's density, which otherwise would look flat.
        highest = density[~prior.atomic_cells(i)].max()
        top = max(min(top, 2.5 * highest), highest)
    scale = 1.0 / max(top, 1e-12)

    def across(values: Any) -> Any:
        return x0 + (values - low) / (high - low)

    bars = y0 + np.minimum(heights * scale, _HIGHEST)
    xs, ys = np.repeat(across(edges), 2), np.concatenate([[y0], np.repeat(bars, 2), [y0]])
    outline = np.column_stack([xs, ys])
    if centres is not None:
        counted = np.histogram(np.clip(centres, low, high), bins=_BINS, range=(low, high))[0]
        dashed = y0 + np.minimum(counted / (len(centres) * (edges[1] - edges[0])) * scale, _HIGHEST)
        axes.plot(
            across(edges), np.append(dashed, dashed[-1]), color=INK, lw=0.8, ls="--", drawstyle="steps-post"
        )
    axes.add_collection(PolyCollection([outline], facecolors=ACCENT, alpha=0.55, linewidths=0))
    axes.plot([x0, x0 + 1], [y0, y0], color=FAINT, lw=0.7)
    for atom, rows in zip(*np.unique(column[~scaling], return_counts=True), strict=True):
        x = float(across(np.clip(atom, low, high)))
        axes.plot([x, x], [y0, y0 + _HIGHEST], color=ACCENT, lw=1.2)
        share = f"{100 * rows / len(column):.0f} %"
        axes.text(x, y0 + _HIGHEST, share, fontsize=5.5, ha="center", va="bottom", color=INK)
    if prior is not None:
        line = y0 + np.minimum(density * scale, _HIGHEST)
        axes.plot(across(middles), line, color=COLOURS[1], lw=1.3)
    for end, value, side in ((0.0, low, "left"), (1.0, high, "right")):
        axes.text(x0 + end, y0 - 0.04, f"{value:.2g}", fontsize=6.5, ha=side, va="top", color=INK)
    label = f"z{i}" if np.isnan(distance) else f"z{i}  KS {distance:.3f}"
    axes.text(x0 + 0.02, y0 + 1.17, label, fontsize=7.5, va="bottom")


def _standardise(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Return columns with mean 0 and standard deviation 1; NaN where a column is constant to rounding."""
    centred = values - values.mean(0)
    scale = centred.std(0)
    floor = 1e-6 * max(float(np.nan_to_num(scale).max(initial=0.0)), 1e-300)
    return centred / np.where(scale > floor, scale, np.nan)

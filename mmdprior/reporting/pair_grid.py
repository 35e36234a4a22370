"""The most dependent pairs of code dimensions, beside draws from the prior."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mmdprior.reporting.prior_shape import PriorShape, finite_rows
from mmdprior.reporting.style import ACCENT, COLOURS, figure_of, message, styled

__all__ = ["dependence", "pair_grid", "strongest_pairs"]

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
        return message("pairs: no finite codes")
    z = z[:_POINTS]
    pairs = strongest_pairs(dependence(z), count)
    if not pairs:
        return message("pairs: fewer than two dimensions vary")
    rows = 1 if prior is None else 2
    with styled():
        heading = title or "the most dependent pairs of codes" + (
            ", and the prior" if prior is not None else ""
        )
        figure = figure_of(
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

"""Heat maps of what each code dimension has to do with each other."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mmdprior.reporting.prior_shape import finite_rows
from mmdprior.reporting.style import figure_of, heat, message, styled

__all__ = ["correlation_map", "importance_map", "pair_map"]


def correlation_map(codes: Tensor | np.ndarray, title: str = "correlation of code dimensions") -> Figure:
    """Draw the correlations of all pairs, blank on the diagonal; constant dimensions are grey.

    Colours reach to the largest correlation, and to .1 at least: chance should look like nothing.

    Args:
        codes: (n, d); rows that are not finite are left out and told of.
        title: above the map.
    """
    z, note = finite_rows(codes)
    if len(z) < 2:
        return message("correlation: fewer than two finite codes")
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = z - z.mean(0)
        scale = centred.std(0)
        standard = centred / np.where(scale > 1e-9 * max(float(scale.max()), 1e-300), scale, np.nan)
        matrix = standard.T @ standard / len(z)
    np.fill_diagonal(matrix, np.nan)
    top = max(0.1, _largest(np.abs(matrix)))
    return _map(matrix, (-top, top), "\n".join(filter(None, [title, note])), signed=True)


def pair_map(matrix: Float[np.ndarray, "d d"], title: str, floor: float = 0.0) -> Figure:
    """Draw a symmetric matrix of pairs as a heat map.

    Args:
        matrix: NaN is left grey.
        title: above the map.
        floor: the colours reach at least so far: chance should not fill them.
    """
    return _map(matrix, (0.0, max(_largest(matrix), floor, 1e-6)), title)


def importance_map(
    matrix: Float[np.ndarray, "d d"], title: str = "fall of R2 when an input is permuted"
) -> Figure:
    """Draw an importance matrix as a heat map, predicted dimensions down and inputs across.

    Args:
        matrix: of `mmdprior.evaluation.importance`; NaN is left grey; colours run from 0 to the largest, to
            .02 at least.
        title: above the map.
    """
    figure = _map(matrix, (0.0, max(_largest(matrix), 0.02)), title)
    if len(figure.axes) > 1:
        figure.axes[0].set(xlabel="input z_j", ylabel="predicted z_i")
    return figure


def _map(matrix: np.ndarray, span: tuple[float, float], title: str, *, signed: bool = False) -> Figure:
    d = len(matrix)
    if not np.isfinite(matrix).any():
        return message(f"{title.splitlines()[0]}: nothing finite to show")
    side = min(3.4 + 0.05 * d, 6.5)
    with styled():
        figure = figure_of(side + 0.8, side)
        axes = figure.subplots()
        shown = np.where(np.isfinite(matrix), matrix, np.nan)
        image = heat(axes, shown, *span, signed=signed)
        axes.set_title(title)
        figure.colorbar(image, ax=axes, shrink=0.85)
    return figure


def _largest(matrix: np.ndarray) -> float:
    there = matrix[np.isfinite(matrix)]
    return float(there.max()) if len(there) else 0.0

"""Heat maps of codes against known factors, and the factor that every code follows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from mmdprior.figures.style import COLOURS, draw_matrix, new_figure, styled, text_figure
from mmdprior.metrics.supervised.disentanglement import Disentanglement, relation_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["draw_factor_map", "factor_figures", "factor_map", "factors_followed", "short_name"]

_MOST_NUMBERS = 240
"""Entries up to which each one is written into its cell."""
_DARK = 0.6
"""Share of the colour scale above which numbers are black; below they are white."""
_LETTERS = 18
"""Letters of the name of a factor, at most."""
_FOLLOWED = 0.1
"""Smallest strength at which a dimension is said to follow a factor."""


def factor_map(
    matrix: Float[np.ndarray, "d factors"], factors: Sequence[str], title: str = "code dimensions and factors"
) -> "Figure":
    """Draw how strongly each code dimension follows each factor as a heat map.

    The best entry of every factor has a frame. The colour scale runs from 0 to 1, or to the largest entry.

    Args:
        matrix: (d, factors) non-negative strengths, such as the mutual information of a code and a factor
            divided by the entropy of the factor. NaN is grey.
        factors: name of every factor.
        title: title of the figure.

    Example:
        >>> import numpy as np
        >>> from mmdprior.figures import factor_map
        >>> figure = factor_map(np.array([[0.9, 0.0], [0.1, 0.7], [np.nan, np.nan]]), ["shape", "scale"])
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['shape', 'scale']
    """
    matrix = np.where(np.isfinite(matrix), matrix, np.nan)
    if not np.isfinite(matrix).any():
        return text_figure(f"{title}: no finite values")
    known = np.isfinite(matrix).any(0)
    best = np.where(known, np.where(np.isfinite(matrix), matrix, -np.inf).argmax(0), -1)
    rows, columns = matrix.shape
    with styled():
        figure = new_figure(2.2 + 0.55 * min(columns, 40), 1.6 + 0.28 * min(rows, 40))
        axes = figure.subplots()
        image = draw_factor_map(axes, matrix, factors, best)
        axes.set_title(title, wrap=True)
        figure.colorbar(image, ax=axes, shrink=0.85)
    return figure


def draw_factor_map(
    axes: "Axes",
    matrix: Float[np.ndarray, "d factors"],
    factors: Sequence[str],
    framed: Int[np.ndarray, "factors"],
) -> "AxesImage":
    """Draw strengths of code dimensions and factors, with numbers where they fit, and return the image.

    Args:
        axes: where to draw.
        matrix: (d, factors) non-negative strengths, at least one of them finite; NaN is grey.
        factors: name of every factor.
        framed: (factors,) dimension whose entry of the factor has a frame, -1 for none.
    """
    top = max(1.0, float(np.nanmax(matrix)))
    image = draw_matrix(axes, matrix, 0.0, top)
    axes.set_aspect("auto")
    names = [short_name(name) for name in factors]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_ylabel("dimension")
    if matrix.size <= _MOST_NUMBERS:
        _write_numbers(axes, matrix, top)
    _frame(axes, framed)
    return image


def short_name(name: str) -> str:
    """Return the name of a factor, cut where it is long."""
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def factor_figures(scores: Disentanglement | Mapping[str, Any]) -> dict[str, "Figure"]:
    """Return the heat maps of supervised scores by name: ``factors``, and ``factor_importance`` with DCI.

    Args:
        scores: supervised scores, or their `Disentanglement.to_dict`.
    """
    matrices, per_factor, names = _parts(scores)
    figures = {}
    relation = relation_of(matrices, per_factor)
    if relation is not None:
        title, matrix = relation
        figures["factors"] = factor_map(matrix, names, title)
    if "importance" in matrices:
        title = "importance of each dimension for the prediction of each factor"
        figures["factor_importance"] = factor_map(matrices["importance"], names, title)
    return figures


def factors_followed(scores: Disentanglement | Mapping[str, Any]) -> tuple[str, ...]:
    """Return the factor that each dimension follows best, with its strength; empty for none.

    Args:
        scores: supervised scores, or their `Disentanglement.to_dict`.

    Example:
        >>> import numpy as np
        >>> from mmdprior import disentanglement
        >>> from mmdprior.figures.factor_map import factors_followed
        >>> rng = np.random.default_rng(0)
        >>> size = rng.integers(0, 4, 900)
        >>> codes = np.stack([rng.normal(size=900), size + 0.1 * rng.normal(size=900)], 1)
        >>> factors_followed(disentanglement(codes, {"size": size}, scores=["sap_r2"], chance=0))
        ('', 'size 0.99')
    """
    matrices, per_factor, names = _parts(scores)
    relation = relation_of(matrices, per_factor)
    if relation is None:
        return ()
    matrix = np.where(np.isfinite(relation[1]), relation[1], -1.0)
    best = matrix.argmax(1)
    strengths = matrix[np.arange(len(matrix)), best]
    return tuple(
        f"{names[i]} {strength:.2f}" if strength >= _FOLLOWED else ""
        for i, strength in zip(best, strengths, strict=True)
    )


def _write_numbers(axes: "Axes", matrix: Float[np.ndarray, "d factors"], top: float) -> None:
    """Write every finite entry into its cell."""
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            colour = "black" if value > _DARK * top else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)


def _frame(axes: "Axes", rows: Int[np.ndarray, "factors"]) -> None:
    """Draw a frame around one entry per column; -1 is none."""
    from matplotlib.patches import Rectangle

    style: dict[str, Any] = {"fill": False, "edgecolor": COLOURS[1], "linewidth": 1.5, "clip_on": False}
    for column in np.flatnonzero(rows >= 0):
        axes.add_patch(Rectangle((column - 0.5, rows[column] - 0.5), 1, 1, **style))


def _parts(
    scores: Disentanglement | Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[str]]:
    """Return matrices, values per factor and names of the factors."""
    if isinstance(scores, Disentanglement):
        return dict(scores.matrices), dict(scores.per_factor), [factor.name for factor in scores.factors]
    matrices = {name: np.array(rows, float) for name, rows in scores["matrices"].items()}
    per_factor = {name: np.array(values, float) for name, values in scores["per_factor"].items()}
    return matrices, per_factor, [factor["name"] for factor in scores["factors"]]

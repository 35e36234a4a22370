"""Figures of vectors and signals: curves, where images would be shown as pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.figures.style import COLOURS, new_figure, styled, text_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_figures", "unit_curves"]

_MOST_POINTS = 500
"""Points of a curve; longer ones are thinned evenly."""
_MARKED = 32
"""Features up to which a vector is drawn with a dot per feature."""
_CELL = (1.25, 0.62)
"""Width and height of a cell, in inches."""
_MOST_INCHES = 12.0


def unit_curves(samples: Float[Tensor, "n *sample"]) -> Float[Tensor, "n lines points"]:
    """Return vectors (n, p) as one curve each, or signals (n, c, t) as one curve per channel, in [0, 1].

    The features of vectors have units of their own, so each is scaled from its smallest to its largest value
    over all rows. Signals are scaled per channel. Constant ones become 0.5; NaN stays.

    Example:
        >>> import torch
        >>> from mmdprior.figures.sample_curves import unit_curves
        >>> unit_curves(torch.tensor([[1.0, 500.0], [3.0, 100.0]]))
        tensor([[[0., 1.]],
        <BLANKLINE>
                [[1., 0.]]])
    """
    curves = samples.detach().double().cpu()
    curves = curves.where(torch.isfinite(curves), torch.nan)
    is_signal = curves.ndim == 3
    curves = curves if is_signal else curves[:, None]
    axes = (0, 2) if is_signal else (0, 1)
    low = curves.nan_to_num(torch.inf).amin(axes, keepdim=True)
    high = curves.nan_to_num(-torch.inf).amax(axes, keepdim=True)
    scaled = torch.where(high > low, (curves - low) / (high - low), 0.5 + 0 * curves)
    step = -(-scaled.shape[2] // _MOST_POINTS)
    return scaled[:, :, ::step].float()


def curve_figures(
    parts: Mapping[str, tuple[Float[Tensor, "r k m *sample"], Sequence[str], Sequence[str]]],
    title: str = "",
    legend: Sequence[str] = (),
) -> "Figure":
    """Draw tables of vectors or signals next to each other; each cell of a table has m samples in it.

    All samples of a table have the same scale, which is that of `unit_curves`.

    Args:
        parts: samples, row labels and column labels of each table, by its title.
        title: title above all tables.
        legend: labels of the first and the last of the m samples of a cell; none by default. Samples in
            between have colours in between.

    Example:
        >>> import torch
        >>> from mmdprior.figures.sample_curves import curve_figures
        >>> table = torch.randn(1, 4, 2, 12)
        >>> figure = curve_figures({"vectors": (table, [], [])}, legend=["data", "decoded"])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['data', 'decoded']
    """
    filled = {name: part for name, part in parts.items() if part[0].numel()}
    if not filled:
        return text_figure(f"{title or next(iter(parts), 'curves')}: nothing to draw")
    sizes = [
        [
            max(1.0, min(side * count, _MOST_INCHES))
            for side, count in zip(_CELL, part[0].shape[1::-1], strict=True)
        ]
        for part in filled.values()
    ]
    widths = [max(width, 4.0) for width, _ in sizes]
    with styled():
        figure = new_figure(sum(widths) + 0.6 * len(sizes), max(height for _, height in sizes) + 0.8, title)
        panels = figure.subplots(1, len(filled), squeeze=False, width_ratios=widths)[0]
        for axes, (name, (samples, rows, columns)) in zip(panels, filled.items(), strict=True):
            _draw(axes, samples, rows, columns)
            axes.set_title(name)
        if legend:
            m = next(iter(filled.values()))[0].shape[2]
            from matplotlib.lines import Line2D

            ends = [Line2D([], [], color=colour) for colour in (_colours(m)[0], _colours(m)[-1])]
            figure.legend(ends, list(legend), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _draw(
    axes: "Axes", samples: Float[Tensor, "r k m *sample"], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draw all curves into one axes, which is much faster than one axes per cell."""
    from matplotlib.collections import LineCollection

    r, k, m = samples.shape[:3]
    curves = unit_curves(samples.flatten(0, 2))
    lines, points = curves.shape[1:]
    x = np.linspace(0.06, 0.94, points) if points > 1 else np.array([0.5])
    y = 0.08 + 0.84 * curves.numpy().reshape(r, k, m, lines, points)
    left, bottom = np.meshgrid(np.arange(k), np.arange(r)[::-1])
    segments = np.stack(
        [np.broadcast_to(x + left[..., None, None, None], y.shape), y + bottom[..., None, None, None]], -1
    )
    colours = _colours(m) if m > 1 else [COLOURS[i % len(COLOURS)] for i in range(lines)]
    for i in range(m if m > 1 else lines):
        chosen = segments[:, :, i] if m > 1 else segments[:, :, 0, i]
        chosen = chosen.reshape(-1, points, 2)
        axes.add_collection(LineCollection(list(chosen), colors=colours[i], linewidths=0.9))
        if points <= _MARKED:
            flat = chosen.reshape(-1, 2)
            axes.plot(flat[:, 0], flat[:, 1], ".", ms=2.5, color=colours[i])
    axes.set(xlim=(0, k), ylim=(0, r))
    axes.set_yticks([r - i - 0.5 for i in range(r)][: len(rows)], list(rows))
    axes.set_xticks([i + 0.5 for i in range(k)][: len(columns)], list(columns))
    axes.tick_params(length=0, labelsize=7.5)
    axes.hlines(range(1, r), 0, k, color="0.85", lw=0.5)
    axes.vlines(range(1, k), 0, r, color="0.85", lw=0.5)


def _colours(count: int) -> list[Any]:
    """Return two colours that differ clearly, or one per sample along a colour map."""
    if count <= 2:
        return list(COLOURS[:count])
    from matplotlib import colormaps

    return list(colormaps["cividis"](np.linspace(0, 0.9, count)))

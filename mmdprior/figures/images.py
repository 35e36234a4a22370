"""Figures of images, and of curves of vectors and signals, in rows and columns with labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.figures.sample_curves import curve_figures
from mmdprior.figures.style import new_figure, styled, text_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["error_image", "image_figure", "image_figures", "in_rows"]

_WHITE_ERROR = 0.5
"""Absolute error that is drawn white."""


def error_image(
    images: Float[Tensor, "n c h w"], decoded: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n c h w"]:
    """Return the absolute error as grey images: averaged over channels, white where it is 0.5 or more."""
    error = (images - decoded).abs().mean(1, keepdim=True) / _WHITE_ERROR
    return error.clamp(0, 1).expand_as(images)


def image_figure(
    images: Float[Tensor, "r k *sample"], rows: Sequence[str], columns: Sequence[str] = (), title: str = ""
) -> "Figure":
    """Draw r x k images, signals or vectors in rows and columns.

    Args:
        images: (r, k, c, h, w), clipped to [0, 1]; NaN is black. Signals (r, k, c, t) and vectors (r, k, p)
            are drawn as curves, scaled as by `mmdprior.figures.sample_curves.unit_curves`.
        rows: labels of the first rows; none by default.
        columns: labels of the first columns; none by default.
        title: title of the figure.

    Example:
        >>> import torch
        >>> from mmdprior.figures.images import image_figure
        >>> figure = image_figure(torch.rand(2, 5, 1, 8, 8), rows=["image", "reconstruction"])
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['image', 'reconstruction']
    """
    return image_figures({title: (images, rows, columns)})


def image_figures(
    parts: Mapping[str, tuple[Float[Tensor, "r k *sample"], Sequence[str], Sequence[str]]], title: str = ""
) -> "Figure":
    """Draw several tables of images next to each other.

    Args:
        parts: images, row labels and column labels of each table, by its title.
        title: title above all tables.
    """
    filled = {name: part for name, part in parts.items() if part[0].numel()}
    if any(samples.ndim != 5 for samples, _, _ in filled.values()):
        curves = {name: (part[0][:, :, None], *part[1:]) for name, part in filled.items()}
        return curve_figures(curves, title)
    if not filled:
        return text_figure(f"{title or next(iter(parts), 'images')}: no images")
    sizes = [(_inches(part[0].shape[1]), _inches(part[0].shape[0])) for part in filled.values()]
    widths = [width for width, _ in sizes]
    with styled():
        figure = new_figure(sum(widths) + 0.6 * len(sizes), max(height for _, height in sizes) + 0.6, title)
        panels = figure.subplots(1, len(filled), squeeze=False, width_ratios=widths)[0]
        for axes, (name, (images, rows, columns)) in zip(panels, filled.items(), strict=True):
            _draw(axes, images, rows, columns)
            axes.set_title(name)
    return figure


def in_rows(images: Float[Tensor, "n *sample"], across: int = 0) -> Float[Tensor, "r k *sample"]:
    """Return images, signals or vectors as a table of rows, with empty places where some are left over.

    Args:
        images: (n, c, h, w), (n, c, t) or (n, p).
        across: images per row; 0 makes the table as square as possible.

    Example:
        >>> import torch
        >>> from mmdprior.figures.images import in_rows
        >>> in_rows(torch.rand(10, 1, 8, 8)).shape
        torch.Size([4, 3, 1, 8, 8])
    """
    across = across or max(1, round(len(images) ** 0.5))
    empty = 1.0 if images.ndim == 4 else torch.nan  # white, or no curve
    blank = images.new_full((-len(images) % across, *images.shape[1:]), empty)
    return torch.cat([images, blank]).unflatten(0, (-1, across))


def _draw(
    axes: "Axes", images: Float[Tensor, "r k c h w"], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draw all images into one axes as one pixel array, which is much faster than one axes per image."""
    from torchvision.utils import make_grid

    r, k, _, h, w = images.shape
    flat = images.flatten(0, 1).detach().float().cpu().nan_to_num(0.0, 1.0, 0.0).clamp(0, 1)
    grid = make_grid(flat, nrow=k, padding=1, pad_value=1.0).permute(1, 2, 0).numpy()
    axes.imshow(np.ascontiguousarray(grid))
    axes.set_yticks([1 + (h + 1) * (i + 0.5) for i in range(r)][: len(rows)], list(rows))
    axes.set_xticks([1 + (w + 1) * (i + 0.5) for i in range(k)][: len(columns)], list(columns))
    axes.tick_params(length=0, labelsize=7.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _inches(count: int) -> float:
    return max(1.0, min(0.46 * count, 9.0))

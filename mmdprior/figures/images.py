"""Images in rows and columns, as pixels and as figures with names."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from mmdprior.figures.style import new_figure, styled, text_figure

__all__ = ["error_image", "image_figure", "image_figures", "in_rows"]

_FULL = 0.5
"""Absolute error that is drawn white."""


def error_image(
    images: Float[Tensor, "n c h w"], decoded: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n c h w"]:
    """Return the absolute error, averaged over channels and white from .5 on."""
    error = (images - decoded).abs().mean(1, keepdim=True) / _FULL
    return error.clamp(0, 1).expand_as(images)


def image_figure(
    images: Float[Tensor, "r k c h w"], rows: Sequence[str], columns: Sequence[str] = (), title: str = ""
) -> Figure:
    """Draw images in rows and columns.

    Args:
        images: in [0, 1]; what is not finite is black.
        rows: a name each.
        columns: a name each, or none.
        title: above.
    """
    return image_figures({title: (images, rows, columns)})


def image_figures(
    parts: dict[str, tuple[Float[Tensor, "r k c h w"], Sequence[str], Sequence[str]]], title: str = ""
) -> Figure:
    """Draw several tables of images side by side, each under its title."""
    there = {name: part for name, part in parts.items() if part[0].numel()}
    if not there:
        return text_figure(f"{title or next(iter(parts), 'images')}: no images")
    sizes = [(_inches(part[0].shape[1]), _inches(part[0].shape[0])) for part in there.values()]
    with styled():
        figure = new_figure(
            sum(s[0] for s in sizes) + 0.6 * len(sizes), max(s[1] for s in sizes) + 0.6, title
        )
        ratios = [size[0] for size in sizes]
        panels = figure.subplots(1, len(there), squeeze=False, width_ratios=ratios)[0]
        for axes, (name, (images, rows, columns)) in zip(panels, there.items(), strict=True):
            _draw(axes, images, rows, columns)
            axes.set_title(name)
    return figure


def in_rows(images: Float[Tensor, "n c h w"], across: int = 0) -> Float[Tensor, "r k c h w"]:
    """Return images as a table, filled up with white; as square as can be unless told how many across."""
    across = across or max(1, round(len(images) ** 0.5))
    blank = images.new_ones(-len(images) % across, *images.shape[1:])
    return torch.cat([images, blank]).unflatten(0, (-1, across))


def _draw(
    axes: Axes, images: Float[Tensor, "r k c h w"], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draw a table of images into axes, one pixel array for all, and name its rows and columns."""
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

"""Latent traversals: one code, with one dimension at a time moved through the quantiles of the prior."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor

from mmdprior.figures.images import image_figures
from mmdprior.figures.prior_shape import PriorShape
from mmdprior.figures.sample_curves import curve_figures, unit_curves
from mmdprior.figures.style import COLOURS, INK, PAPER, png, text_figure, to_picture
from mmdprior.models import Autoencoder, evaluation_mode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Traversal", "side_by_side", "traverse"]

_LEVELS = (0.02, 0.98)
"""Lowest and highest quantile of a traversal."""
_BATCH = 256
"""Codes decoded at a time."""
_TILE = 64
"""Side of an image in the animation, in pixels."""
_LETTERS = 10
"""Letters of a label that fit above such an image."""
_CURVE_TILE = (256, 64)
"""Width and height of a curve in the animation, in pixels."""


@dataclass(frozen=True)
class Traversal:
    """Decoded images of a traversal; the dimension that changes the image most is in the first row.

    Attributes:
        images: (r, k, c, h, w) in [0, 1]; one row per dimension, one column per quantile. Signals
            (r, k, c, t) and vectors (r, k, p) are in their own units.
        dimensions: index of the latent dimension of each row.
        levels: quantile of the prior of each column, in (0, 1).
        factors: factor that the dimension of each row follows, with its strength; empty if unknown.
        change: root mean squared difference, over pixels and columns, between the images of each row and
            their mean image; that of signals and vectors is in standard deviations of the training data.
    """

    images: Float[Tensor, "r k *sample"]
    dimensions: tuple[int, ...]
    levels: tuple[float, ...]
    change: tuple[float, ...]
    factors: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """Label of each row: the dimension, and the factor that it follows."""
        factors = self.factors or ("",) * len(self.dimensions)
        return [f"z{i} {name}".strip() for i, name in zip(self.dimensions, factors, strict=True)]

    def named(self, followed: Sequence[str]) -> "Traversal":
        """Return the traversal with factors in the labels of its rows.

        Args:
            followed: factor that each of the d dimensions follows, empty for none; see
                `mmdprior.figures.factors_followed`. Without any, the labels have no factors.
        """
        return replace(self, factors=tuple(followed[i] for i in self.dimensions) if followed else ())

    def grid(self) -> Float[Tensor, "rgb H W"]:
        """Return all images as one image, separated by white lines."""
        from torchvision.utils import make_grid

        if not len(self.images):
            return torch.ones(3, 8, 8)
        if self.images.ndim != 5:
            return to_picture(self.figure(""))
        return make_grid(self.images.flatten(0, 1), nrow=len(self.levels), pad_value=1.0)

    def figure(self, title: str = "one dimension at a time, by quantile of the prior") -> "Figure":
        """Return a figure of all images, with dimensions and quantiles as labels."""
        if not len(self.images):
            return text_figure(f"{title}: no active dimension")
        if self.images.ndim != 5:
            return curve_figures({title: self._overlaid()}, legend=self._ends())
        return image_figures({title: self.table()})

    def _repr_png_(self) -> bytes:
        return png(self.figure())

    def table(self) -> tuple[Tensor, list[str], list[str]]:
        """Return the images, one label per row (dimension) and one label per column (quantile)."""
        return self.images, self.labels, [f"{level:.2g}" for level in self.levels]

    def _overlaid(self) -> tuple[Tensor, list[str], list[str]]:
        """Return the curves with all quantiles of a dimension in one cell, and the labels of the rows."""
        return self.images[:, None], self.table()[1], []

    def _ends(self) -> list[str]:
        """Return the labels of the lowest and the highest quantile."""
        return [f"quantile {self.levels[end]:.2g}" for end in (0, -1)]

    def save_gif(self, path: Path, seconds: float = 2.0) -> Path:
        """Write an animation with one labelled tile per dimension, and return the file.

        Args:
            path: the file; its folder is created if it does not exist.
            seconds: time from the lowest to the highest quantile; the animation then runs backwards.
        """
        forth = list(range(len(self.levels)))
        frames = [self._frame(k) for k in forth + forth[-2:0:-1]] if len(self.images) else [self._frame(0)]
        path.parent.mkdir(parents=True, exist_ok=True)
        milliseconds = max(20, int(1000 * seconds / len(forth)))
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
        return path

    def _frame(self, column: int) -> Image.Image:
        if self.images.ndim != 5:
            return self._curve_frame(column)
        across = max(1, round(len(self.images) ** 0.5))
        down = max(1, -(-len(self.images) // across))
        frame = Image.new("RGB", (across * (_TILE + 4), down * (_TILE + 16)), PAPER)
        draw = ImageDraw.Draw(frame)
        for index, (row, label) in enumerate(zip(self.images, self.labels, strict=True)):
            x, y = index % across * (_TILE + 4) + 2, index // across * (_TILE + 16)
            draw.text((x, y + 1), label[:_LETTERS], fill=INK)
            array = (row[column].permute(1, 2, 0) * 255).round().byte().numpy()
            tile = Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)
            frame.paste(tile.convert("RGB").resize((_TILE, _TILE), Image.Resampling.NEAREST), (x, y + 14))
        return frame

    def _curve_frame(self, column: int) -> Image.Image:
        """Return a frame with one curve per dimension and channel, below one another."""
        curves = unit_curves(self.images.flatten(0, 1))
        curves = curves.unflatten(0, self.images.shape[:2])[:, column]
        width, height = _CURVE_TILE
        frame = Image.new("RGB", (width + 4, len(curves) * (height + 16)), PAPER)
        draw = ImageDraw.Draw(frame)
        for index, (lines, dimension) in enumerate(zip(curves, self.dimensions, strict=True)):
            top = index * (height + 16)
            draw.text((2, top + 1), f"z{dimension}", fill=INK)
            for channel, line in enumerate(lines.nan_to_num(0.5)):
                x = torch.linspace(2, width + 1, len(line)) if len(line) > 1 else torch.tensor([width / 2])
                y = top + 14 + (1 - line) * (height - 1)
                points = list(zip(x.tolist(), y.tolist(), strict=True))
                draw.line(points, fill=COLOURS[channel % len(COLOURS)], width=2)
        return frame


@torch.no_grad()
def traverse(
    model: Autoencoder,
    prior: PriorShape,
    *,
    codes: Float[Tensor, "n d"] | None = None,
    active: Bool[Tensor, "d"] | None = None,
    rows: int = 16,
    columns: int = 9,
    device: torch.device | str = "cpu",
) -> Traversal:
    """Decode one code with one dimension at a time moved through the prior's quantiles 0.02 to 0.98.

    The code is the one nearest to the median of all codes, or the median of the prior without codes. Rows are
    ordered by how much they change the image.

    Args:
        model: model on ``device``; its training mode is restored afterwards.
        prior: the intended prior, with d dimensions.
        codes: (n, d) mean codes of some images; none by default.
        active: (d,) mask of the dimensions to traverse; all by default.
        rows: largest number of dimensions in the result.
        columns: number of quantiles.
        device: where to decode.

    Example:
        >>> from mmdprior import models
        >>> from mmdprior.figures import PriorShape, traverse
        >>> from mmdprior.priors import Gaussian
        >>> encoder, decoder = models.LinearEncoder((1, 8, 8), 3), models.LinearDecoder((1, 8, 8), 3)
        >>> result = traverse(models.Autoencoder(encoder, decoder), PriorShape.of(Gaussian(3)), columns=5)
        >>> result.images.shape
        torch.Size([3, 5, 1, 8, 8])
        >>> figure = result.figure()
    """
    levels = np.linspace(*_LEVELS, columns)
    steps = torch.from_numpy(prior.quantiles(levels).astype(np.float32))
    start = torch.from_numpy(prior.quantiles(np.array([0.5]))[0].astype(np.float32))
    if codes is not None and len(codes):
        start = _central(codes.detach().float().cpu())
    dimensions = torch.arange(prior.dim) if active is None else active.cpu().nonzero().flatten()
    with evaluation_mode(model):
        # Rank all dimensions by three quantiles only; decode all columns for the chosen ones.
        ends = steps[[0, columns // 2, -1]]
        parts = dimensions.split(_BATCH // 3)
        change = [_change(model, _decode(model, start, part, ends, device), device) for part in parts]
        order = torch.cat(change).argsort(descending=True)[:rows] if change else dimensions
        chosen = dimensions[order]
        images = [
            _decode(model, start, part, steps, device) for part in chosen.split(max(1, _BATCH // columns))
        ]
    table = torch.cat(images) if images else torch.empty(0, columns, 1, 1, 1)
    changes = tuple(_change(model, table, device).tolist()) if images else ()
    return Traversal(table, tuple(chosen.tolist()), tuple(levels.tolist()), changes)


def side_by_side(traversals: Mapping[str, Traversal], title: str = "traversals") -> "Figure":
    """Return a figure of the traversals of several models next to each other.

    Each model has its own order of dimensions; row i of one model does not correspond to row i of another.

    Args:
        traversals: traversal by name of the model.
        title: title above all tables.

    Example:
        >>> import torch
        >>> from mmdprior.figures import Traversal, side_by_side
        >>> result = Traversal(torch.rand(2, 3, 1, 8, 8), (1, 0), (0.02, 0.5, 0.98), (0.2, 0.1))
        >>> figure = side_by_side({"vae": result, "mmd": result})
        >>> [axes.get_title() for axes in figure.axes]
        ['vae', 'mmd']
    """
    filled = {name: traversal for name, traversal in traversals.items() if len(traversal.images)}
    if not filled:
        return text_figure(f"{title}: no active dimension")
    axes = {traversal.images.ndim for traversal in filled.values()}
    if len(axes) > 1:
        return text_figure(f"{title}: images, signals and vectors are not drawn in one figure")
    if axes != {5}:
        first = next(iter(filled.values()))
        return curve_figures({name: t._overlaid() for name, t in filled.items()}, title, first._ends())
    return image_figures({name: traversal.table() for name, traversal in filled.items()}, title)


def _central(codes: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """Return the code nearest to the median, in units of each dimension's standard deviation."""
    median = codes.median(0).values
    scale = codes.std(0).nan_to_num(1.0).clamp(min=1e-12)
    return codes[((codes - median) / scale).square().sum(1).argmin()]


def _decode(
    model: Autoencoder, start: Tensor, dimensions: Tensor, steps: Tensor, device: torch.device | str
) -> Float[Tensor, "r k *sample"]:
    """Decode ``start`` with each dimension set to each of its steps; NaN becomes black, or 0."""
    z = start.repeat(len(dimensions), len(steps), 1)
    for row, dimension in enumerate(dimensions.tolist()):
        z[row, :, dimension] = steps[:, dimension]
    decoded = model.decode(z.flatten(0, 1).to(device)).float().cpu()
    decoded = (decoded.clamp(0, 1) if decoded.ndim == 4 else decoded).nan_to_num(0.0)
    return decoded.unflatten(0, (len(dimensions), len(steps)))


def _change(
    model: Autoencoder, images: Float[Tensor, "r k *sample"], device: torch.device | str
) -> Float[Tensor, "r"]:
    images = model.likelihood.standardise(images.flatten(0, 1).to(device)).cpu().view_as(images)
    return (images - images.mean(1, keepdim=True)).square().flatten(1).mean(1).sqrt()

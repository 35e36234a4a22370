"""What each latent dimension does: one code, one dimension at a time moved through the prior's quantiles."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.utils import make_grid

from mmdprior.figures.images import image_figures
from mmdprior.figures.prior_shape import PriorShape
from mmdprior.figures.style import PAPER, png, text_figure
from mmdprior.models import Autoencoder, evaluation_mode

__all__ = ["Traversal", "side_by_side", "traverse"]

_LEVELS = (0.02, 0.98)
_CHUNK = 256
_TILE = 64


@dataclass(frozen=True)
class Traversal:
    """Decoded pictures of a traversal, the dimension that changes the picture most first.

    Attributes:
        images: clamped to [0, 1]; a row a dimension, a column a quantile.
        dimensions: of the rows.
        levels: quantiles of the columns.
        change: root mean square over pixels and columns of the difference to the row's mean picture.
    """

    images: Float[Tensor, "r k c h w"]
    dimensions: tuple[int, ...]
    levels: tuple[float, ...]
    change: tuple[float, ...]

    def grid(self) -> Float[Tensor, "rgb H W"]:
        """Return the pictures as one, with a white line between."""
        if not len(self.images):
            return torch.ones(3, 8, 8)
        return make_grid(self.images.flatten(0, 1), nrow=len(self.levels), pad_value=1.0)

    def figure(self, title: str = "traversals over the prior's quantiles") -> Figure:
        """Return the pictures with the dimensions and quantiles named."""
        if not len(self.images):
            return text_figure(f"{title}: no dimension varies")
        return image_figures({title: self.table()})

    def _repr_png_(self) -> bytes:
        return png(self.figure())

    def table(self) -> tuple[Tensor, list[str], list[str]]:
        """Return the pictures with the names of rows and columns."""
        return self.images, [f"z{i}" for i in self.dimensions], [f"{level:.2g}" for level in self.levels]

    def save_gif(self, path: Path, seconds: float = 2.0) -> Path:
        """Write an animation, a named tile a dimension, there and back; return the file."""
        forth = list(range(len(self.levels)))
        frames = [self._frame(k) for k in forth + forth[-2:0:-1]] if len(self.images) else [self._frame(0)]
        path.parent.mkdir(parents=True, exist_ok=True)
        pause = max(20, int(1000 * seconds / len(forth)))
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=pause, loop=0)
        return path

    def _frame(self, column: int) -> Image.Image:
        across = max(1, round(len(self.images) ** 0.5))
        down = max(1, -(-len(self.images) // across))
        frame = Image.new("RGB", (across * (_TILE + 4), down * (_TILE + 16)), PAPER)
        draw = ImageDraw.Draw(frame)
        for place, (row, dimension) in enumerate(zip(self.images, self.dimensions, strict=True)):
            x, y = place % across * (_TILE + 4) + 2, place // across * (_TILE + 16)
            draw.text((x, y + 1), f"z{dimension}", fill="#1f2328")
            bytes_ = (row[column].permute(1, 2, 0) * 255).round().byte().numpy()
            tile = Image.fromarray(bytes_.squeeze(2) if bytes_.shape[2] == 1 else bytes_)
            frame.paste(tile.convert("RGB").resize((_TILE, _TILE), Image.Resampling.NEAREST), (x, y + 14))
        return frame


@torch.no_grad()
def traverse(
    model: Autoencoder,
    prior: PriorShape,
    *,
    codes: Float[Tensor, "n d"] | None = None,
    active: Tensor | None = None,
    rows: int = 16,
    columns: int = 9,
    device: torch.device | str = "cpu",
) -> Traversal:
    """Decode one code with one dimension at a time moved through the prior's quantiles .02 to .98.

    The code is the one nearest to the median of all; without codes it is the prior's median. Dimensions
    are ordered by how much they change the picture, and the first ones are returned.

    Args:
        model: on ``device``; left in the mode it was in.
        prior: the intended one; its quantiles are the steps.
        codes: mean codes of some images.
        active: (d,) dimensions that carry information; all by default.
        rows: dimensions at most.
        columns: quantiles.
        device: where to decode.
    """
    levels = np.linspace(*_LEVELS, columns)
    steps = torch.from_numpy(prior.quantiles(levels).astype(np.float32))
    start = torch.from_numpy(prior.quantiles(np.array([0.5]))[0].astype(np.float32))
    if codes is not None and len(codes):
        start = _central(codes.detach().float().cpu())
    dimensions = torch.arange(prior.dim) if active is None else active.cpu().nonzero().flatten()
    with evaluation_mode(model):
        ends = steps[[0, columns // 2, -1]]
        change = [
            _change(_decode(model, start, part, ends, device)) for part in dimensions.split(_CHUNK // 3)
        ]
        order = torch.cat(change).argsort(descending=True)[:rows] if change else dimensions
        chosen = dimensions[order]
        images = [
            _decode(model, start, part, steps, device) for part in chosen.split(max(1, _CHUNK // columns))
        ]
    shown = torch.cat(images) if images else torch.empty(0, columns, 1, 1, 1)
    return Traversal(shown, tuple(chosen.tolist()), tuple(levels.tolist()), tuple(_change(shown).tolist()))


def side_by_side(traversals: dict[str, Traversal], title: str = "the same traversal") -> Figure:
    """Return the traversals of several runs beside each other, each with its own order of dimensions."""
    there = {name: t for name, t in traversals.items() if len(t.images)}
    if not there:
        return text_figure(f"{title}: no dimension varies")
    return image_figures({name: t.table() for name, t in there.items()}, title)


def _central(codes: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    median = codes.median(0).values
    scale = codes.std(0).nan_to_num(1.0).clamp(min=1e-12)
    return codes[((codes - median) / scale).square().sum(1).argmin()]


def _decode(
    model: Autoencoder, start: Tensor, dimensions: Tensor, steps: Tensor, device: torch.device | str
) -> Float[Tensor, "r k c h w"]:
    z = start.repeat(len(dimensions), len(steps), 1)
    for row, dimension in enumerate(dimensions.tolist()):
        z[row, :, dimension] = steps[:, dimension]
    decoded = model.decode(z.flatten(0, 1).to(device)).float().cpu().clamp(0, 1).nan_to_num(0.0)
    return decoded.unflatten(0, (len(dimensions), len(steps)))


def _change(images: Float[Tensor, "r k c h w"]) -> Float[Tensor, "r"]:
    return (images - images.mean(1, keepdim=True)).square().flatten(1).mean(1).sqrt()

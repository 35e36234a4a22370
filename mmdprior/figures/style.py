"""The style of all figures, and figures as PNG, SVG and pixel arrays.

Matplotlib is imported when the first figure is drawn, not with this module.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from cycler import cycler
from jaxtyping import Float, UInt8
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = [
    "ACCENT",
    "COLOURS",
    "FAINT",
    "INK",
    "MARKERS",
    "PAPER",
    "draw_matrix",
    "line_style",
    "new_figure",
    "pixels",
    "png",
    "save_figure",
    "save_png_and_svg",
    "styled",
    "svg",
    "text_figure",
    "to_picture",
]

INK, PAPER, FAINT = "#1f2328", "#ffffff", "#8c959f"
ACCENT = "#0072b2"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5589a", "#8a6d00", "#6f6fd6", "#3a8fb7", "#7a7a7a")
"""The colour-blind safe palette of Okabe and Ito, darkened to a contrast of 3:1 on white and on #15181d."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", "-.", ":")
_NAN_COLOUR = "#d0d7de"
_DARK = {INK: "#e6edf3", PAPER: "#15181d", "#d0d7de": "#3d444d"}
"""Colours of SVG figures under a dark colour scheme, by their colour under a light one."""
_MOST_TICKS = 16
"""Tick labels per axis of a matrix."""
_STYLE: dict[str, Any] = {
    "axes.edgecolor": FAINT,
    "axes.facecolor": PAPER,
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "figure.facecolor": PAPER,
    "figure.titlesize": 10,
    "font.size": 8.5,
    "grid.color": "#d0d7de",
    "image.cmap": "cividis",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "path",
    "svg.hashsalt": "mmdprior",
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}


@contextmanager
def styled() -> Iterator[None]:
    """Use the style of the package inside a ``with`` block, independent of the caller's style."""
    import matplotlib

    wanted: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE}
    # Reading or setting the backend would import pyplot, which may load a GUI toolkit.
    wanted.pop("backend", None)
    current = matplotlib.rcParams
    with matplotlib.rc_context({key: value for key, value in wanted.items() if current[key] != value}):
        yield


def new_figure(width: float, height: float, title: str = "") -> "Figure":
    """Return an empty figure of a size in inches; call it inside `styled`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontweight="bold", wrap=True)
    return figure


def text_figure(text: str) -> "Figure":
    """Return a figure with one line of text: why there is nothing to draw."""
    with styled():
        figure = new_figure(5.0, 1.0)
        figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure


def line_style(index: int) -> dict[str, Any]:
    """Return colour, marker and dashes of line number ``index``; styles repeat after 32 lines."""
    k = len(COLOURS)
    return {
        "color": COLOURS[index % k],
        "marker": MARKERS[(index + index // k) % k],
        "linestyle": _DASHES[index // k % len(_DASHES)],
    }


def draw_matrix(
    axes: "Axes", matrix: Float[np.ndarray, "r c"], low: float, high: float, *, signed: bool = False
) -> "AxesImage":
    """Draw a matrix as a heat map with its indices as tick labels, and return the image.

    Args:
        axes: where to draw.
        matrix: values; NaN is drawn grey.
        low: value at the lower end of the colour map.
        high: value at its upper end.
        signed: whether to use a diverging colour map, white at the middle.
    """
    axes.set_facecolor(_NAN_COLOUR)
    image = axes.imshow(matrix, vmin=low, vmax=high, cmap="PuOr" if signed else "cividis")
    for axis, size in ((axes.xaxis, matrix.shape[1]), (axes.yaxis, matrix.shape[0])):
        step = max(1, -(-size // _MOST_TICKS))
        ticks = list(range(0, size, step))
        axis.set_ticks(ticks, [str(i) for i in ticks])
    axes.tick_params(length=2, labelsize=7.5)
    return image


def pixels(figure: "Figure", dpi: int = 100) -> UInt8[np.ndarray, "h w 3"]:
    """Return a figure as an RGB image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with styled():
        figure.set_dpi(dpi)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def to_picture(figure: "Figure") -> Float[Tensor, "rgb H W"]:
    """Return a figure as an image in [0, 1], as loggers take it."""
    return torch.from_numpy(pixels(figure)).permute(2, 0, 1).float() / 255


def svg(figure: "Figure") -> str:
    """Return a figure as SVG that follows the colour scheme of the reader's screen, light or dark."""
    buffer = BytesIO()
    with styled():
        figure.savefig(buffer, format="svg", dpi=110, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    )
    sheet = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    return re.sub(r"(<svg[^>]*>)", lambda match: match.group(1) + sheet, text, count=1)


def png(figure: "Figure", dpi: int = 110) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save_figure(figure: "Figure", path: Path, dpi: int = 110) -> Path:
    """Write a figure to one file, in the format of its suffix, and return the file."""
    with styled():
        figure.savefig(path, dpi=dpi)
    return path


def save_png_and_svg(figure: "Figure", path: Path) -> list[Path]:
    """Write a figure as ``<path>.png`` and ``<path>.svg``, and return both files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raster, vector = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    with styled():
        figure.savefig(raster, dpi=120)
    vector.write_text(svg(figure), encoding="utf-8")
    return [raster, vector]

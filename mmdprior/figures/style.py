"""One style for every figure: colours that the colour-blind tell apart, readable on light and on dark."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = [
    "ACCENT",
    "COLOURS",
    "FAINT",
    "INK",
    "MARKERS",
    "PAPER",
    "figure_of",
    "heat",
    "message",
    "pixels",
    "png",
    "save",
    "save_pixels",
    "series",
    "styled",
    "svg",
]

INK, PAPER, FAINT = "#1f2328", "#ffffff", "#8c959f"
ACCENT = "#0072b2"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5589a", "#8a6d00", "#6f6fd6", "#3a8fb7", "#7a7a7a")
"""Okabe and Ito's, darkened where white would swallow them: 3:1 at least on white and on #15181d."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", "-.", ":")
_DARK = {INK: "#e6edf3", PAPER: "#15181d", "#d0d7de": "#3d444d"}
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
    """Draw in the style of the package, whatever the caller's is."""
    style: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE}
    with matplotlib.rc_context(style):
        yield


def figure_of(width: float, height: float, title: str = "") -> Figure:
    """Return an empty figure of so many inches; call it inside `styled`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontweight="bold", wrap=True)
    return figure


def message(text: str) -> Figure:
    """Return a figure that says in one line why there is nothing to draw."""
    with styled():
        figure = figure_of(5.0, 1.0)
        figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure


def series(index: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the i-th of several lines; they repeat after 32."""
    k = len(COLOURS)
    return {
        "color": COLOURS[index % k],
        "marker": MARKERS[(index + index // k) % k],
        "linestyle": _DASHES[index // k % len(_DASHES)],
    }


def heat(
    axes: Any,
    matrix: np.ndarray,
    low: float,
    high: float,
    *,
    signed: bool = False,
    labels: Sequence[int] = (),
) -> Any:
    """Draw a matrix as a heat map, NaN grey, with as many labels as fit; return the image."""
    axes.set_facecolor("#d0d7de")
    image = axes.imshow(matrix, vmin=low, vmax=high, cmap="PuOr" if signed else "cividis")
    for axis, size in ((axes.xaxis, matrix.shape[1]), (axes.yaxis, matrix.shape[0])):
        step = max(1, -(-size // 16))
        ticks = list(range(0, size, step))
        axis.set_ticks(ticks, [str(labels[i]) if len(labels) > i else str(i) for i in ticks])
    axes.tick_params(length=2, labelsize=7.5)
    return image


def pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Return a figure as (H, W, 3) bytes."""
    canvas = FigureCanvasAgg(figure)
    with styled():
        figure.set_dpi(dpi)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def svg(figure: Figure) -> str:
    """Return a figure as SVG that turns dark where the reader's screen is."""
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
    return re.sub(r"(<svg[^>]*>)", lambda found: found.group(1) + sheet, text, count=1)


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save_pixels(figure: Figure, path: Path, dpi: int = 110) -> Path:
    """Write a figure as PNG alone, for pictures that are pixels anyway; return the file."""
    with styled():
        figure.savefig(path, dpi=dpi)
    return path


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and as SVG under one name; return the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    png, vector = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    with styled():
        figure.savefig(png, dpi=120)
    vector.write_text(svg(figure), encoding="utf-8")
    return [png, vector]

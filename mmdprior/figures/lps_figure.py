"""R2 of every code dimension, with LPS and the R2 of shuffled codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mmdprior.figures.style import ACCENT, COLOURS, FAINT, new_figure, styled, text_figure
from mmdprior.metrics import LPSResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["R2", "lps_figure"]

_LEAST_RANGE = 0.1
"""The R2 axis reaches at least this far, so that chance does not fill the panel."""


@dataclass(frozen=True)
class R2:
    """Held-out R2 of every dimension under one predictor.

    Attributes:
        r2: (d,) unclipped R2; NaN for inactive dimensions.
        null: (e,) R2 of column-shuffled codes under the same predictor; empty if not computed.
        score: LPS, the mean of max(0, R2) over active dimensions.
    """

    r2: Float[np.ndarray, "d"]
    null: Float[np.ndarray, "e"]
    score: float

    @staticmethod
    def of(result: LPSResult) -> "R2":
        """Return the numbers of an LPS result that `lps_figure` draws."""
        return R2(np.asarray(result.r2, float), np.asarray(result.null_r2, float), result.score)


def lps_figure(results: Mapping[str, R2], title: str = "R2 of each dimension, given the others") -> "Figure":
    """Draw R2 per dimension, one panel per predictor.

    A vertical bar shows the R2 of a dimension, an orange line LPS, and a grey band what chance gives: the
    mean of the R2 of shuffled codes plus and minus two standard deviations over dimensions.

    Args:
        results: numbers of one predictor, by the title of its panel.
        title: title above all panels.

    Example:
        >>> import torch
        >>> from mmdprior import lps
        >>> from mmdprior.figures import lps_figure
        >>> from mmdprior.figures.lps_figure import R2
        >>> codes = torch.randn(500, 3)
        >>> figure = lps_figure({"linear": R2.of(lps(codes, "linear"))})
        >>> figure.axes[0].get_ylabel(), len(figure.axes)
        ('R2', 1)
    """
    finite = {name: r for name, r in results.items() if np.isfinite(r.r2).any()}
    if not finite:
        return text_figure(f"{title}: fewer than two active dimensions")
    d = max(len(r.r2) for r in finite.values())
    with styled():
        figure = new_figure(min(4.5 + 0.05 * d, 8.0), 0.5 + 1.25 * len(finite), title)
        panels = figure.subplots(len(finite), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        width = max(0.5, 0.7 * 72 * (figure.get_figwidth() - 0.8) / max(d, 4))
        for axes, (name, r) in zip(panels, finite.items(), strict=True):
            axes.vlines(np.arange(len(r.r2)), 0, r.r2, color=ACCENT, lw=min(width, 12))
            null = r.null[np.isfinite(r.null)]
            if len(null):
                middle, spread = float(null.mean()), 2 * float(null.std())
                axes.axhspan(middle - spread, middle + spread, color=FAINT, alpha=0.35, lw=0)
            axes.axhline(r.score, color=COLOURS[1], lw=1.2)
            axes.set_title(f"{name}: LPS {r.score:.4f}", loc="left", fontweight="normal")
            axes.set_ylabel("R2")
        top = max(_LEAST_RANGE, *(float(np.nanmax(r.r2)) for r in finite.values()))
        low = min(-0.02 * top, *(float(np.nanmin(r.r2)) for r in finite.values()))
        panels[0].set_ylim(max(low, -top), 1.05 * top)
        panels[0].set_xlim(-0.8, d - 0.2)
        panels[-1].set_xlabel("predicted dimension (orange line: LPS; grey band: shuffled codes)")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure

"""LPS dimension by dimension, with what chance gives."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mmdprior.figures.style import ACCENT, COLOURS, FAINT, new_figure, styled, text_figure
from mmdprior.metrics import LPSResult

__all__ = ["R2", "lps_figure"]

_LEAST = 0.1


@dataclass(frozen=True)
class R2:
    """R2 of every dimension by one predictor.

    Attributes:
        r2: unclipped; NaN where a dimension does not vary.
        null: the same of shuffled codes; empty without any.
        score: LPS.
    """

    r2: Float[np.ndarray, "d"]
    null: Float[np.ndarray, "e"]
    score: float

    @staticmethod
    def of(result: LPSResult) -> "R2":
        """Take what is drawn from a result."""
        return R2(np.asarray(result.r2, float), np.asarray(result.null_r2, float), result.score)


def lps_figure(results: Mapping[str, R2], title: str = "R2 of each dimension from the others") -> Figure:
    """Draw a panel a predictor: a line a dimension, LPS across, and the band that shuffled codes give.

    The band reaches two standard deviations over dimensions around the mean of the shuffled R2.

    Args:
        results: by the name of the panel.
        title: above.
    """
    there = {name: r for name, r in results.items() if np.isfinite(r.r2).any()}
    if not there:
        return text_figure(f"{title}: fewer than two dimensions vary")
    d = max(len(r.r2) for r in there.values())
    with styled():
        figure = new_figure(min(4.5 + 0.05 * d, 8.0), 0.5 + 1.25 * len(there), title)
        panels = figure.subplots(len(there), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        width = max(0.5, 0.7 * 72 * (figure.get_figwidth() - 0.8) / max(d, 4))
        for axes, (name, r) in zip(panels, there.items(), strict=True):
            axes.vlines(np.arange(len(r.r2)), 0, r.r2, color=ACCENT, lw=min(width, 12))
            middle, spread = _band(r.null)
            if np.isfinite(middle):
                axes.axhspan(middle - spread, middle + spread, color=FAINT, alpha=0.35, lw=0)
            axes.axhline(r.score, color=COLOURS[1], lw=1.2)
            axes.set_title(f"{name}: LPS {r.score:.4f}", loc="left", fontweight="normal")
            axes.set_ylabel("R2")
        top = max(_LEAST, *(float(np.nanmax(r.r2)) for r in there.values()))
        low = min(-0.02 * top, *(float(np.nanmin(r.r2)) for r in there.values()))
        panels[0].set_ylim(max(low, -top), 1.05 * top)
        panels[0].set_xlim(-0.8, d - 0.2)
        panels[-1].set_xlabel("dimension (orange: LPS; grey: what shuffled codes give)")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _band(null: np.ndarray) -> tuple[float, float]:
    there = null[np.isfinite(null)]
    return (float(there.mean()), 2 * float(there.std())) if len(there) else (np.nan, np.nan)

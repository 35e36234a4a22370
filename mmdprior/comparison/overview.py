"""Figures of a comparison that no single run has: PSNR against LPS, and curves of all runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmdprior.comparison.groups import Group
from mmdprior.comparison.verdict import highest_lps, prior_verdict, quality_of
from mmdprior.figures.curves import curves, frontier, pareto_optimal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CaptionedFigure", "overview_figures"]

_CURVES = {
    "reconstruction": ("reconstruction/psnr", "PSNR of validation images", "PSNR (dB)", False),
    "r2": ("reconstruction/r2", "R2 of validation data", "R2", False),
    "loss": ("loss/reconstruction", "reconstruction loss of training batches", "loss per image", True),
    "penalty": ("penalty/weighted", "weighted penalty of training batches", "in the unit of the loss", False),
    "lps": ("lps/linear", "LPS of validation codes, linear predictor", "LPS", False),
    "match": ("match/mmd_standardised", "MMD between validation codes and prior", "null sd", False),
    "active": ("latents/active", "active dimensions", "dimensions", False),
}
"""Tag, title, axis label and whether the axis is logarithmic, by name of the figure."""
_MOST_DESCRIBED = 12
"""Groups whose values the alternative text of a figure states."""


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure with text.

    Attributes:
        figure: the figure.
        alt: alternative text for readers who cannot see the figure.
        caption: one line below the figure; none by default.
    """

    figure: "Figure"
    alt: str
    caption: str = ""


def overview_figures(groups: Sequence[Group]) -> dict[str, CaptionedFigure]:
    """Return the frontier of PSNR (or R2) and LPS, and the curves that at least one run logged, by name."""
    figures = {"frontier": _frontier(groups)}
    for name, (tag, title, label, log) in _CURVES.items():
        lines = {g.label: [run.curves[tag] for run in g.runs if tag in run.curves] for g in groups}
        if any(lines.values()):
            ends = [f"{label} {float(seeds[0][1][-1]):.4g}" for label, seeds in lines.items() if seeds]
            alt = f"{title} over training steps; at the last step: {', '.join(ends[:_MOST_DESCRIBED])}"
            figures[name] = CaptionedFigure(curves(lines, title, label, log=log), alt)
    return figures


def _frontier(groups: Sequence[Group]) -> CaptionedFigure:
    points, quality = {}, quality_of(groups)
    for group in groups:
        value = group.value(quality.tag)
        score, tag = highest_lps(group)
        points[group.label] = (value.mean, value.sd, score, group.value(tag).sd)
    name, unit = quality.title.split()[0], " dB" if "dB" in quality.title else ""
    values = [f"{label}: {p[0]:{quality.format}}{unit} at LPS {p[2]:.3f}" for label, p in points.items()]
    hollow = [group.label for group in groups if prior_verdict(group).text != "yes"]
    alt = f"{name} against the highest LPS of mean codes. {'; '.join(values[:_MOST_DESCRIBED])}"
    finite = [p for p in points.values() if math.isfinite(p[0]) and math.isfinite(p[2])]
    caption = f"{name} against the highest LPS over predictors. Up and left is better."
    if any(math.isfinite(p[1]) or math.isfinite(p[3]) for p in finite):
        caption += " Bars: standard deviation over seeds."
    if len(pareto_optimal(finite)) > 1:
        caption += " Line: the configurations that no other one exceeds in both."
    return CaptionedFigure(frontier(points, hollow, quality=quality.title), alt, caption)

"""The figures of a comparison: those that a single run cannot have."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from mmdprior.comparison.groups import Group
from mmdprior.comparison.verdict import enforced, predictability
from mmdprior.figures.curves import curves, frontier

__all__ = ["Drawn", "overview"]

_CURVES = {
    "reconstruction": ("reconstruction/psnr", "PSNR of validation images", "dB", False),
    "loss": ("loss/reconstruction", "reconstruction loss", "loss", True),
    "penalty": ("penalty/weighted", "weighted penalty", "penalty", False),
    "lps": ("lps/linear", "LPS (linear) of validation codes", "LPS", False),
    "match": ("match/mmd_standardised", "MMD to the intended prior", "null standard deviations", False),
    "active": ("latents/active", "active dimensions", "dimensions", False),
}


@dataclass(frozen=True)
class Drawn:
    """A figure, what it shows in words for those who cannot see it, and a line below it."""

    figure: Figure
    alt: str
    caption: str = ""


def overview(groups: Sequence[Group]) -> dict[str, Drawn]:
    """Return the frontier and the curves that any run logged, by name."""
    found = {"frontier": _frontier(groups)}
    for name, (tag, title, label, log) in _CURVES.items():
        lines = {g.label: [run.curves[tag] for run in g.runs if tag in run.curves] for g in groups}
        if any(lines.values()):
            ends = [
                f"{g.label} {float(run.curves[tag][1][-1]):.4g}"
                for g in groups
                for run in g.runs[:1]
                if tag in run.curves
            ]
            alt = f"{title} over training steps; at the last step: {', '.join(ends[:12])}"
            found[name] = Drawn(curves(lines, title, label, log=log), alt)
    return found


def _frontier(groups: Sequence[Group]) -> Drawn:
    points = {}
    for group in groups:
        psnr = group.value("reconstruction/psnr")
        score, tag = predictability(group)
        points[group.label] = (psnr.mean, psnr.sd, score, group.value(tag).sd)
    told = [f"{name}: {p[0]:.2f} dB at LPS {p[2]:.3f}" for name, p in points.items()]
    hollow = [group.label for group in groups if enforced(group).text != "yes"]
    alt = f"PSNR against the highest LPS of mean codes. {'; '.join(told[:12])}"
    caption = "Up and to the left is better; the line joins the runs that no other beats in both."
    return Drawn(frontier(points, hollow), alt, caption)

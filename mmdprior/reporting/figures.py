"""Figures of codes and of their scores."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from mmdprior.evaluation import Codes, Evaluation, active_dimensions
from mmdprior.seeding import stream

__all__ = ["aggregate_posterior", "figures_of", "pair_map", "r2_bars", "save_figures"]

_POINTS = 2000
_SHOWN = 5
_LABELLED = 32


def figures_of(evaluation: Evaluation, codes: Codes) -> dict[str, Figure]:
    """Return every figure of one input by name."""
    active = active_dimensions(codes.latent)
    dimensions = (active if bool(active.any()) else ~active).nonzero().flatten()[:_SHOWN]
    sample = codes.latent.sample
    rows = torch.randperm(len(sample), generator=stream(0, "figure"))[:_POINTS].to(sample.device)
    shown = sample[rows][:, dimensions].float().cpu().numpy()
    figures = {"aggregate_posterior": aggregate_posterior(shown, dimensions.cpu().numpy())}
    if evaluation.lps:
        figures["r2"] = r2_bars(evaluation)
    for representation, companions in evaluation.independence.items():
        if companions.mutual_information is not None:
            title = f"mutual information, {representation} codes (nats)"
            figures[f"mutual_information_{representation}"] = pair_map(
                companions.mutual_information.matrix, title, companions.mutual_information.level
            )
    return figures


def save_figures(evaluation: Evaluation, codes: Codes, folder: Path) -> list[Path]:
    """Write every figure of one input as PNG; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in figures_of(evaluation, codes).items():
        files.append(folder / f"{name}.png")
        figure.savefig(files[-1], dpi=120)
    return files


def aggregate_posterior(codes: Float[np.ndarray, "n k"], dimensions: Int[np.ndarray, "k"]) -> Figure:
    """Draw histograms of dimensions on the diagonal and scatters of their pairs below it."""
    k = codes.shape[1]
    figure = Figure(figsize=(1 + 1.8 * k, 1 + 1.8 * k), layout="constrained")
    grid = figure.subplots(k, k, squeeze=False, sharex="col")
    for row in range(k):
        for column in range(k):
            axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
            elif column == row:
                axes.hist(codes[:, row], bins=40, color="0.4")
                axes.set_yticks([])
            else:
                axes.plot(codes[:, column], codes[:, row], ".", markersize=1.5, alpha=0.4)
            if row == k - 1:
                axes.set_xlabel(f"z_{dimensions[column]}")
            if column == 0:
                axes.set_ylabel(f"z_{dimensions[row]}")
    figure.suptitle(f"aggregate posterior, {len(codes)} codes")
    return figure


def r2_bars(evaluation: Evaluation) -> Figure:
    """Draw the R2 of every dimension, one panel a set of codes and predictor; inactive ones have no bar."""
    figure = Figure(
        figsize=(min(4 + 0.12 * evaluation.dim, 16), 0.6 + 1.5 * len(evaluation.lps)), layout="constrained"
    )
    panels = figure.subplots(len(evaluation.lps), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, ((representation, predictor), result) in zip(panels, evaluation.lps.items(), strict=True):
        axes.bar(np.arange(result.dim), result.r2, color="0.4")
        axes.axhline(result.score, color="tab:red", linewidth=1)
        axes.set_title(f"{predictor}, {representation} codes: LPS {result.score:.4f}", fontsize="medium")
        axes.set_ylabel("R2")
    highest = np.nanmax([0.1, *(result.max for result in evaluation.lps.values())])
    panels[0].set_ylim(top=1.05 * highest)  # a tenth at least: what chance gives should look like nothing
    panels[-1].set_xlabel("dimension")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def pair_map(matrix: Float[np.ndarray, "d d"], title: str, floor: float = 0.0) -> Figure:
    """Draw a symmetric matrix of pairs as a heat map.

    Args:
        matrix: NaN is left grey.
        title: above the map.
        floor: the colours reach at least so far: chance should not fill them.
    """
    d = len(matrix)
    side = min(4 + 0.15 * d, 16)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.85")
    top = float(np.nanmax(matrix)) if np.isfinite(matrix).any() else 0.0
    image = axes.imshow(matrix, vmin=0, vmax=max(top, floor, 1e-6), interpolation="nearest")
    if d <= _LABELLED:
        axes.set_xticks(range(d))
        axes.set_yticks(range(d))
    axes.set_title(title)
    figure.colorbar(image, ax=axes)
    return figure

"""Figures of codes and of their scores."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from mmdprior.evaluation import Codes, Evaluation
from mmdprior.reporting.heat_maps import correlation_map, pair_map
from mmdprior.reporting.lps_figure import R2, lps_figure
from mmdprior.reporting.marginals import marginals, quantiles
from mmdprior.reporting.pair_grid import pair_grid
from mmdprior.reporting.prior_shape import PriorShape
from mmdprior.reporting.style import save
from mmdprior.seeding import stream

__all__ = ["figures_of", "save_figures"]

_POINTS = 2000


def figures_of(evaluation: Evaluation, codes: Codes, prior: PriorShape | None = None) -> dict[str, Figure]:
    """Return every figure of one input by name; those against a prior where it is given."""
    sample = codes.latent.sample
    some = torch.randperm(len(sample), generator=stream(0, "figure"))[:_POINTS].to(sample.device)
    figures = {"marginals": marginals(sample, prior)}
    if prior is not None:
        figures["quantiles"] = quantiles(sample, prior)
    figures["pairs"] = pair_grid(sample[some], prior)
    figures["correlation"] = correlation_map(sample)
    if evaluation.lps:
        figures["lps"] = lps_figure(
            {f"{predictor}, {codes} codes": R2.of(r) for (codes, predictor), r in evaluation.lps.items()}
        )
    for representation, companions in evaluation.independence.items():
        if companions.mutual_information is not None:
            title = f"mutual information, {representation} codes (nats)"
            figures[f"mutual_information_{representation}"] = pair_map(
                companions.mutual_information.matrix, title, companions.mutual_information.level
            )
    return figures


def save_figures(
    evaluation: Evaluation, codes: Codes, folder: Path, prior: PriorShape | None = None
) -> list[Path]:
    """Write every figure of one input as PNG and SVG; return the files."""
    return [
        path
        for name, figure in figures_of(evaluation, codes, prior).items()
        for path in save(figure, folder / name)
    ]

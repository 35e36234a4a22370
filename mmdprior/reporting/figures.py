"""Figures of codes and of their scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.evaluation import Codes, Evaluation
from mmdprior.reporting.heat_maps import correlation_map, importance_map, pair_map
from mmdprior.reporting.lps_figure import R2, lps_figure
from mmdprior.reporting.marginals import marginals, quantiles
from mmdprior.reporting.pair_grid import pair_grid
from mmdprior.reporting.prior_shape import PriorShape
from mmdprior.reporting.style import save
from mmdprior.seeding import stream

__all__ = ["figures_of", "figures_of_codes", "save_figures", "saved_figures"]

_POINTS = 2000


def figures_of(evaluation: Evaluation, codes: Codes, prior: PriorShape | None = None) -> dict[str, Figure]:
    """Return every figure of one input by name; those against a prior where it is given."""
    results = {f"{predictor}, {kind} codes": R2.of(r) for (kind, predictor), r in evaluation.lps.items()}
    figures = figures_of_codes(codes.latent.sample, prior, results)
    for representation, companions in evaluation.independence.items():
        if companions.mutual_information is not None:
            title = f"mutual information, {representation} codes (nats)"
            figures[f"mutual_information_{representation}"] = pair_map(
                companions.mutual_information.matrix, title, companions.mutual_information.level
            )
    return figures


def figures_of_codes(
    sample: Tensor | np.ndarray, prior: PriorShape | None, results: Mapping[str, R2]
) -> dict[str, Figure]:
    """Return the figures of sampled codes, and of R2 by the name of its panel."""
    some = torch.randperm(len(sample), generator=stream(0, "figure"))[:_POINTS]
    figures = {"marginals": marginals(sample, prior)}
    if prior is not None:
        figures["quantiles"] = quantiles(sample, prior)
    chosen = sample[some.to(sample.device)] if isinstance(sample, Tensor) else sample[some.numpy()]
    figures["pairs"] = pair_grid(chosen, prior)
    figures["correlation"] = correlation_map(sample)
    if results:
        figures["lps"] = lps_figure(results)
    return figures


def saved_figures(arrays: Mapping[str, np.ndarray], test: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures of a run from its ``codes.npz`` and ``test.json``.

    Raises:
        InputError: a file of another format.
    """
    try:
        prior = PriorShape(arrays["prior_grid"], arrays["prior_cdf"], arrays["prior_draws"])
        results = {
            f"{entry['predictor']}, {entry['representation']} codes": R2(
                np.array(entry["r2"], float), np.array(entry["null_r2"], float), entry["score"] or np.nan
            )
            for entry in test.get("lps", ())
        }
        figures = figures_of_codes(arrays["sample" if "sample" in arrays else "mean"], prior, results)
        if "dependence" in arrays:
            title = "mutual information of pairs (nats)"
            floor = float(arrays["dependence_chance"])
            figures["dependence"] = pair_map(arrays["dependence"], title, floor)
            figures["importance"] = importance_map(arrays["importance"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"codes.npz: of another format ({reason(error)}); delete it, then compare --complete"
        ) from None
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

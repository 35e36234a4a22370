"""Figures of codes and of their scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.evaluation import Codes, Evaluation
from mmdprior.figures.lps_figure import R2, lps_figure
from mmdprior.figures.marginals import marginals, pair_grid, quantiles
from mmdprior.figures.prior_shape import PriorShape, finite_rows
from mmdprior.figures.style import draw_matrix, new_figure, save_png_and_svg, styled, text_figure
from mmdprior.seeding import stream

__all__ = [
    "correlation_map",
    "figures_of",
    "figures_of_codes",
    "importance_map",
    "pair_map",
    "save_figures",
    "saved_figures",
]


def correlation_map(codes: Tensor | np.ndarray, title: str = "correlation of code dimensions") -> Figure:
    """Draw the correlations of all pairs, blank on the diagonal; constant dimensions are grey.

    Colours reach to the largest correlation, and to .1 at least: chance should look like nothing.

    Args:
        codes: (n, d); rows that are not finite are left out and told of.
        title: above the map.
    """
    z, note = finite_rows(codes)
    if len(z) < 2:
        return text_figure("correlation: fewer than two finite codes")
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = z - z.mean(0)
        scale = centred.std(0)
        standard = centred / np.where(scale > 1e-9 * max(float(scale.max()), 1e-300), scale, np.nan)
        matrix = standard.T @ standard / len(z)
    np.fill_diagonal(matrix, np.nan)
    top = max(0.1, _largest(np.abs(matrix)))
    return _map(matrix, (-top, top), "\n".join(filter(None, [title, note])), signed=True)


def pair_map(matrix: Float[np.ndarray, "d d"], title: str, floor: float = 0.0) -> Figure:
    """Draw a symmetric matrix of pairs as a heat map.

    Args:
        matrix: NaN is left grey.
        title: above the map.
        floor: the colours reach at least so far: chance should not fill them.
    """
    return _map(matrix, (0.0, max(_largest(matrix), floor, 1e-6)), title)


def importance_map(
    matrix: Float[np.ndarray, "d d"], title: str = "fall of R2 when an input is permuted"
) -> Figure:
    """Draw an importance matrix as a heat map, predicted dimensions down and inputs across.

    Args:
        matrix: of `mmdprior.metrics.importance`; NaN is left grey; colours run from 0 to the largest, to
            .02 at least.
        title: above the map.
    """
    figure = _map(matrix, (0.0, max(_largest(matrix), 0.02)), title)
    if len(figure.axes) > 1:
        figure.axes[0].set(xlabel="input z_j", ylabel="predicted z_i")
    return figure


def _map(matrix: np.ndarray, span: tuple[float, float], title: str, *, signed: bool = False) -> Figure:
    d = len(matrix)
    if not np.isfinite(matrix).any():
        return text_figure(f"{title.splitlines()[0]}: nothing finite to show")
    side = min(3.4 + 0.05 * d, 6.5)
    with styled():
        figure = new_figure(side + 0.8, side)
        axes = figure.subplots()
        shown = np.where(np.isfinite(matrix), matrix, np.nan)
        image = draw_matrix(axes, shown, *span, signed=signed)
        axes.set_title(title)
        figure.colorbar(image, ax=axes, shrink=0.85)
    return figure


def _largest(matrix: np.ndarray) -> float:
    there = matrix[np.isfinite(matrix)]
    return float(there.max()) if len(there) else 0.0


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
        for path in save_png_and_svg(figure, folder / name)
    ]

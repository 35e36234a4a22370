"""Heat maps of pairs of code dimensions, and the set of all figures of some codes and their scores."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.evaluation import Codes, Evaluation
from mmdprior.figures.factor_map import factor_figures
from mmdprior.figures.lps_figure import R2, lps_figure
from mmdprior.figures.marginals import marginals, pair_grid, quantiles
from mmdprior.figures.prior_shape import PriorShape, finite_rows
from mmdprior.figures.style import draw_matrix, new_figure, save_png_and_svg, styled, text_figure
from mmdprior.seeding import stream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "correlation_map",
    "figures_of",
    "figures_of_codes",
    "importance_map",
    "pair_map",
    "save_figures",
    "saved_figures",
]

_LEAST_CORRELATION = 0.1
"""The colours of `correlation_map` reach at least this far, so that chance stays pale."""
_LEAST_IMPORTANCE = 0.02
"""The colours of `importance_map` reach at least this far, so that chance stays dark."""
_CONSTANT = 1e-9
"""A dimension is constant if its standard deviation is at most this fraction of the largest."""
_LARGEST = 1e300
"""Largest code that is drawn: the range of an axis would overflow."""
_SCATTERED = 2000
"""Codes that `pair_grid` gets, drawn at random with a fixed seed."""


def correlation_map(codes: Tensor | np.ndarray, title: str = "correlation of code dimensions") -> "Figure":
    """Draw the correlation matrix of code dimensions as a heat map.

    The diagonal and constant dimensions are grey. The colour scale is symmetric and reaches the largest
    absolute correlation, but at least 0.1.

    Args:
        codes: (n, d); rows that are not finite are left out, and the title states how many.
        title: title of the figure.

    Example:
        >>> import torch
        >>> from mmdprior.figures import correlation_map
        >>> z = torch.randn(1000, 3)
        >>> z[:, 2] = z[:, 0]
        >>> figure = correlation_map(z)
        >>> round(float(figure.axes[0].images[0].get_array()[0, 2]), 4)
        1.0
    """
    z, note = finite_rows(codes)
    if len(z) < 2:
        return text_figure("correlation: fewer than two finite codes")
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = z - z.mean(0)
        scale = centred.std(0)
        standard = centred / np.where(scale > _CONSTANT * max(float(scale.max()), 1e-300), scale, np.nan)
        matrix = standard.T @ standard / len(z)
    np.fill_diagonal(matrix, np.nan)
    top = max(_LEAST_CORRELATION, _largest(np.abs(matrix)))
    heading = "\n".join(filter(None, [title, note]))
    return _heat_map(matrix, (-top, top), heading, ("dimension", "dimension"), signed=True)


def pair_map(matrix: Float[np.ndarray, "d d"], title: str, floor: float = 0.0) -> "Figure":
    """Draw a symmetric matrix of a non-negative pairwise statistic as a heat map.

    Args:
        matrix: (d, d) value of each pair of dimensions, such as mutual information; NaN is grey.
        title: title of the figure.
        floor: the colour scale reaches at least this value; give what chance gives.

    Example:
        >>> import numpy as np
        >>> from mmdprior.figures import pair_map
        >>> figure = pair_map(np.array([[np.nan, 0.3], [0.3, np.nan]]), "mutual information (nats)")
        >>> figure.axes[0].images[0].get_clim()
        (0.0, 0.3)
    """
    top = max(_largest(matrix), floor, 1e-6)
    return _heat_map(matrix, (0.0, top), title, ("dimension", "dimension"))


def importance_map(
    matrix: Float[np.ndarray, "d d"], title: str = "drop in R2 when an input is permuted"
) -> "Figure":
    """Draw permutation importances as a heat map: predicted dimensions in rows, inputs in columns.

    Args:
        matrix: (d, d) result of `mmdprior.metrics.importance`: entry (i, j) is the drop in the R2 of
            dimension i when dimension j is permuted. NaN is grey. The colour scale runs from 0 to the largest
            entry, but at least to 0.02.
        title: title of the figure.

    Example:
        >>> import torch
        >>> from mmdprior import importance
        >>> from mmdprior.figures import importance_map
        >>> z = torch.randn(600, 3)
        >>> z[:, 2] = z[:, 0] + 0.1 * z[:, 1]
        >>> figure = importance_map(importance(z, "linear"))
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
        ('permuted input z_j', 'predicted z_i')
    """
    span = (0.0, max(_largest(matrix), _LEAST_IMPORTANCE))
    return _heat_map(matrix, span, title, ("permuted input z_j", "predicted z_i"))


def figures_of(
    evaluation: Evaluation, codes: Codes, prior: PriorShape | None = None, *, per_row: int = 8
) -> dict[str, "Figure"]:
    """Return all figures of an evaluation by name.

    The names are ``marginals``, ``quantiles`` (with a prior), ``pairs``, ``correlation``, ``lps`` (with two
    or more dimensions), and ``mutual_information_mean`` and ``mutual_information_sample`` if computed. With
    supervised scores there are ``factors`` and, with DCI, ``factor_importance``.

    Args:
        evaluation: scores of the codes.
        codes: the codes, with the latents of n images.
        prior: the intended prior; none by default.
        per_row: dimensions next to each other in the figure of marginals.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.evaluation import Codes, score_codes
        >>> from mmdprior.figures import figures_of
        >>> z = torch.randn(300, 2)
        >>> codes = Codes(Latent(z, z), torch.empty(300, 0), ())
        >>> sorted(figures_of(score_codes(codes, ["linear"]), codes))
        ['correlation', 'lps', 'marginals', 'pairs']
    """
    results = {
        f"{predictor}, {representation} codes": R2.of(result)
        for (representation, predictor), result in evaluation.lps.items()
    }
    means = None if codes.latent.log_var is None else codes.latent.mean
    figures = figures_of_codes(codes.latent.sample, prior, results, means=means, per_row=per_row)
    for representation, scores in evaluation.independence.items():
        if scores.mutual_information is not None:
            title = f"mutual information, {representation} codes (nats)"
            figures[f"mutual_information_{representation}"] = pair_map(
                scores.mutual_information.matrix, title, scores.mutual_information.level
            )
    if evaluation.disentanglement is not None:
        figures |= factor_figures(evaluation.disentanglement)
    return figures


def figures_of_codes(
    sample: Tensor | np.ndarray,
    prior: PriorShape | None,
    results: Mapping[str, R2],
    *,
    means: Tensor | np.ndarray | None = None,
    per_row: int = 8,
) -> dict[str, "Figure"]:
    """Return the figures of sampled codes by name.

    Args:
        sample: (n, d) sampled codes.
        prior: the intended prior, or None.
        results: R2 per predictor by the title of its panel; without any there is no figure ``lps``.
        means: (n, d) mean codes, drawn over the sampled ones; none by default.
        per_row: dimensions next to each other in the figure of marginals.

    Raises:
        InputError: a code is so large that the range of an axis would overflow.
    """
    largest = max(float(sample.max()), -float(sample.min())) if len(sample) else 0.0
    if _LARGEST < largest < math.inf:
        raise InputError(f"figures: codes up to {largest:.0e} received; draw codes up to {_LARGEST:.0e}")
    rows = torch.randperm(len(sample), generator=stream(0, "figure"))[:_SCATTERED]
    figures = {"marginals": marginals(sample, prior, means=means, per_row=per_row)}
    if prior is not None:
        figures["quantiles"] = quantiles(sample, prior)
    scattered = sample[rows.to(sample.device)] if isinstance(sample, Tensor) else sample[rows.numpy()]
    figures["pairs"] = pair_grid(scattered, prior)
    figures["correlation"] = correlation_map(sample)
    if results:
        figures["lps"] = lps_figure(results)
    return figures


def saved_figures(arrays: Mapping[str, np.ndarray], test: Mapping[str, Any]) -> dict[str, "Figure"]:
    """Return the figures of a finished run by name.

    Args:
        arrays: content of ``report/codes.npz``.
        test: content of ``report/test.json``.

    Raises:
        InputError: a file does not have the expected format.
    """
    try:
        prior = PriorShape(arrays["prior_grid"], arrays["prior_cdf"], arrays["prior_draws"])
        results = {
            f"{entry['predictor']}, {entry['representation']} codes": R2(
                np.array(entry["r2"], float), np.array(entry["null_r2"], float), entry["score"] or np.nan
            )
            for entry in test.get("lps", ())
        }
        sample, means = (arrays["sample"], arrays["mean"]) if "sample" in arrays else (arrays["mean"], None)
        figures = figures_of_codes(sample, prior, results, means=means)
        if "dependence" in arrays:
            title = "mutual information of pairs (nats)"
            floor = float(arrays["dependence_chance"])
            figures["dependence"] = pair_map(arrays["dependence"], title, floor)
            figures["importance"] = importance_map(arrays["importance"])
        if "disentanglement" in test:
            figures |= factor_figures(test["disentanglement"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"codes.npz: unexpected format ({reason(error)}); delete the file, then run compare --complete"
        ) from None
    return figures


def save_figures(
    evaluation: Evaluation, codes: Codes, folder: Path, prior: PriorShape | None = None
) -> list[Path]:
    """Write all figures of an evaluation as PNG and SVG.

    Args:
        evaluation: scores of the codes.
        codes: the codes, with the latents of n images.
        folder: created if it does not exist.
        prior: the intended prior; none by default.

    Returns:
        The files, two per figure.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.evaluation import Codes, score_codes
        >>> from mmdprior.figures import save_figures
        >>> z = torch.zeros(300, 1)
        >>> codes = Codes(Latent(z, z), torch.empty(300, 0), ())
        >>> files = save_figures(score_codes(codes), codes, Path("figures"))
        >>> files[0].name
        'marginals.png'
    """
    return [
        path
        for name, figure in figures_of(evaluation, codes, prior).items()
        for path in save_png_and_svg(figure, folder / name)
    ]


def _heat_map(
    matrix: Float[np.ndarray, "d d"],
    span: tuple[float, float],
    title: str,
    labels: tuple[str, str],
    *,
    signed: bool = False,
) -> "Figure":
    d = len(matrix)
    if not np.isfinite(matrix).any():
        return text_figure(f"{title.splitlines()[0]}: no finite values")
    side = min(3.4 + 0.05 * d, 6.5)
    with styled():
        figure = new_figure(side + 0.8, side)
        axes = figure.subplots()
        image = draw_matrix(axes, np.where(np.isfinite(matrix), matrix, np.nan), *span, signed=signed)
        axes.set(title=title, xlabel=labels[0], ylabel=labels[1])
        figure.colorbar(image, ax=axes, shrink=0.85)
    return figure


def _largest(matrix: np.ndarray) -> float:
    finite = matrix[np.isfinite(matrix)]
    return float(finite.max()) if len(finite) else 0.0

"""Codes by label against a conditional prior, and decoded draws of the prior given a label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.figures.factor_map import short_name
from mmdprior.figures.images import image_figures
from mmdprior.figures.label_traversal import label_values_shown
from mmdprior.figures.panels import prior_samples
from mmdprior.figures.style import COLOURS, draw_matrix, new_figure, styled, text_figure
from mmdprior.models import Autoencoder
from mmdprior.priors import ConditionalPrior, Factor, Given
from mmdprior.priors.factor import label_values
from mmdprior.seeding import stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["conditional_samples", "label_codes"]

_MOST_LABELS = 6
"""Labels that are drawn."""
_MOST_VALUES = 20
"""Values of a label that are drawn, evenly spaced."""
_MOST_CURVES = 2
"""Dimensions of a label up to which each has a panel; the means of more dimensions are a heat map."""
_DRAWS = 2000
"""Prior draws per value of a label."""
_BAND = (0.05, 0.95)
"""Quantiles between which codes and prior draws are drawn."""


def label_codes(
    codes: Float[Tensor, "n d"], labels: Tensor, names: Sequence[str], prior: ConditionalPrior, seed: int = 0
) -> "Figure":
    """Draw the codes of every value of a label in the dimensions of the label, and those that the prior has.

    Up to two dimensions have a panel each: the median and the range from 5 to 95 % of the codes per value,
    over the same range of the prior given the value. More dimensions are two heat maps of means per value.

    Args:
        codes: codes on any device.
        labels: (n, k) labels of the same rows; NaN, or negative in integer labels, where missing.
        names: one name per label column.
        prior: conditional prior of the codes.
        seed: seed of the prior draws.

    Example:
        >>> import torch
        >>> from mmdprior.figures.label_codes import label_codes
        >>> from mmdprior.priors import Factors
        >>> prior = Factors(3, {"x": {"dims": [1], "levels": 4}})
        >>> labels = torch.arange(400)[:, None] % 4
        >>> figure = label_codes(prior.sample(400, given=labels), labels, ("x",), prior)
        >>> figure.axes[0].get_title(), figure.axes[0].get_ylabel()
        ('x', 'dimension 1')
    """
    known = [factor for factor in prior.factors if factor.name in names][:_MOST_LABELS]
    panels = [
        panel
        for factor in known
        for panel in _panels(factor, codes, labels[:, list(names).index(factor.name)], prior, seed)
    ]
    if not panels:
        return text_figure("codes by label: no labelled codes")
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    with styled():
        figure = new_figure(3.3 * across, 2.6 * down)
        places = figure.subplots(down, across, squeeze=False).flatten()
        for axes, panel in zip(places, panels, strict=False):
            panel.draw(axes)
        for axes in places[len(panels) :]:
            axes.set_axis_off()
    return figure


@torch.no_grad()
def conditional_samples(
    model: Autoencoder, prior: ConditionalPrior, *, rows: int = 6, columns: int = 10, seed: int = 0
) -> "Figure":
    """Draw decoded samples of the prior given each value of a label, a table per label.

    Args:
        model: model on the device of the codes that it decodes.
        prior: conditional prior.
        rows: draws per value.
        columns: most values of a label, evenly spaced.
        seed: seed of the draws.

    Example:
        >>> from mmdprior import models
        >>> from mmdprior.figures.label_codes import conditional_samples
        >>> from mmdprior.priors import Factors
        >>> model = models.Autoencoder(models.LinearEncoder((1, 8, 8), 3), models.LinearDecoder((1, 8, 8), 3))
        >>> figure = conditional_samples(model, Factors(3, {"x": {"dims": [1], "levels": 4}}))
        >>> figure.axes[0].get_title()
        'x'
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    tables: dict[str, tuple[Tensor, Sequence[str], Sequence[str]]] = {}
    for factor in prior.factors[:_MOST_LABELS]:
        values = label_values_shown(factor, columns)
        draws = [
            prior_samples(model, Given(prior, {factor.name: value}).to(prior.device), rows, device, seed)
            for value in values
        ]
        tables[factor.name] = (torch.stack(draws, 1), (), [f"{value:g}" for value in values])
    return image_figures(tables, "decoded draws from the prior given a label")


class _Ranges:
    """Panel of one dimension: ranges of codes and of the prior, by value of the label."""

    def __init__(
        self, title: str, dim: int, values: list[float], codes: list[Tensor], drawn: list[Tensor]
    ) -> None:
        self._title, self._dim, self._values = title, dim, values
        self._codes = np.array([_quantiles(rows[:, dim]) for rows in codes])
        self._prior = np.array([_quantiles(rows[:, dim]) for rows in drawn])

    def draw(self, axes: "Axes") -> None:
        low, middle, high = self._codes.T
        from_, _, to = self._prior.T
        axes.fill_between(self._values, from_, to, color=COLOURS[1], alpha=0.3, label="prior")
        reach = [middle - low, high - middle]
        axes.errorbar(self._values, middle, reach, fmt="o", ms=3, color=COLOURS[0], label="codes")
        axes.set_title(self._title)
        axes.set_ylabel(f"dimension {self._dim}")
        axes.legend(loc="best", fontsize=7)


class _Means:
    """Panel of all dimensions of a label: means of codes or of the prior, by value."""

    def __init__(self, title: str, dims: Sequence[int], values: list[float], groups: list[Tensor]) -> None:
        self._title, self._dims, self._values = title, dims, values
        self._means = np.array([rows[:, list(dims)].mean(0).numpy() for rows in groups]).T

    def draw(self, axes: "Axes") -> None:
        top = float(np.abs(self._means).max()) or 1.0
        image = draw_matrix(axes, self._means, -top, top, signed=True)
        axes.set_aspect("auto")
        axes.set_title(self._title)
        axes.set_xticks(range(len(self._values)), [f"{value:g}" for value in self._values])
        axes.set_yticks(range(len(self._dims)), [str(dim) for dim in self._dims])
        axes.set_ylabel("dimension")
        axes.figure.colorbar(image, ax=axes)


def _panels(
    factor: Factor, codes: Tensor, column: Tensor, prior: ConditionalPrior, seed: int
) -> Sequence[_Ranges | _Means]:
    """Return the panels of a label; none for a label that no code has."""
    z, known = codes.detach().float().cpu(), label_values(column.cpu())
    half = 0.5 if factor.levels is not None else (factor.high - factor.low) / (2 * (_MOST_VALUES - 1))
    values, found, drawn = [], [], []
    for value in label_values_shown(factor, _MOST_VALUES):
        rows = z[(known - value).abs() < half]
        if len(rows):
            generator = stream(seed, "label codes", device=prior.device)
            given = Given(prior, {factor.name: value}).to(prior.device)
            values.append(value)
            found.append(rows)
            drawn.append(given.sample(_DRAWS, generator).float().cpu())
    if not values:
        return ()
    name = short_name(factor.name)
    if len(factor.dims) <= _MOST_CURVES:
        return [_Ranges(name, dim, values, found, drawn) for dim in factor.dims]
    parts = (("mean codes", found), ("prior", drawn))
    return [_Means(f"{name}: {title}", factor.dims, values, groups) for title, groups in parts]


def _quantiles(values: Tensor) -> tuple[float, float, float]:
    low, middle, high = torch.quantile(values, torch.tensor([_BAND[0], 0.5, _BAND[1]])).tolist()
    return low, middle, high

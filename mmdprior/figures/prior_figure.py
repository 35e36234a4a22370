"""A prior before training: scatter plots of its samples, and a table of its moments."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.figures.style import ACCENT, FAINT, PAPER, new_figure, styled
from mmdprior.priors import Prior

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["moments_table", "overlay", "pair_plot"]

_MOST_PANELS = 5
"""Dimensions that `pair_plot` draws in pairs."""
_MOST_ROWS = 16
"""Dimensions in `moments_table`."""


def pair_plot(draws: Float[Tensor, "n d"], title: str) -> "Figure":
    """Draw histograms of the first five dimensions and scatter plots of their pairs.

    With more than five dimensions, a panel below shows quantiles of every dimension.

    Args:
        draws: (n, d) samples from a prior, or codes.
        title: title of the figure.

    Example:
        >>> import torch
        >>> from mmdprior.figures.prior_figure import pair_plot
        >>> figure = pair_plot(torch.randn(500, 3), "samples from N(0, I)")
        >>> len(figure.axes)
        6
    """
    z = draws.detach().cpu().numpy()
    shown = min(_MOST_PANELS, z.shape[1])
    more = z.shape[1] > _MOST_PANELS
    with styled():
        figure = new_figure(2 + 1.9 * shown, 1.4 + 1.9 * shown + 1.8 * more, title)
        grid = figure.add_gridspec(shown + more, shown)
        for row in range(shown):
            for column in range(row + 1):
                axes = figure.add_subplot(grid[row, column])
                if row == column:
                    axes.hist(z[:, row], bins=60, color=ACCENT)
                    axes.set_yticks([])
                else:
                    axes.plot(z[:, column], z[:, row], ",", color=ACCENT, alpha=0.5)
                if row == shown - 1:
                    axes.set_xlabel(f"z{column}")
                if column == 0 and row > 0:
                    axes.set_ylabel(f"z{row}")
        if more:
            _draw_quantiles(figure.add_subplot(grid[shown, :]), draws)
    return figure


def overlay(draws: Float[Tensor, "n d"], codes: Float[Tensor, "m d"], title: str) -> "Figure":
    """Draw the first two dimensions of prior samples and of codes in two panels with shared axes.

    Args:
        draws: (n, d) samples from the prior.
        codes: (m, d) codes of a model.
        title: title of the figure.

    Example:
        >>> import torch
        >>> from mmdprior.figures.prior_figure import overlay
        >>> figure = overlay(torch.randn(500, 2), torch.rand(500, 2), "Gaussian")
        >>> [axes.get_title() for axes in figure.axes]
        ['prior', 'codes']
    """
    with styled():
        figure = new_figure(6.0, 3.2, title)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, points, label in zip(panels, (draws, codes), ("prior", "codes"), strict=True):
            z = points.detach().cpu().numpy()
            axes.plot(z[:, 0], z[:, 1], ",", color=ACCENT, alpha=0.6)
            axes.set_title(label)
    return figure


def moments_table(prior: Prior, draws: Float[Tensor, "n d"]) -> str:
    """Return a table of mean, standard deviation and range per dimension, and the largest correlation.

    Args:
        prior: the prior; its exact moments are shown if it has closed ones, otherwise ``-``.
        draws: (n, d) samples from the prior, for the empirical moments.

    Example:
        >>> from mmdprior.figures.prior_figure import moments_table
        >>> from mmdprior.priors import Gaussian
        >>> prior = Gaussian(1, scale=2.0)
        >>> print(moments_table(prior, prior.sample(1000)))
          dim      mean    sample       std    sample       min       max
            0    0.0000       ...    2.0000       ...
        independent dimensions; one dimension
    """
    z = draws.cpu().double()
    try:
        moments = prior.moments()
        mean, std = moments.mean.cpu(), moments.covariance.cpu().diagonal().sqrt()
    except InputError:
        mean = std = torch.full((prior.dim,), float("nan"))
    lines = [f"{'dim':>5}{'mean':>10}{'sample':>10}{'std':>10}{'sample':>10}{'min':>10}{'max':>10}"]
    for i in range(min(prior.dim, _MOST_ROWS)):
        column = z[:, i]
        numbers = (mean[i], column.mean(), std[i], column.std(), column.min(), column.max())
        cells = ["-" if torch.isnan(value) else f"{float(value):.4f}" for value in numbers]
        lines.append(f"{i:>5}" + "".join(f"{cell:>10}" for cell in cells))
    if prior.dim > _MOST_ROWS:
        lines.append(f"  ... and {prior.dim - _MOST_ROWS} more")
    known = "independent dimensions" if prior.independent else "dimensions not known to be independent"
    return "\n".join([*lines, f"{known}; {_largest_correlation(z)}"])


def _draw_quantiles(axes: "Axes", draws: Float[Tensor, "n d"]) -> None:
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    lowest, low, middle, high, highest = draws.cpu().double().quantile(levels, dim=0).numpy()
    dimensions = np.arange(draws.shape[1])
    axes.vlines(dimensions, lowest, highest, color=FAINT, lw=1.5, label="5% to 95%")
    axes.vlines(dimensions, low, high, color=ACCENT, lw=3, label="25% to 75%")
    axes.plot(dimensions, middle, "o", ms=2.5, color=PAPER, mec=ACCENT, mew=0.6, label="median")
    axes.set(xlabel="dimension", ylabel="quantiles")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def _largest_correlation(z: Float[Tensor, "n d"]) -> str:
    if z.shape[1] < 2:
        return "one dimension"
    correlation = torch.corrcoef(z.T).nan_to_num().fill_diagonal_(0)
    i, j = divmod(int(correlation.abs().argmax()), z.shape[1])
    return f"largest sample correlation {float(correlation[i, j]):+.3f} (dimensions {i}, {j})"

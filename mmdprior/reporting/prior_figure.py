"""A prior as a picture, to look at before training against it."""

import matplotlib
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["overlay", "pair_plot"]

_MOST = 5
_INK, _FAINT = "#1f4e79", "#9db8d2"


def pair_plot(draws: Float[Tensor, "n d"], title: str) -> Figure:
    """Draw histograms on the diagonal, pairs below it, and quantiles of every dimension beneath.

    Args:
        draws: from the prior, or codes; the first five dimensions are drawn in pairs.
        title: above the picture.
    """
    z = draws.detach().cpu().numpy()
    shown = min(_MOST, z.shape[1])
    more = z.shape[1] > _MOST
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(2 + 1.9 * shown, 1.4 + 1.9 * shown + 1.8 * more), layout="constrained")
        figure.suptitle(title, wrap=True)
        ratios = [1.0] * shown + [1.0] * more
        grid = figure.add_gridspec(shown + more, shown, height_ratios=ratios)
        for row in range(shown):
            for column in range(row + 1):
                axes = figure.add_subplot(grid[row, column])
                if row == column:
                    axes.hist(z[:, row], bins=60, color=_INK)
                    axes.set_yticks([])
                else:
                    axes.plot(z[:, column], z[:, row], ",", color=_INK, alpha=0.5)
                if row == shown - 1:
                    axes.set_xlabel(f"z{column}")
                if column == 0 and row > 0:
                    axes.set_ylabel(f"z{row}")
        if more:
            _quantiles(figure.add_subplot(grid[shown, :]), draws)
    return figure


def _quantiles(axes: "matplotlib.axes.Axes", draws: Tensor) -> None:
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    lowest, low, middle, high, highest = draws.cpu().double().quantile(levels, dim=0).numpy()
    dims = range(draws.shape[1])
    axes.vlines(dims, lowest, highest, color=_FAINT, lw=1.5, label="5% to 95%")
    axes.vlines(dims, low, high, color=_INK, lw=3, label="25% to 75%")
    axes.plot(dims, middle, "o", ms=2.5, color="white", mec=_INK, mew=0.6, label="median")
    axes.set_xlabel("dimension")
    axes.legend(loc="upper right", ncols=3, frameon=False)


def overlay(draws: Float[Tensor, "n d"], codes: Float[Tensor, "m d"], title: str) -> Figure:
    """Draw the first two dimensions of prior draws and of codes, side by side on the same axes.

    Args:
        draws: from the prior.
        codes: of a model.
        title: above the picture.
    """
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, points, label in ((left, draws, "prior"), (right, codes, "codes")):
        z = points.detach().cpu().numpy()
        axes.plot(z[:, 0], z[:, 1], ",", color=_INK, alpha=0.6)
        axes.set_title(label, fontsize=9)
    return figure

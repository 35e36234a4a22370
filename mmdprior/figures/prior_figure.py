"""A prior as a picture, to look at before training against it."""

import matplotlib
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors import Prior

__all__ = ["moments_table", "overlay", "pair_plot"]

_MAX_PANELS = 5
_INK, _FAINT = "#1f4e79", "#9db8d2"


def pair_plot(draws: Float[Tensor, "n d"], title: str) -> Figure:
    """Draw histograms on the diagonal, pairs below it, and quantiles of every dimension beneath.

    Args:
        draws: from the prior, or codes; the first five dimensions are drawn in pairs.
        title: above the picture.
    """
    z = draws.detach().cpu().numpy()
    shown = min(_MAX_PANELS, z.shape[1])
    more = z.shape[1] > _MAX_PANELS
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


_MAX_ROWS = 16


def moments_table(prior: Prior, draws: Tensor) -> str:
    """Return mean and standard deviation of every dimension, stated and drawn, and the largest correlation.

    Args:
        prior: whose closed moments are shown where it has them.
        draws: (n, d) from it.
    """
    z = draws.cpu().double()
    try:
        moments = prior.moments()
        mean, std = moments.mean.cpu(), moments.covariance.cpu().diagonal().sqrt()
    except InputError:
        mean = std = torch.full((prior.dim,), float("nan"))
    lines = [f"{'dim':>5}{'mean':>10}{'drawn':>10}{'std':>10}{'drawn':>10}{'min':>10}{'max':>10}"]
    for i in range(min(prior.dim, _MAX_ROWS)):
        column = z[:, i]
        numbers = (mean[i], column.mean(), std[i], column.std(), column.min(), column.max())
        cells = ["-" if torch.isnan(v) else f"{float(v):.4f}" for v in numbers]
        lines.append(f"{i:>5}" + "".join(f"{cell:>10}" for cell in cells))
    if prior.dim > _MAX_ROWS:
        lines.append(f"  ... and {prior.dim - _MAX_ROWS} more")
    known = "independent dimensions" if prior.independent else "dimensions not known to be independent"
    lines.append(f"{known}; {_largest_correlation(z)}")
    return "\n".join(lines)


def _largest_correlation(z: Tensor) -> str:
    if z.shape[1] < 2:
        return "one dimension"
    correlation = torch.corrcoef(z.T).nan_to_num().fill_diagonal_(0)
    i, j = divmod(int(correlation.abs().argmax()), z.shape[1])
    return f"largest drawn correlation {float(correlation[i, j]):+.3f} (dims {i}, {j})"

"""A prior in numbers."""

import torch
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors import Prior

__all__ = ["moments_table"]

_MOST = 16


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
    for i in range(min(prior.dim, _MOST)):
        column = z[:, i]
        numbers = (mean[i], column.mean(), std[i], column.std(), column.min(), column.max())
        cells = ["-" if torch.isnan(v) else f"{float(v):.4f}" for v in numbers]
        lines.append(f"{i:>5}" + "".join(f"{cell:>10}" for cell in cells))
    if prior.dim > _MOST:
        lines.append(f"  ... and {prior.dim - _MOST} more")
    known = "independent dimensions" if prior.independent else "dimensions not known to be independent"
    lines.append(f"{known}; {_largest_correlation(z)}")
    return "\n".join(lines)


def _largest_correlation(z: Tensor) -> str:
    if z.shape[1] < 2:
        return "one dimension"
    correlation = torch.corrcoef(z.T).nan_to_num().fill_diagonal_(0)
    i, j = divmod(int(correlation.abs().argmax()), z.shape[1])
    return f"largest drawn correlation {float(correlation[i, j]):+.3f} (dims {i}, {j})"

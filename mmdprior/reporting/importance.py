"""A picture of which code dimension is predicted by which."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

__all__ = ["importance_map"]

_LABELLED = 32


def importance_map(
    matrix: Float[np.ndarray, "d d"], title: str = "fall of R2 when an input is permuted"
) -> Figure:
    """Draw an importance matrix as a heat map, predicted dimensions down and inputs across.

    Args:
        matrix: of `mmdprior.evaluation.importance`; NaN is left grey; colours run from 0 to the largest.
        title: above the map.
    """
    d = len(matrix)
    side = min(4 + 0.15 * d, 16)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.85")
    top = float(np.nanmax(matrix)) if np.isfinite(matrix).any() else 0.0
    image = axes.imshow(matrix, vmin=0.0, vmax=max(top, 1e-3), cmap="viridis", interpolation="nearest")
    if d <= _LABELLED:
        axes.set_xticks(range(d))
        axes.set_yticks(range(d))
    axes.set_xlabel("input z_j")
    axes.set_ylabel("predicted z_i")
    axes.set_title(title)
    figure.colorbar(image, ax=axes, label="fall of R2")
    return figure

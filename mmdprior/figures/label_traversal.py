"""What the dimensions of a label change: decoded codes whose label takes every value."""

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.figures.images import image_figure
from mmdprior.models import Autoencoder
from mmdprior.models.autoencoder import evaluation_mode
from mmdprior.priors import ConditionalPrior, Factor, Prior
from mmdprior.seeding import stream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["label_figure", "label_traversal", "label_values_shown"]


@torch.no_grad()
def label_traversal(
    model: Autoencoder,
    prior: Prior,
    label: str,
    *,
    codes: Float[Tensor, "n d"] | None = None,
    rows: int = 8,
    columns: int = 9,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> tuple[Float[Tensor, "r k *sample"], list[float]]:
    """Decode codes whose label takes all its values, or evenly spaced ones, at fixed other dimensions.

    Args:
        model: model on ``device``.
        prior: conditional prior that gives the label dimensions of its own.
        label: name of the label.
        codes: codes to start from; prior draws by default.
        rows: number of codes.
        columns: most values of the label.
        device: where to decode.
        seed: seed of the choice of codes.

    Returns:
        Decoded samples, and the values of the label.

    Raises:
        InputError: the prior has no such label, or gives it no positions.

    Example:
        >>> from mmdprior import models
        >>> from mmdprior.figures import label_traversal
        >>> from mmdprior.priors import Factors
        >>> model = models.Autoencoder(models.LinearEncoder((1, 8, 8), 3), models.LinearDecoder((1, 8, 8), 3))
        >>> prior = Factors(3, {"x": {"dims": [1], "levels": 5}})
        >>> images, values = label_traversal(model, prior, "x", rows=2)
        >>> images.shape, values
        (torch.Size([2, 5, 1, 8, 8]), [0.0, 1.0, 2.0, 3.0, 4.0])
    """
    factor = _factor(prior, label)
    values = label_values_shown(factor, columns)
    if codes is None:
        start = prior.sample(rows, stream(seed, "traversal", device=prior.device))
    else:
        start = codes[torch.randperm(len(codes), generator=stream(seed, "traversal"))[:rows].to(codes.device)]
    z = start.to(device)[:, None].repeat(1, len(values), 1)
    positions = factor.positions(torch.tensor(values)).to(z)
    z[:, :, list(factor.dims)] = positions.expand(len(z), -1, -1)
    with evaluation_mode(model):
        decoded = model.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
    return (decoded.clamp(0, 1) if decoded.ndim == 5 else decoded).cpu(), values


def label_figure(model: Autoencoder, prior: Prior, label: str, **options: object) -> "Figure":
    """Return the figure of `label_traversal`, one row per code and one column per value."""
    images, values = label_traversal(model, prior, label, **options)  # type: ignore[arg-type]
    return image_figure(images, [], [f"{value:g}" for value in values], title=label)


def _factor(prior: Prior, label: str) -> Factor:
    known = prior.factors if isinstance(prior, ConditionalPrior) else ()
    for factor in known:
        if factor.name == label and factor.has_positions:
            return factor
    names = ", ".join(factor.name for factor in known if factor.has_positions) or "none"
    raise InputError(f"factor: {label!r} received; the prior has dimensions for {names}")


def label_values_shown(factor: Factor, columns: int) -> list[float]:
    """Return at most ``columns`` values of a label, evenly spaced."""
    if factor.levels is not None:
        step = math.ceil(factor.levels / columns)
        return [float(value) for value in range(0, factor.levels, step)]
    return torch.linspace(factor.low, factor.high, columns).tolist()

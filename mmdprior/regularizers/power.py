"""What a penalty can see: deviations from a prior, in standard deviations of the penalty under the null."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors import Prior
from mmdprior.regularizers import MMD
from mmdprior.seeding import stream

__all__ = ["DEVIATIONS", "Detection", "detection"]


def half_scale(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """All codes at half their distance from the mean."""
    return z.mean(0) + 0.5 * (z - z.mean(0))


def halved_variance(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """One dimension with half its variance."""
    changed = z.clone()
    changed[:, 0] = z[:, 0].mean() + 0.5**0.5 * (z[:, 0] - z[:, 0].mean())
    return changed


def duplicate(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The second dimension an increasing function of the first, each with the marginal it had."""
    return _by_rank_of(z, z[:, 0])


def uncorrelated_pair(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The second dimension an increasing function of |first - median|, each with the marginal it had."""
    return _by_rank_of(z, (z[:, 0] - z[:, 0].median()).abs())


def _by_rank_of(z: Tensor, key: Tensor) -> Tensor:
    changed = z.clone()
    changed[key.argsort(), 1] = z[:, 1].sort().values
    return changed


DEVIATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "half-scale code": half_scale,
    "one variance halved": halved_variance,
    "one dimension duplicated": duplicate,
    "one uncorrelated dependent pair": uncorrelated_pair,
}
"""Deviation -> how prior draws are made to show it."""


@dataclass(frozen=True)
class Detection:
    """Mean penalty of each deviation, in standard deviations of the penalty of prior draws.

    Attributes:
        signals: by deviation; under about 2 a single batch does not tell it from chance.
        n, dim: codes a batch and dimensions.
        repeats: batches simulated.
    """

    signals: Mapping[str, float]
    n: int
    dim: int
    repeats: int

    def __str__(self) -> str:
        head = f"detection at n = {self.n}, d = {self.dim}, {self.repeats} repeats (null standard deviations)"
        return "\n".join([head, *[f"  {name:32s} {value:8.2f}" for name, value in self.signals.items()]])


@torch.no_grad()
def detection(
    penalty: MMD, *, n: int = 256, repeats: int = 200, seed: int = 0, prior: Prior | None = None
) -> Detection:
    """Simulate what a penalty sees in one batch.

    Batches are drawn from the prior; a deviation is imposed on each, and the penalty evaluated.

    Args:
        penalty: with its kernel, prior and estimator.
        n: codes a batch.
        repeats: batches.
        seed: of the draws.
        prior: what the batches are drawn from; the penalty's own prior by default.

    Raises:
        InputError: fewer than two codes or repeats.
    """
    if n < 3 or repeats < 2:
        raise InputError(f"detection: n {n}, repeats {repeats} received; give n >= 3 and repeats >= 2")
    source = penalty.prior if prior is None else prior
    shown = DEVIATIONS if source.dim > 1 else dict(list(DEVIATIONS.items())[:2])
    null: list[Tensor] = []
    values: dict[str, list[Tensor]] = {name: [] for name in shown}
    for i in range(repeats):
        z = source.sample(n, stream(seed, "detection", i, source.device))
        null.append(penalty(z, step=i))
        for name, impose in shown.items():
            values[name].append(penalty(impose(z), step=i))
    zero = torch.stack(null).double()
    signals = {
        name: float((torch.stack(seen).double().mean() - zero.mean()) / zero.std())
        for name, seen in values.items()
    }
    return Detection(signals, n, source.dim, repeats)

"""What an MMD penalty detects: its value under deviations from the prior, in null standard deviations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors import Prior
from mmdprior.regularizers.mmd import MMD
from mmdprior.results import Result
from mmdprior.seeding import stream

__all__ = ["DEVIATIONS", "Detection", "detection"]


def half_scale(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return the codes at half their distance from the mean."""
    return z.mean(0) + 0.5 * (z - z.mean(0))


def halved_variance(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return the codes with half the variance in the first dimension."""
    changed = z.clone()
    changed[:, 0] = z[:, 0].mean() + 0.5**0.5 * (z[:, 0] - z[:, 0].mean())
    return changed


def duplicate(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return the codes with z_2 replaced by an increasing function of z_1; both keep their marginal."""
    return _reorder_second(z, z[:, 0])


def uncorrelated_pair(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return the codes with z_2 an increasing function of |z_1 - median|; both keep their marginal."""
    return _reorder_second(z, (z[:, 0] - z[:, 0].median()).abs())


def _reorder_second(z: Tensor, key: Tensor) -> Tensor:
    """Return the codes with the values of z_2 rearranged so that they have the ranks of the key."""
    changed = z.clone()
    changed[key.argsort(), 1] = z[:, 1].sort().values
    return changed


DEVIATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "half-scale code": half_scale,
    "one variance halved": halved_variance,
    "one dimension duplicated": duplicate,
    "one uncorrelated dependent pair": uncorrelated_pair,
}
"""Name of a deviation -> function that imposes it on prior draws."""


@dataclass(frozen=True)
class Detection(Result):
    """Mean penalty under each deviation, in standard deviations of the penalty of prior draws.

    Attributes:
        signals: value per deviation. Below about 2, a single batch does not distinguish it from chance.
        n: codes per batch.
        dim: number of dimensions.
        repeats: number of simulated batches.
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
    """Simulate what a penalty detects in one batch.

    Batches are drawn from the prior, each deviation is imposed on every batch, and the penalty evaluated.

    Args:
        penalty: the penalty, with its kernel, prior and estimator.
        n: codes per batch, at least 3.
        repeats: number of batches, at least 2.
        seed: seed of the draws.
        prior: distribution of the batches; by default the penalty's own prior.

    Raises:
        InputError: ``n`` or ``repeats`` is too small.

    Example:
        >>> from mmdprior.kernels import ANOVA, RBF
        >>> from mmdprior.priors import Gaussian
        >>> joint = detection(MMD(Gaussian(10), RBF()), n=64, repeats=10)
        >>> pairs = detection(MMD(Gaussian(10), ANOVA()), n=64, repeats=10)
        >>> name = "one dimension duplicated"
        >>> pairs.signals[name] > 2 * joint.signals[name]
        True
    """
    if not isinstance(penalty, MMD):
        raise InputError(f"penalty: {type(penalty).__name__} received; give an MMD")
    if n < 3 or repeats < 2:
        raise InputError(f"detection: n {n}, repeats {repeats} received; give n >= 3 and repeats >= 2")
    source = penalty.prior if prior is None else prior
    # In one dimension there is no second dimension to make dependent.
    deviations = DEVIATIONS if source.dim > 1 else dict(list(DEVIATIONS.items())[:2])
    null: list[Tensor] = []
    values: dict[str, list[Tensor]] = {name: [] for name in deviations}
    for i in range(repeats):
        z = source.sample(n, stream(seed, "detection", i, source.device))
        null.append(penalty(z, step=i))
        for name, impose in deviations.items():
            values[name].append(penalty(impose(z), step=i))
    zero = torch.stack(null).double()
    signals = {
        name: float((torch.stack(batches).double().mean() - zero.mean()) / zero.std())
        for name, batches in values.items()
    }
    return Detection(signals, n, source.dim, repeats)

"""MMD between codes and a prior, in null standard deviations."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels import WAE_IMQ
from mmdprior.priors import Prior
from mmdprior.regularizers import mmd
from mmdprior.seeding import stream

__all__ = ["PriorMatch"]


@dataclass
class PriorMatch:
    """MMD^2 between codes and a prior in null standard deviations, by one fixed kernel.

    The kernel is the seven-scale IMQ of WAE-MMD bound to the prior and the estimator the unbiased
    one, whatever a run was trained with, so that runs are comparable. The null is 200 prior batches
    against the one that the codes are compared with, drawn once. A joint kernel: at d >= 32 it sees
    scale and shift, hardly dependence.

    Attributes:
        prior: the intended prior.
        n: codes and draws a batch; the score grows with it, so compare equal n alone.
        seed: of the draws.
    """

    prior: Prior
    n: int = 512
    seed: int = 0

    _DRAWS = 200

    def __post_init__(self) -> None:
        if self.n < 2:
            raise InputError(f"n: {self.n} received; give at least 2")
        self._kernel = WAE_IMQ().bind(self.prior)
        self._null: tuple[float, float] | None = None

    @torch.no_grad()
    def __call__(self, codes: Float[Tensor, "m d"]) -> float:
        """Return (MMD^2 - null mean) / null standard deviation over n random codes; NaN for fewer."""
        if len(codes) < self.n:
            return float("nan")
        if self._null is None:
            null = torch.tensor([self._estimate(self._draw(1 + i)) for i in range(self._DRAWS)])
            self._null = (float(null.mean()), float(null.std()))
        rows = torch.randperm(len(codes), generator=stream(self.seed, "rows"))[: self.n]
        mean, std = self._null
        return (self._estimate(codes[rows.to(codes.device)]) - mean) / std

    def _draw(self, index: int) -> Tensor:
        return self.prior.sample(self.n, stream(self.seed, "match", index))

    def _estimate(self, codes: Tensor) -> float:
        reference = self._draw(0)
        return float(mmd(codes.to(reference), reference, self._kernel))

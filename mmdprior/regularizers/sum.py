"""Several penalties at once, each with its weight and schedule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.regularizers.regularizer import Regularizer

__all__ = ["SumOfPenalties", "Weighted"]


def _constant(step: int) -> float:
    return 1.0


@dataclass(frozen=True)
class Weighted:
    """A penalty with its place in a sum.

    Attributes:
        penalty: any regularizer.
        weight: its factor, at least 0.
        schedule: factor on the weight, a function of the step.
    """

    penalty: Regularizer
    weight: float = 1.0
    schedule: Callable[[int], float] = _constant

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise InputError(f"weight: {self.weight} received; give a finite number >= 0")

    def factor(self, step: int) -> float:
        """Return weight * schedule(step)."""
        return self.weight * self.schedule(step)


class SumOfPenalties(Regularizer):
    """sum_k weight_k schedule_k(step) penalty_k, such as an MMD beside a `Predictability`.

    Terms for the log: those of every penalty under their own names, a number appended where two share
    one, and what each adds to the sum under ``weighted_<its class>``. The learned parts of all penalties are
    trained together, as often a step as the one that asks for most.

    Args:
        penalties: regularizers, or `Weighted` ones.

    Raises:
        InputError: no penalty.
    """

    def __init__(self, penalties: Sequence[Regularizer | Weighted]) -> None:
        super().__init__()
        if len(penalties) == 0:
            raise InputError("penalties: none received; give at least one")
        self.weighted = [Weighted(p) if isinstance(p, Regularizer) else p for p in penalties]
        self.penalties = nn.ModuleList(entry.penalty for entry in self.weighted)
        learned = [e.penalty.auxiliary_steps for e in self.weighted if e.penalty.auxiliary_modules()]
        self.auxiliary_steps = max(learned, default=1)

    def describe(self) -> str:
        """Say in a line what is penalised, and how."""
        return "; ".join(f"{entry.weight:g} x [{entry.penalty.describe()}]" for entry in self.weighted)

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Ask what every penalty asks for."""
        for entry in self.weighted:
            entry.penalty.check(dim=dim, stochastic=stochastic)

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the weighted sum."""
        self.terms = {}
        values = []
        for entry in self.weighted:
            values.append(entry.factor(step) * entry.penalty(latent, step=step, labels=labels))
            self._keep(f"weighted_{type(entry.penalty).__name__.lower()}", values[-1].detach())
            for name, term in entry.penalty.terms.items():
                self._keep(name, term)
        return torch.stack(values).sum()

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the learned parts of all penalties."""
        return [module for entry in self.weighted for module in entry.penalty.auxiliary_modules()]

    def auxiliary_loss(self, latent: Latent) -> Float[Tensor, ""]:
        """Return the summed losses of the learned parts; weights do not touch them."""
        losses = [e.penalty.auxiliary_loss(latent) for e in self.weighted if e.penalty.auxiliary_modules()]
        return torch.stack(losses).sum() if losses else super().auxiliary_loss(latent)

    def _keep(self, name: str, term: Tensor) -> None:
        taken, number = name, 2
        while taken in self.terms:
            taken, number = f"{name}_{number}", number + 1
        self.terms[taken] = term

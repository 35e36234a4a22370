"""Several penalties at once, each with its weight and schedule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.priors.arguments import positive_number
from mmdprior.regularizers.regularizer import Labelled, Regularizer, loss_of_auxiliary, penalty_of
from mmdprior.tracing import may_store_results

__all__ = ["SumOfPenalties", "Weighted"]


def _constant(step: int) -> float:
    return 1.0


@dataclass(frozen=True)
class Weighted:
    """A penalty with its weight and schedule in a sum.

    Attributes:
        penalty: any regularizer.
        weight: factor of the penalty, at least 0.
        schedule: function from the training step to a factor on the weight; constant 1 by default.

    Example:
        >>> from mmdprior import KL
        >>> Weighted(KL(), weight=4.0, schedule=lambda step: min(step / 1000, 1.0)).factor(500)
        2.0
    """

    penalty: Regularizer
    weight: float = 1.0
    schedule: Callable[[int], float] = _constant

    def __post_init__(self) -> None:
        _check_penalty(self.penalty)
        positive_number("weight", self.weight, allow_zero=True)
        if hasattr(self.schedule, "observe"):  # an AdaptiveSchedule, which only the trainer can serve
            raise InputError(
                f"schedule: {type(self.schedule).__name__} received for one penalty of a sum; give it as "
                "regularizer.schedule, because it adjusts the weight of the whole penalty"
            )

    def factor(self, step: int) -> float:
        """Return weight * schedule(step)."""
        return self.weight * self.schedule(step)


def _check_penalty(penalty: object) -> None:
    if not isinstance(penalty, Regularizer):
        name = penalty.__name__ if isinstance(penalty, type) else repr(penalty)
        raise InputError(f"penalty: {name} received; give a penalty of mmdprior.regularizers, such as KL()")


class SumOfPenalties(Regularizer):
    """Weighted sum of penalties, sum_k weight_k schedule_k(step) penalty_k.

    ``terms`` has the terms of every penalty under their own names, with a number appended where two have
    the same name, and the contribution of every penalty to the sum as ``weighted_<its class>``. The auxiliary
    modules of all penalties are trained together, with the largest ``auxiliary_steps`` of any of them.

    Args:
        penalties: regularizers, or `Weighted` ones; at least one.

    Raises:
        InputError: no penalty.

    Example:
        >>> from mmdprior import MMD
        >>> from mmdprior.priors import Gaussian
        >>> from mmdprior.regularizers import Predictability
        >>> penalty = SumOfPenalties([Weighted(MMD(Gaussian(4)), 64.0), Predictability(4)])
        >>> _ = penalty(torch.randn(32, 4))
        >>> list(penalty.terms)
        ['weighted_mmd', 'mmd', 'standardised', 'weighted_predictability', 'predictability',
         'predictability_max']
    """

    def __init__(self, penalties: Sequence[Regularizer | Weighted]) -> None:
        super().__init__()
        if not isinstance(penalties, Sequence) or len(penalties) == 0:
            kind = "none" if isinstance(penalties, Sequence) else type(penalties).__name__
            raise InputError(f"penalties: {kind} received; give a list of at least one")
        self.weighted = [p if isinstance(p, Weighted) else Weighted(p) for p in penalties]
        self.penalties = nn.ModuleList(entry.penalty for entry in self.weighted)
        self._first_penalties = tuple(self.penalties)
        learned = [e.penalty.auxiliary_steps for e in self.weighted if e.penalty.auxiliary_modules()]
        self.auxiliary_steps = max(learned, default=1)

    def before_training(
        self, *, model: nn.Module, images: int, examples: Callable[[int], Tensor] | None = None
    ) -> None:
        """Pass the autoencoder and the training images to every penalty."""
        for entry in self._entries():
            entry.penalty.before_training(model=model, images=images, examples=examples)

    def set_labels(self, names: Sequence[str], labels: Tensor) -> None:
        """Pass the labels of the data to every penalty."""
        for entry in self._entries():
            entry.penalty.set_labels(names, labels)

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return "; ".join(f"{entry.weight:g} x [{entry.penalty.describe()}]" for entry in self._entries())

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that every penalty can take the latents."""
        for entry in self._entries():
            entry.penalty.check(dim=dim, stochastic=stochastic)

    def forward(
        self,
        latent: Latent | Tensor,
        *,
        step: int = 0,
        labels: Tensor | None = None,
        labelled: Labelled | None = None,
    ) -> Float[Tensor, ""]:
        """Return the weighted sum; penalties on labelled codes are those of the labelled batch."""
        entries = self._entries()
        values = [
            entry.factor(step)
            * penalty_of(entry.penalty, latent, step=step, labels=labels, labelled=labelled)
            for entry in entries
        ]
        if may_store_results():
            self._set_terms(entries, [value.detach() for value in values])
        return torch.stack(values).sum()

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the auxiliary modules of all penalties."""
        return [module for entry in self._entries() for module in entry.penalty.auxiliary_modules()]

    def auxiliary_loss(self, latent: Latent, *, step: int = 0) -> Float[Tensor, ""]:
        """Return the sum of the auxiliary losses; the weights of the penalties do not apply."""
        learned = [entry.penalty for entry in self._entries() if entry.penalty.auxiliary_modules()]
        losses = [loss_of_auxiliary(penalty, latent, step) for penalty in learned]
        return torch.stack(losses).sum() if losses else super().auxiliary_loss(latent)

    def _entries(self) -> list[Weighted]:
        """Return the weighted penalties; a penalty that was replaced in ``penalties`` keeps its weight."""
        modules = zip(self.weighted, self.penalties, self._first_penalties, strict=True)
        return [
            entry if module is first else replace(entry, penalty=cast(Regularizer, module))
            for entry, module, first in modules
        ]

    def _set_terms(self, entries: Sequence[Weighted], values: Sequence[Tensor]) -> None:
        self.terms = {}
        for entry, value in zip(entries, values, strict=True):
            self._add_term(f"weighted_{type(entry.penalty).__name__.lower()}", value)
            for name, term in entry.penalty.terms.items():
                self._add_term(name, term)

    def _add_term(self, name: str, term: Tensor) -> None:
        unique, number = name, 2
        while unique in self.terms:
            unique, number = f"{name}_{number}", number + 1
        self.terms[unique] = term

"""Supervised penalties on labelled codes, as baselines for a conditional prior.

Reference: Locatello et al., "Disentangling Factors of Variation Using Few Labels", arXiv 1905.01258.
"""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.priors.conditional import ConditionalPrior
from mmdprior.priors.factor import Factor, columns_of
from mmdprior.regularizers.label_penalty import LabelPenalty
from mmdprior.seeding import stream
from mmdprior.tracing import may_store_results

__all__ = ["CrossEntropy", "LinearHead", "SquaredError"]


class _PerLabel(LabelPenalty):
    """A sum over labels of the mean loss over rows that have the label."""

    @abstractmethod
    def losses(
        self, means: Float[Tensor, "n d"], values: Float[Tensor, "n"], index: int
    ) -> Float[Tensor, "n"]:
        """Return the loss of every row for one label.

        Args:
            means: posterior means.
            values: values of the label, 0 where missing.
            index: number of the label.
        """

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a labelled batch; zero for labels that no row has."""
        means, values = self.labelled(self.means_of(latent), labels)
        terms = {}
        for index, factor in enumerate(self.prior.factors):
            known = ~values[:, index].isnan()
            losses = self.losses(means, values[:, index].nan_to_num(0.0), index)
            total = torch.where(known, losses, torch.zeros_like(losses)).sum()
            terms[factor.name] = total / known.sum().clamp(min=1)
        value = torch.stack(list(terms.values())).sum()
        if may_store_results():
            self.terms = {f"supervised_{name}": term.detach() for name, term in terms.items()}
        return value


class SquaredError(_PerLabel):
    """Squared distance of the posterior means to the positions of their labels.

    The mean over the dimensions of a label, summed over labels. Positions are `Factor.positions`, those of
    the conditional prior without noise.

    Args:
        prior: a prior with positions, ``factors``.

    Example:
        >>> from mmdprior.priors import Factors
        >>> from mmdprior.regularizers import SquaredError
        >>> prior = Factors(2, {"x": {"dims": [0], "levels": 2}})
        >>> SquaredError(prior)(torch.tensor([[-1.0, 5.0], [0.0, 5.0]]), labels=torch.tensor([[0], [1]]))
        tensor(0.5000)
    """

    def __init__(self, prior: ConditionalPrior) -> None:
        super().__init__(prior)
        _check_positions(prior)

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"squared error of the means on {', '.join(self.prior.label_names)}"

    def losses(
        self, means: Float[Tensor, "n d"], values: Float[Tensor, "n"], index: int
    ) -> Float[Tensor, "n"]:
        """Return the mean squared distance to the position of each value."""
        factor = self.prior.factors[index]
        return (columns_of(means, factor.dims) - factor.positions(values)).square().mean(1)


class CrossEntropy(_PerLabel):
    """Cross-entropy between the sigmoid of posterior means and labels on the scale of 0 to 1.

    Summed over labels, as in the reference. A circular label has the target (1 + position / sqrt 2) / 2 in
    both dimensions, and a class with one dimension per value the cross-entropy of the softmax.

    Args:
        prior: a prior with positions, ``factors``; only the dimensions and values of its labels are used.

    Example:
        >>> from mmdprior.priors import Factors
        >>> from mmdprior.regularizers import CrossEntropy
        >>> prior = Factors(2, {"x": {"dims": [0], "levels": 2}})
        >>> CrossEntropy(prior)(torch.zeros(2, 2), labels=torch.tensor([[0], [1]]))
        tensor(0.6931)
    """

    def __init__(self, prior: ConditionalPrior) -> None:
        super().__init__(prior)
        _check_positions(prior)

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"sigmoid cross-entropy of the means on {', '.join(self.prior.label_names)}"

    def losses(
        self, means: Float[Tensor, "n d"], values: Float[Tensor, "n"], index: int
    ) -> Float[Tensor, "n"]:
        """Return the cross-entropy of each row."""
        factor = self.prior.factors[index]
        logits = columns_of(means, factor.dims)
        if factor.one_hot:
            return functional.cross_entropy(logits, values.long(), reduction="none")
        targets = factor.unit_positions(values)
        return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


class LinearHead(_PerLabel):
    """Loss of a linear map from all posterior means to the labels, which is trained with the model.

    The softmax cross-entropy of discrete and ordinal labels, and the squared error of the positions of
    others. It keeps the labels linearly readable, but does not choose dimensions for them.

    Args:
        prior: a conditional prior; only the values of its labels are used.
        seed: seed of the initial weights; 0 by default.

    Example:
        >>> from mmdprior.priors import Factors
        >>> from mmdprior.regularizers import LinearHead
        >>> head = LinearHead(Factors(4, {"digit": {"dims": [0], "kind": "discrete", "levels": 10}}))
        >>> head(torch.randn(8, 4), labels=torch.randint(10, (8, 1))).shape
        torch.Size([])
    """

    def __init__(self, prior: ConditionalPrior, seed: int | None = None) -> None:
        super().__init__(prior)
        self.heads = nn.ModuleList()
        for factor in prior.factors:
            head = nn.Linear(prior.dim, _outputs(factor))
            generator = stream(seed or 0, f"head {factor.name}")
            with torch.no_grad():
                head.weight.normal_(0, prior.dim**-0.5, generator=generator)
                head.bias.zero_()
            self.heads.append(head)

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"linear head for {', '.join(self.prior.label_names)}"

    def losses(
        self, means: Float[Tensor, "n d"], values: Float[Tensor, "n"], index: int
    ) -> Float[Tensor, "n"]:
        """Return the loss of each row under the head of the label."""
        factor, head = self.prior.factors[index], self.heads[index]
        output = head(means.to(next(head.parameters()).dtype)).to(means.dtype)
        if _is_classified(factor):
            return functional.cross_entropy(output, values.long(), reduction="none")
        return (output - factor.positions(values)).square().mean(1)


def _is_classified(factor: Factor) -> bool:
    return factor.kind in ("discrete", "ordinal")


def _outputs(factor: Factor) -> int:
    """Return the number of outputs of a linear head."""
    return factor.levels or 0 if _is_classified(factor) else len(factor.dims)


def _check_positions(prior: ConditionalPrior) -> None:
    """Raise `InputError` for a prior whose labels have distributions in place of positions."""
    for factor in prior.factors:
        if not factor.has_positions:
            raise InputError(
                f"prior: {type(prior).__name__} received, which has no position per value; give factors"
            )

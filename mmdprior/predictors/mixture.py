"""Mixtures of linear, logistic or multinomial experts with a softmax gate, many problems at once.

Shapes: p problems, n rows, D inputs, t targets per problem, K experts per target, C classes.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmdprior.predictors.newton import products

__all__ = ["Family", "Mixture"]

Family = Literal["linear", "logistic", "multinomial"]


@dataclass(frozen=True)
class Mixture:
    """Mixture of experts p(y|x) = sum_k softmax_k(W x) p_k(y|x), for t targets of p problems.

    A linear expert is N(b_k'x, s_k^2). A logistic expert is Bernoulli(sigmoid(b_k'x)). A multinomial expert
    is a softmax regression, p_k(y = c|x) = softmax_c(B_k x).

    Attributes:
        gate: (p, t, K, D) rows W_k of the gate; the last is zero.
        experts: (p, t, K, D) coefficients b_k, or (p, t, K, C, D) rows of B_k, of which the last is zero.
        variance: (p, t, K) variances s_k^2 of linear experts; None for the others.

    Example:
        Two linear experts, with a gate that switches at 0: E[y|x] is close to ``|x|``.

        >>> import torch
        >>> from mmdprior.predictors import Mixture
        >>> gate = torch.tensor([[[[40.0], [0.0]]]])
        >>> experts = torch.tensor([[[[1.0], [-1.0]]]])
        >>> mixture = Mixture(gate, experts, torch.ones(1, 1, 2))
        >>> mixture.mean(torch.tensor([[[-2.0], [3.0]]]))
        tensor([[[2.],
                 [3.]]])
    """

    gate: Float[Tensor, "p t K D"]
    experts: Float[Tensor, "p t K *C D"]
    variance: Float[Tensor, "p t K"] | None

    @property
    def family(self) -> Family:
        """Kind of all experts."""
        if self.variance is not None:
            return "linear"
        return "logistic" if self.experts.ndim == 4 else "multinomial"

    def log_gate(self, x: Float[Tensor, "p n D"]) -> Float[Tensor, "p n t K"]:
        """Return the log-probability of every expert given x."""
        return products(x, self.gate).log_softmax(3)

    def mean(self, x: Float[Tensor, "p n D"]) -> Float[Tensor, "p n t *C"]:
        """Return E[y|x]; for multinomial experts, the probability of every class."""
        means = products(x, self.experts)
        gate = self.log_gate(x).exp()
        if self.family == "multinomial":
            return (gate[..., None] * means.softmax(4)).sum(3)
        if self.family == "logistic":
            means = means.sigmoid()
        return (gate * means).sum(3)

    def log_experts(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n t"]) -> Float[Tensor, "p n t K"]:
        """Return log p_k(y|x) of every expert.

        Args:
            x: inputs.
            y: targets; 0 or 1 for logistic experts, the index of the class for multinomial ones.
        """
        at = products(x, self.experts)
        if self.family == "multinomial":
            index = y.long()[..., None, None].expand(*at.shape[:4], 1)
            return at.log_softmax(4).gather(4, index).squeeze(4)
        if self.variance is None:
            return functional.logsigmoid(torch.where(y[..., None] > 0.5, at, -at))
        variance = self.variance[:, None]
        squared = (y[..., None] - at).square() / variance
        return -0.5 * (squared + (2 * torch.pi * variance).log())

    def log_joint(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n t"]) -> Float[Tensor, "p n t K"]:
        """Return log softmax_k(W x) + log p_k(y|x); its softmax over k is the responsibilities."""
        return self.log_gate(x) + self.log_experts(x, y)

    def log_likelihood(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n t"]) -> Float[Tensor, "p n t"]:
        """Return log p(y|x) of every row and target."""
        return self.log_joint(x, y).logsumexp(3)

    def where(self, chosen: Tensor, other: "Mixture") -> "Mixture":
        """Return the targets of this mixture where ``chosen``, (p, t), and those of another elsewhere."""

        def pick(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(chosen.reshape(*chosen.shape, *[1] * (mine.ndim - 2)), mine, theirs)

        variance = None
        if self.variance is not None and other.variance is not None:
            variance = pick(self.variance, other.variance)
        return Mixture(pick(self.gate, other.gate), pick(self.experts, other.experts), variance)

    def take(self, targets: Tensor) -> "Mixture":
        """Return the targets with these indices, (p, t), of each problem."""
        problems = torch.arange(len(self.gate), device=self.gate.device)[:, None]
        variance = None if self.variance is None else self.variance[problems, targets]
        return Mixture(self.gate[problems, targets], self.experts[problems, targets], variance)

"""Symmetric mixture of two linear experts: the closed case in which EM is exactly mirror descent."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.predictors.newton import softmax_regression
from mmdprior.predictors.moments import solve

__all__ = ["SymmetricMixture"]


@dataclass(frozen=True)
class SymmetricMixture:
    """z = +-1 with P(z = 1|x) = sigmoid(w'x), and y = z b'x + N(0, 1) (arXiv 2411.06056).

    Attributes:
        b: (D,) coefficients of the expert.
        w: (D,) coefficients of the gate.
    """

    b: Float[Tensor, "D"]
    w: Float[Tensor, "D"]

    def sample(self, x: Float[Tensor, "n D"], generator: torch.Generator | None = None) -> Float[Tensor, "n"]:
        """Sample y for each input."""
        first = torch.rand(len(x), generator=generator, dtype=x.dtype) < (x @ self.w).sigmoid()
        noise = torch.randn(len(x), generator=generator, dtype=x.dtype)
        return torch.where(first, 1.0, -1.0) * (x @ self.b) + noise

    def loss(self, x: Float[Tensor, "n D"], y: Float[Tensor, "n"]) -> Float[Tensor, ""]:
        """Return the mean negative log-likelihood L(b, w), without the constant log sqrt(2 pi)."""
        at, gate = x @ self.b, x @ self.w
        plus = torch.nn.functional.logsigmoid(gate) - (y - at).square() / 2
        minus = torch.nn.functional.logsigmoid(-gate) - (y + at).square() / 2
        return -torch.logaddexp(plus, minus).mean()

    def mirror(self, x: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
        """Return the mirror map A(b, w) = mean (b'x)^2 / 2 + log 2 cosh(w'x / 2)."""
        half = (x @ self.w).abs() / 2
        return ((x @ self.b).square() / 2 + half + torch.log1p(torch.exp(-2 * half))).mean()

    def expectation(self, x: Float[Tensor, "n D"], y: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Return E[z|x, y] = tanh(y b'x + w'x / 2)."""
        return torch.tanh(y * (x @ self.b) + (x @ self.w) / 2)

    def gate_step(self, x: Float[Tensor, "n D"], r: Float[Tensor, "n"], newton_steps: int) -> Tensor:
        """Return the gate after Newton steps towards X'(tanh(X w / 2) - r) = 0; each needs one gradient."""
        weights = torch.stack([(1 + r) / 2, (1 - r) / 2], 1)[None, :, None]
        start = torch.stack([self.w, torch.zeros_like(self.w)])[None, None]
        allowed = torch.ones(1, len(self.w), dtype=torch.bool, device=x.device)
        return softmax_regression(x[None], weights, start, allowed, 0.0, newton_steps)[0, 0, 0]

    def em_step(
        self, x: Float[Tensor, "n D"], y: Float[Tensor, "n"], newton_steps: int = 50
    ) -> "SymmetricMixture":
        """Return the mixture after one iteration of EM, exact if the gate gets enough Newton steps.

        b+ = (X'X)^-1 X'(r y), and w+ solves X'(tanh(X w / 2) - r) = 0. Exact steps satisfy grad A(theta+) =
        grad A(theta) - grad L(theta): mirror descent with unit step.
        """
        r = self.expectation(x, y)
        return SymmetricMixture(solve(x.T @ x, x.T @ (r * y)), self.gate_step(x, r, newton_steps))

    def gradient(
        self, x: Float[Tensor, "n D"], y: Float[Tensor, "n"]
    ) -> tuple[Float[Tensor, "D"], Float[Tensor, "D"]]:
        """Return the gradients of `loss` in b and w."""
        with torch.enable_grad():
            b, w = (part.detach().clone().requires_grad_() for part in (self.b, self.w))
            grad = torch.autograd.grad(SymmetricMixture(b, w).loss(x, y), (b, w))
        return grad[0], grad[1]

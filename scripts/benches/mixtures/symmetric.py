"""Symmetric mixtures of two experts, in which EM is exactly mirror descent (arXiv 2411.06056).

Shapes: p problems, n rows, D inputs.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmdprior.predictors.moments import solve
from mmdprior.predictors.newton import softmax_regression

__all__ = ["SymmetricMixture", "draw"]


@dataclass(frozen=True)
class SymmetricMixture:
    """SymMoLinE and SymMoLogE: z = +-1 with P(z = 1|x) = sigmoid(w'x), and an expert z b of y.

    ``linear``: y = z b'x + N(0, 1). ``logistic``: y = +-1 with P(y = 1|x, z) = sigmoid(z b'x).

    With s = y b'x + w'x / 2 (linear) or (y b'x + w'x) / 2 (logistic), the mean negative log-likelihood is
    L = A - mean log 2 cosh s, up to a constant, with the mirror map A. The posterior mean of z is tanh s.

    Attributes:
        b: (p, D) coefficients of the expert.
        w: (p, D) coefficients of the gate.
        family: kind of the expert.
    """

    b: Float[Tensor, "p D"]
    w: Float[Tensor, "p D"]
    family: Literal["linear", "logistic"] = "linear"

    @classmethod
    def of(cls, theta: Float[Tensor, "p E"], family: Literal["linear", "logistic"]) -> "SymmetricMixture":
        """Return the mixture with these coefficients of expert and gate, in one vector."""
        b, w = theta.chunk(2, 1)
        return cls(b, w, family)

    def to(self, device: torch.device) -> "SymmetricMixture":
        """Return the mixture on a device."""
        return SymmetricMixture(self.b.to(device), self.w.to(device), self.family)

    @property
    def theta(self) -> Float[Tensor, "p E"]:
        """Coefficients of expert and gate in one vector."""
        return torch.cat([self.b, self.w], 1)

    def sample(
        self, x: Float[Tensor, "p n D"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "p n"]:
        """Sample y for each input."""

        def uniform() -> Tensor:
            return torch.rand(x.shape[:2], generator=generator, dtype=x.dtype)

        z = torch.where(uniform() < _at(x, self.w).sigmoid(), 1.0, -1.0)
        if self.family == "logistic":
            return torch.where(uniform() < (z * _at(x, self.b)).sigmoid(), 1.0, -1.0).to(x)
        return z * _at(x, self.b) + torch.randn(x.shape[:2], generator=generator, dtype=x.dtype)

    def loss(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n"]) -> Float[Tensor, "p"]:
        """Return the mean negative log-likelihood L(b, w), for linear experts without log sqrt(2 pi)."""
        rest = y.square().mean(1) / 2 if self.family == "linear" else 0.0
        return self.mirror(x) + rest - _log_cosh(self._score(x, y)).mean(1)

    def mirror(self, x: Float[Tensor, "p n D"]) -> Float[Tensor, "p"]:
        """Return the mirror map A: mean (b'x)^2 / 2, or mean log 2 cosh(b'x / 2), + log 2 cosh(w'x / 2)."""
        at = _at(x, self.b)
        expert = at.square() / 2 if self.family == "linear" else _log_cosh(at / 2)
        return (expert + _log_cosh(_at(x, self.w) / 2)).mean(1)

    def expectation(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n"]) -> Float[Tensor, "p n"]:
        """Return E[z|x, y]."""
        return self._score(x, y).tanh()

    def gradient(
        self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n"], r: Float[Tensor, "p n"] | None = None
    ) -> Float[Tensor, "p E"]:
        """Return the gradient of `loss`, or of EM's surrogate with E[z|x, y] = ``r``."""
        r = self.expectation(x, y) if r is None else r
        at = _at(x, self.b)
        expert = at - r * y if self.family == "linear" else ((at / 2).tanh() - r * y) / 2
        gate = ((_at(x, self.w) / 2).tanh() - r) / 2
        return torch.cat([_mean(x, expert), _mean(x, gate)], 1)

    def em_step(
        self,
        x: Float[Tensor, "p n D"],
        y: Float[Tensor, "p n"],
        newton_steps: int = 50,
        counts: list[int] | None = None,
    ) -> "SymmetricMixture":
        """Return the mixture after one iteration of EM, exact with enough Newton steps.

        w+ solves X'(tanh(X w / 2) - r) = 0; b+ = (X'X)^-1 X'(r y), or solves X'(tanh(X b / 2) - r y) = 0.
        Exact steps satisfy grad A(theta+) = grad A(theta) - grad L(theta): mirror descent with unit step.
        """
        r = self.expectation(x, y)
        gate = _sign_regression(x, r, self.w, newton_steps, counts)
        if self.family == "linear":
            return SymmetricMixture(solve(x.mT @ x, _mean(x, r * y) * x.shape[1]), gate)
        return SymmetricMixture(_sign_regression(x, r * y, self.b, newton_steps, counts), gate, "logistic")

    def missing_information(
        self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n"]
    ) -> tuple[Float[Tensor, "p E E"], Float[Tensor, "p E E"]]:
        """Return the complete information A'' and the missing one A'' - L'' = mean sech^2(s) (ds)(ds)'."""
        missing = _gram(self._directions(x, y), 1 - self.expectation(x, y).square())
        at = _at(x, self.b)
        expert = torch.ones_like(at) if self.family == "linear" else (1 - (at / 2).tanh().square()) / 4
        gate = (1 - (_at(x, self.w) / 2).tanh().square()) / 4
        complete = torch.zeros_like(missing)
        d = x.shape[2]
        complete[:, :d, :d], complete[:, d:, d:] = _gram(x, expert), _gram(x, gate)
        return complete, missing

    def rate(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n"]) -> Float[Tensor, "p"]:
        """Return the largest eigenvalue of A''^-1 (A'' - L''): EM's linear rate at a fixed point."""
        return self._spectrum(x, y)[0][:, -1]

    def measured_rate(
        self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n"], *, iterations: int = 60
    ) -> Float[Tensor, "p"]:
        """Return the factor by which an iteration of EM shrinks the distance to this fixed point.

        The distance is set back to 0.001 after every iteration, because the likelihood does not resolve
        distances below about 1e-8. The last factor is returned.
        """
        distance = 1e-3
        direction = torch.randn(self.theta.shape, generator=torch.Generator().manual_seed(0)).to(x)
        for _ in range(iterations):
            direction = distance * functional.normalize(direction)
            after = SymmetricMixture.of(self.theta + direction, self.family).em_step(x, y)
            direction = after.theta - self.theta
        return direction.norm(dim=1) / distance

    def fixed_point(
        self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n"], em_steps: int = 100
    ) -> "SymmetricMixture":
        """Return the local minimum of the loss near EM's path: EM, then damped Newton steps."""
        mixture = self
        for _ in range(em_steps):
            mixture = mixture.em_step(x, y, 2)
        for _ in range(60):
            mixture, moved = mixture._newton_step(x, y)
            if moved < 1e-13:
                break
        return mixture

    def _newton_step(self, x: Tensor, y: Tensor) -> tuple["SymmetricMixture", float]:
        """Return the mixture after a Newton step on the loss, halved until the loss does not increase.

        In coordinates where A'' = I, L'' has the eigenvalues 1 - rate. Negative ones change their sign.
        """
        rates, basis = self._spectrum(x, y)
        slope = (basis.mT @ self.gradient(x, y)[..., None]).squeeze(2)
        step = -(basis @ (slope / (1 - rates).abs().clamp(min=1e-4))[..., None]).squeeze(2)
        loss = self.loss(x, y) + 1e-15
        for _ in range(20):
            worse = SymmetricMixture.of(self.theta + step, self.family).loss(x, y) > loss
            if not bool(worse.any()):
                break
            step = torch.where(worse[:, None], step / 2, step)
        step = torch.where(worse[:, None], 0.0, step)
        return SymmetricMixture.of(self.theta + step, self.family), float(step.abs().max())

    def _spectrum(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return eigenvalues of A''^-1 (A'' - L''), and eigenvectors of length 1 in A''."""
        complete, missing = self.missing_information(x, y)
        # Where the minimum is at infinity, A'' vanishes on the way to it.
        factor = torch.linalg.cholesky(complete + 1e-13 * torch.eye(complete.shape[1]).to(complete))
        half = torch.linalg.solve_triangular(factor, missing, upper=False)
        rates, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(factor, half.mT, upper=False))
        return rates, torch.linalg.solve_triangular(factor.mT, vectors, upper=True)

    def _score(self, x: Tensor, y: Tensor) -> Tensor:
        """Return s, half the log-odds of z given x and y."""
        expert = y * _at(x, self.b)
        return (expert if self.family == "linear" else expert / 2) + _at(x, self.w) / 2

    def _directions(self, x: Tensor, y: Tensor) -> Tensor:
        """Return (p, n, 2 D) derivatives of s in b and w."""
        expert = y[..., None] * x
        return torch.cat([expert if self.family == "linear" else expert / 2, x / 2], 2)


def draw(
    family: Literal["linear", "logistic"],
    seeds: range,
    *,
    n: int,
    dim: int,
    snr: float,
    gate: float = 2.0,
    near: bool = True,
) -> tuple[Tensor, Tensor, SymmetricMixture, SymmetricMixture]:
    """Return inputs, targets, truth and start of one problem per seed, in float64.

    Args:
        family: kind of the expert.
        seeds: seeds of the problems.
        n: rows.
        dim: standard normal inputs.
        snr: norm of the expert's coefficients; the noise of linear experts has variance 1.
        gate: norm of the gate's coefficients.
        near: whether the start is the truth with 30 % noise; otherwise it is two random directions of norm 1.
    """
    parts = []
    for seed in seeds:
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(1, n, dim, generator=g, dtype=torch.float64)
        b, w, db, dw = functional.normalize(torch.randn(4, 1, dim, generator=g, dtype=torch.float64), dim=2)
        truth = SymmetricMixture(snr * b, gate * w, family)
        start = torch.cat([truth.b + 0.3 * snr * db, truth.w + 0.3 * gate * dw] if near else [db, dw], 1)
        parts.append((x, truth.sample(x, g), truth.theta, start))
    x, y, truth, start = (torch.cat(column) for column in zip(*parts, strict=True))
    return x, y, SymmetricMixture.of(truth, family), SymmetricMixture.of(start, family)


def _at(x: Tensor, coefficients: Tensor) -> Tensor:
    """Return (p, n) inner products."""
    return (x @ coefficients[..., None]).squeeze(2)


def _mean(x: Tensor, residuals: Tensor) -> Tensor:
    """Return (p, D) means of residual_n x_n."""
    return (x.mT @ residuals[..., None]).squeeze(2) / x.shape[1]


def _gram(x: Tensor, weights: Tensor) -> Tensor:
    """Return (p, D, D) means of weight_n x_n x_n'."""
    return x.mT @ (weights[..., None] * x) / x.shape[1]


def _log_cosh(u: Tensor) -> Tensor:
    """Return log 2 cosh u."""
    return u.abs() + torch.log1p(torch.exp(-2 * u.abs()))


def _sign_regression(
    x: Tensor, mean: Tensor, start: Tensor, newton_steps: int, counts: list[int] | None
) -> Tensor:
    """Return v after Newton steps towards X'(tanh(X v / 2) - mean) = 0: logistic regression on +-1."""
    weights = torch.stack([(1 + mean) / 2, (1 - mean) / 2], 2)[:, :, None]
    both = torch.stack([start, torch.zeros_like(start)], 1)[:, None]
    allowed = torch.ones(1, start.shape[1], dtype=torch.bool, device=x.device)
    return softmax_regression(x, weights, both, allowed, 0.0, newton_steps, counts)[:, 0, 0]

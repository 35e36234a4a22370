"""Mixtures of linear or logistic experts with a softmax gate, fitted by EM, many problems at once.

Shapes: p problems, n rows, D inputs, t targets per problem, K experts per target.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mmdprior.predictors.moments import solve

__all__ = ["Family", "Mixture", "expectation_maximisation", "m_step", "softmax_regression", "weighted_grams"]

Family = Literal["linear", "logistic"]

_ENTRIES = 1 << 24
"""Outer products computed at a time, to bound memory."""
_MAX_HALVINGS = 6
_TOLERANCE = 1e-12
"""Newton's method stops when a step is below this, relative to the largest coefficient."""
_MIN_VARIANCE_SHARE = 1e-4
"""Smallest variance of a linear expert, relative to the target's; it keeps the likelihood bounded."""
_TINY = 1e-12


@dataclass(frozen=True)
class Mixture:
    """Mixture of experts p(y|x) = sum_k softmax_k(W x) p_k(y|x), for t targets of p problems.

    A linear expert is N(b_k'x, s_k^2). A logistic expert is Bernoulli(sigmoid(b_k'x)).

    Attributes:
        gate: (p, t, K, D) rows W_k of the gate; the last is zero.
        experts: (p, t, K, D) coefficients b_k.
        variance: (p, t, K) variances s_k^2 of linear experts; None for logistic experts.

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
    experts: Float[Tensor, "p t K D"]
    variance: Float[Tensor, "p t K"] | None

    def log_gate(self, x: Float[Tensor, "p n D"]) -> Float[Tensor, "p n t K"]:
        """Return the log-probability of every expert given x."""
        return _products(x, self.gate).log_softmax(3)

    def mean(self, x: Float[Tensor, "p n D"]) -> Float[Tensor, "p n t"]:
        """Return E[y|x]."""
        means = _products(x, self.experts)
        if self.variance is None:
            means = means.sigmoid()
        return (self.log_gate(x).exp() * means).sum(3)

    def log_joint(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n t"]) -> Float[Tensor, "p n t K"]:
        """Return log softmax_k(W x) + log p_k(y|x); its softmax over k is the responsibilities."""
        at = _products(x, self.experts)
        if self.variance is None:
            return self.log_gate(x) + functional.logsigmoid(torch.where(y[..., None] > 0.5, at, -at))
        variance = self.variance[:, None]
        squared = (y[..., None] - at).square() / variance
        return self.log_gate(x) - 0.5 * (squared + (2 * torch.pi * variance).log())

    def log_likelihood(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n t"]) -> Float[Tensor, "p n t"]:
        """Return log p(y|x) of every row and target."""
        return self.log_joint(x, y).logsumexp(3)


def expectation_maximisation(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    start: Mixture,
    *,
    mask: Bool[Tensor, "t D"] | None = None,
    ridge: float = 1e-6,
    newton_steps: int = 1,
) -> Iterator[Mixture]:
    """Yield the mixture after each iteration of EM (Jordan & Jacobs, 1994), without end.

    There is no step size. For exponential families EM is projected mirror descent with unit step, with a KL
    divergence as regulariser (Fruytier, Mokhtari & Sanghavi, arXiv 2411.06056).

    Args:
        x: inputs; add a column of ones for an intercept.
        y: targets; 0 or 1 for logistic experts.
        start: initial mixture.
        mask: inputs that each target may use; all of them by default. The other coefficients stay zero.
        ridge: penalty on all coefficients, relative to the number of rows.
        newton_steps: Newton steps of the gate (and of logistic experts) per iteration. One step increases
            the likelihood; 20 are exact.

    Example:
        >>> import torch
        >>> from mmdprior.predictors import Mixture, expectation_maximisation
        >>> x = torch.randn(1, 1000, 1)
        >>> y = x.abs() + 0.1 * torch.randn(1, 1000, 1)
        >>> slopes = torch.tensor([[[[0.5], [-0.5]]]])
        >>> start = Mixture(slopes, slopes, torch.ones(1, 1, 2))
        >>> steps = expectation_maximisation(x, y, start)
        >>> for _ in range(20):
        ...     mixture = next(steps)
        >>> mixture.experts.flatten().round(decimals=1)
        tensor([ 1., -1.])
    """
    family: Family = "logistic" if start.variance is None else "linear"
    mixture = start
    while True:
        # E-step: r_k = softmax_k(W x) p_k(y|x) / sum_j softmax_j(W x) p_j(y|x).
        responsibilities = mixture.log_joint(x, y).softmax(3)
        mixture = m_step(
            x, y, responsibilities, family, mixture, mask=mask, ridge=ridge, newton_steps=newton_steps
        )
        yield mixture


def m_step(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    responsibilities: Float[Tensor, "p n t K"],
    family: Family,
    previous: Mixture | None = None,
    *,
    mask: Bool[Tensor, "t D"] | None = None,
    ridge: float = 1e-6,
    newton_steps: int = 1,
) -> Mixture:
    """Return the mixture that maximises the expected log-likelihood under the responsibilities.

    Linear experts are weighted least squares, in closed form. The gate and logistic experts are fitted by
    Newton steps (iteratively reweighted least squares) from ``previous``.

    Args:
        x: inputs.
        y: targets; 0 or 1 for logistic experts.
        responsibilities: probability of every expert, for every row and target.
        family: kind of all experts.
        previous: where Newton's method starts; zero by default.
        mask: inputs that each target may use; all of them by default.
        ridge: penalty on all coefficients, relative to the number of rows.
        newton_steps: Newton steps of the gate and of logistic experts.
    """
    p, width = x.shape[0], x.shape[2]
    t, k = responsibilities.shape[2:]
    allowed = x.new_ones(t, width, dtype=torch.bool) if mask is None else mask
    zero = x.new_zeros(p, t, k, width)
    # Gate: W = argmax sum_n sum_k r_nk log softmax_k(W x_n).
    gate = zero if previous is None else previous.gate
    gate = softmax_regression(x, responsibilities, gate, allowed, ridge, newton_steps)
    if family == "logistic":
        experts = zero if previous is None else previous.experts
        experts = _logistic(x, y, responsibilities, experts, allowed, ridge, newton_steps)
        return Mixture(gate, experts, None)
    experts = _least_squares(x, y, responsibilities, allowed, ridge)
    # s_k^2 = sum_n r_nk (y_n - b_k'x_n)^2 / sum_n r_nk.
    squared = (y[..., None] - _products(x, experts)).square()
    weight = responsibilities.sum(1)
    floor = _MIN_VARIANCE_SHARE * y.var(1, correction=0)[..., None]
    variance = torch.maximum((responsibilities * squared).sum(1) / weight.clamp(min=_TINY), floor)
    return Mixture(gate, experts, variance.clamp(min=_TINY))


def _least_squares(x: Tensor, y: Tensor, responsibilities: Tensor, allowed: Tensor, ridge: float) -> Tensor:
    """Return b_k = (X'R_k X + n ridge I)^-1 X'R_k y with R_k = diag(r_k)."""
    t, k = responsibilities.shape[2:]
    grams = weighted_grams(x, responsibilities.flatten(2)).unflatten(1, (t, k))
    right = ((responsibilities * y[..., None]).flatten(2).mT @ x).unflatten(1, (t, k))
    both = allowed[:, None, :, None] & allowed[:, None, None, :]
    grams = grams * both
    # A masked input gets a row of the identity and a zero on the right, so its coefficient is zero.
    grams.diagonal(dim1=3, dim2=4).add_(ridge * x.shape[1] + ~allowed[:, None])
    return solve(grams, right * allowed[:, None])


def _logistic(
    x: Tensor,
    y: Tensor,
    responsibilities: Tensor,
    experts: Tensor,
    allowed: Tensor,
    ridge: float,
    newton_steps: int,
) -> Tensor:
    """Return b_k = argmax sum_n r_nk [y_n log sigmoid(b_k'x_n) + (1 - y_n) log sigmoid(-b_k'x_n)].

    This is a softmax regression on two classes with weights r y and r (1 - y), one per expert.
    """
    t, k = responsibilities.shape[2:]
    weights = torch.stack([responsibilities * y[..., None], responsibilities * (1 - y[..., None])], 4)
    start = torch.stack([experts, torch.zeros_like(experts)], 3).flatten(1, 2)
    repeated = allowed.repeat_interleave(k, 0)
    coefficients = softmax_regression(x, weights.flatten(2, 3), start, repeated, ridge, newton_steps)
    return coefficients[:, :, 0].unflatten(1, (t, k))


def softmax_regression(
    x: Float[Tensor, "p n D"],
    weights: Float[Tensor, "p n t K"],
    start: Float[Tensor, "p t K D"],
    allowed: Bool[Tensor, "t D"],
    ridge: float,
    steps: int,
) -> Float[Tensor, "p t K D"]:
    """Maximise sum_n sum_k weights_nk log softmax_k(W x_n) - n ridge |W|^2 / 2 with W_K = 0, by Newton.

    A step that does not increase the objective is halved, at most six times, and otherwise not taken.

    Args:
        x: inputs.
        weights: weight of every class per row; a row's weights need not sum to one.
        start: initial coefficients; those of the last class stay zero.
        allowed: inputs that each target may use; the other coefficients stay zero.
        ridge: penalty on all coefficients, relative to the number of rows.
        steps: largest number of Newton steps.
    """
    penalty = ridge * x.shape[1]
    free = start[:, :, :-1]
    value = _objective(x, weights, free, penalty)
    for _ in range(steps):
        direction = _newton_direction(x, weights, free, allowed, penalty)
        for _ in range(_MAX_HALVINGS):
            increases = _objective(x, weights, free + direction, penalty) >= value
            if bool(increases.all()):
                break
            direction = torch.where(increases[:, :, None, None], direction, direction / 2)
        else:
            increases = _objective(x, weights, free + direction, penalty) >= value
        step = torch.where(increases[:, :, None, None], direction, 0.0)
        free = free + step
        if steps > 1:
            if float(step.abs().max()) <= _TOLERANCE * (1 + float(free.abs().max())):
                break
            value = _objective(x, weights, free, penalty)
    return torch.cat([free, torch.zeros_like(start[:, :, -1:])], 2)


def _objective(x: Tensor, weights: Tensor, free: Tensor, penalty: float) -> Tensor:
    """Return the objective of every problem and target, (p, t)."""
    fit = (weights * _logits(x, free).log_softmax(3)).sum((1, 3))
    return fit - 0.5 * penalty * free.square().sum((2, 3))


def _newton_direction(x: Tensor, weights: Tensor, free: Tensor, allowed: Tensor, penalty: float) -> Tensor:
    """Return H^-1 g, with gradient g and negative Hessian H of the objective in W_1 ... W_{K-1}.

    With pi = softmax(W x) and row weight w_n = sum_k weights_nk:
    g_k = sum_n (weights_nk - w_n pi_nk) x_n - penalty W_k,
    H_kl = sum_n w_n pi_nk (1[k = l] - pi_nl) x_n x_n' + penalty 1[k = l] I.
    """
    p, t, k, width = free.shape
    weight = weights.sum(3, keepdim=True)
    probability = _logits(x, free).softmax(3)[..., :-1]
    gradient = ((weights[..., :-1] - weight * probability).flatten(2).mT @ x).unflatten(1, (t, k))
    gradient = (gradient - penalty * free) * allowed[:, None]
    # H is symmetric in (k, l): compute the blocks k <= l, all from one weighted Gram product.
    first, second = torch.triu_indices(k, k, device=x.device)
    products = probability[..., first] * ((first == second).to(x) - probability[..., second])
    grams = weighted_grams(x, (weight * products).flatten(2)).unflatten(1, (t, len(first)))
    grams = grams * (allowed[:, None, :, None] & allowed[:, None, None, :])
    hessian = x.new_empty(p, t, k, width, k, width)
    hessian[:, :, first, :, second, :] = grams.permute(2, 0, 1, 3, 4)
    hessian[:, :, second, :, first, :] = grams.permute(2, 0, 1, 3, 4)
    hessian = hessian.flatten(4).flatten(2, 3)
    # Rows of masked inputs are zero in H and g; a one on the diagonal makes their step zero.
    hessian.diagonal(dim1=2, dim2=3).add_((penalty + ~allowed).repeat(1, k))
    return solve(hessian, gradient.flatten(2)).unflatten(2, (k, width))


def _logits(x: Tensor, free: Tensor) -> Tensor:
    """Return (p, n, t, K) logits; the last class has logit 0."""
    logits = _products(x, free)
    return torch.cat([logits, torch.zeros_like(logits[..., :1])], 3)


def _products(x: Tensor, coefficients: Tensor) -> Tensor:
    """Return (p, n, t, K) inner products of rows with (p, t, K, D) coefficients."""
    return (x @ coefficients.flatten(1, 2).mT).unflatten(2, coefficients.shape[1:3])


def weighted_grams(x: Float[Tensor, "p n D"], weights: Float[Tensor, "p n w"]) -> Float[Tensor, "p w D D"]:
    """Return X' diag(weights_w) X for every column w of weights.

    All weights share the rows' outer products x_n x_n', of which only the D (D + 1) / 2 distinct entries are
    computed, in blocks of rows, and summed by one matrix product.
    """
    p, width = x.shape[0], x.shape[2]
    upper = torch.triu_indices(width, width, device=x.device)
    distinct = x.new_zeros(p, weights.shape[2], upper.shape[1])
    block = max(1, _ENTRIES // (p * upper.shape[1]))
    for rows, row_weights in zip(x.split(block, 1), weights.split(block, 1), strict=True):
        distinct.baddbmm_(row_weights.mT, rows[:, :, upper[0]] * rows[:, :, upper[1]])
    grams = x.new_empty(*distinct.shape[:2], width, width)
    grams[..., upper[0], upper[1]] = distinct
    grams[..., upper[1], upper[0]] = distinct
    return grams

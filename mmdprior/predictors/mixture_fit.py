"""Fits of mixtures of experts by EM, gradient EM, gradient descent or Adam, until each one has converged."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.predictors.descent import Descent, anchored
from mmdprior.predictors.em import m_step
from mmdprior.predictors.minibatch import OnlineEM
from mmdprior.predictors.mixture import Mixture

__all__ = ["FitSettings", "Method", "MixtureFit", "fit_in_batches", "fit_mixture"]

Method = Literal["em", "gradient_em", "gradient", "adam"]


@dataclass(frozen=True)
class FitSettings:
    """How to fit a mixture.

    Attributes:
        method: update per iteration: ``em``; ``gradient_em``, several gradient steps on EM's surrogate;
            ``gradient``, gradient descent; or ``adam``.
        steps: largest number of iterations.
        tol: a fit stops when the mean negative log-likelihood changes by at most this in one iteration.
        step_size: step size of the methods with gradients.
        inner_steps: gradient steps per E-step of ``gradient_em``.
        newton_steps: Newton steps per iteration of EM, of the gate and of classifying experts; 20 are exact.
        ridge: penalty on all coefficients, relative to the number of rows.
    """

    method: Method = "em"
    steps: int = 200
    tol: float = 1e-6
    step_size: float = 0.1
    inner_steps: int = 5
    newton_steps: int = 1
    ridge: float = 1e-6


@dataclass
class MixtureFit:
    """A fitted mixture, and its path.

    Attributes:
        mixture: mixture after the last iteration of each target.
        converged: (p, t) whether the objective stopped changing before the last iteration.
        diverged: (p, t) whether the next iterate was not finite.
        objective: (p, t) mean negative log-likelihood at the start and after each iteration.
        seconds: time since the start, per iteration.
        gradients: gradients of all rows that were computed since the start, per iteration. A Newton step and
            a weighted least-squares fit count as one.
    """

    mixture: Mixture
    converged: Bool[Tensor, "p t"]
    diverged: Bool[Tensor, "p t"]
    objective: list[Float[Tensor, "p t"]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    gradients: list[int] = field(default_factory=list)

    def add(self, mixture: Mixture, value: Float[Tensor, "p t"], tol: float) -> bool:
        """Record one iterate of the targets that are still fitted; return whether any of them continues."""
        active = ~(self.converged | self.diverged)
        finite = value.isfinite()
        self.diverged |= active & ~finite
        kept = active & finite
        if self.objective:
            before = self.objective[-1]
            self.mixture = mixture.where(kept, self.mixture)
            self.converged |= kept & ((before - value).abs() <= tol)
            value = torch.where(kept, value, before)
        self.objective.append(value)
        return bool((~(self.converged | self.diverged)).any())  # waits for the device


Update = Callable[[Mixture, Tensor], tuple[Mixture, int]]
"""Mixture and responsibilities -> next mixture, and the number of gradients computed."""


def fit_mixture(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    start: Mixture,
    settings: FitSettings,
    *,
    mask: Bool[Tensor, "t D"] | None = None,
    observe: Callable[[MixtureFit], bool] | None = None,
) -> MixtureFit:
    """Return the mixture after the last iteration of every target, and its path.

    Targets that have converged keep their mixture, so that a fit does not depend on the others in the batch.

    Args:
        x: inputs; add a column of ones for an intercept.
        y: targets; 0 or 1 for logistic experts, the index of the class for multinomial ones.
        start: initial mixture.
        settings: method and its settings.
        mask: inputs that each target may use in EM; all of them by default.
        observe: function that is called with the fit so far, at the start and after every iteration. The fit
            ends where it returns True. Its time does not count.

    Example:
        >>> import torch
        >>> from mmdprior.predictors import Mixture
        >>> from mmdprior.predictors.mixture_fit import FitSettings, fit_mixture
        >>> x = torch.randn(1, 500, 1)
        >>> y = x.abs() + 0.1 * torch.randn(1, 500, 1)
        >>> slopes = torch.tensor([[[[0.5], [-0.5]]]])
        >>> fit = fit_mixture(x, y, Mixture(slopes, slopes, torch.ones(1, 1, 2)), FitSettings(steps=20))
        >>> bool(fit.objective[-1] < fit.objective[0])
        True
    """
    update = _update(x, y, settings, mask)
    no = torch.zeros(y.shape[0], y.shape[2], dtype=torch.bool, device=y.device)
    fit = MixtureFit(start, no, no.clone(), seconds=[0.0], gradients=[0])
    mixture, begun = start, time.perf_counter()
    for step in range(settings.steps + 1):
        # E-step: the normaliser of the responsibilities is the likelihood.
        joint = mixture.log_joint(x, y)
        continues = fit.add(mixture, -joint.logsumexp(3).mean(1), settings.tol)
        if step:
            fit.seconds.append(time.perf_counter() - begun)
        if observe is not None:
            continues = continues and not observe(fit)
            begun = time.perf_counter() - fit.seconds[-1]
        if not continues or step == settings.steps:
            break
        mixture, used = update(mixture, joint.softmax(3))
        fit.gradients.append(fit.gradients[-1] + used)
    fit.mixture = anchored(fit.mixture)
    return fit


def _update(x: Tensor, y: Tensor, settings: FitSettings, mask: Tensor | None) -> Update:
    """Return the update per iteration."""
    if settings.method == "em":

        def em(mixture: Mixture, responsibilities: Tensor) -> tuple[Mixture, int]:
            counts: list[int] = [1]
            after = m_step(
                x,
                y,
                responsibilities,
                mixture,
                mask=mask,
                ridge=settings.ridge,
                newton_steps=settings.newton_steps,
                counts=counts,
            )
            return after, max(counts)

        return em
    inner = settings.inner_steps if settings.method == "gradient_em" else 1
    descent = Descent(x, y, settings.step_size, settings.ridge, inner, adam=settings.method == "adam")
    return lambda mixture, responsibilities: (descent(mixture, responsibilities), inner)


Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Returns an iterator over the (x, y) of all rows, in batches."""


def fit_in_batches(shuffled: Batches, ordered: Batches, start: Mixture, settings: FitSettings) -> MixtureFit:
    """Return the mixture after minibatch EM; one iteration is one pass over all rows.

    Args:
        shuffled: minibatches of one pass in random order, a new order per call.
        ordered: batches of any size, for the objective.
        start: initial mixture.
        settings: steps, tolerance and ridge; the method is EM.
    """

    def value(mixture: Mixture) -> Tensor:
        batches = [(mixture.log_likelihood(x, y).sum(1), x.shape[1]) for x, y in ordered()]
        return -torch.stack([total for total, _ in batches]).sum(0) / sum(rows for _, rows in batches)

    no = torch.zeros(start.gate.shape[:2], dtype=torch.bool, device=start.gate.device)
    fit = MixtureFit(start, no, no.clone(), seconds=[0.0], gradients=[0])
    online, begun = OnlineEM(start, settings.ridge), time.perf_counter()
    continues = fit.add(start, value(start), settings.tol)
    while continues and len(fit.seconds) <= settings.steps:
        for x, y in shuffled():
            online.update(x, y)
        continues = fit.add(online.mixture, value(online.mixture), settings.tol)
        fit.seconds.append(time.perf_counter() - begun)
        fit.gradients.append(fit.gradients[-1] + 1)
    return fit

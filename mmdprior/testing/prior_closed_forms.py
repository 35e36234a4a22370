"""Checks of the closed forms of a prior against its draws, for `check_prior`.

Each takes a float64 prior on the CPU and n draws z, (n, d), and raises `InputError` for the first violation.
A closed form that raises `InputError` is absent and passes.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.priors import Marginal, Moments, Prior

__all__ = ["check_components", "check_gradient", "check_log_prob", "check_marginals", "check_moments"]

_T = TypeVar("_T")

_STANDARD_ERRORS = 6.0
"""Largest difference between a closed form and the draws, in standard errors."""

_DKW_LEVEL = 1e-9
"""Probability that the draws of a right prior exceed the bound on their distribution function."""

_ROUNDING = 1e-5
"""Relative difference that counts as rounding; parameters are often stored in float32."""

_LARGEST_SHARE = 0.05
"""Largest share of one draw in a sum. Above it the tails are too heavy for a standard error."""

_MAX_DIMS = 64
"""Most dimensions whose marginals are compared with the draws, evenly spaced."""

_CENTRES = 256
"""Bumps of the density against which `log_prob` is integrated."""

_LARGEST_LOG_WEIGHT = math.log(20.0)
"""Logarithm of the largest importance weight of the check for log-densities that are too large."""


def _optional(name: str, function: Callable[[], _T]) -> _T | None:
    """Return a closed form, or None where the prior has none."""
    try:
        return function()
    except InputError:
        return None
    except Exception as error:
        raise InputError(
            f"prior.{name}: {type(error).__name__} raised ({reason(error)}); raise mmdprior.InputError where "
            "there is no closed form"
        ) from error


def check_gradient(prior: Prior, z: Tensor) -> None:
    """Check shape, dtype and gradient of log_prob at draws in the prior's own dtype."""
    z = z.clone().requires_grad_()
    log_p = _optional("log_prob", lambda: prior.log_prob(z))
    if log_p is None:
        return
    _check_log_densities(log_p, z)
    if log_p.requires_grad:
        (gradient,) = torch.autograd.grad(log_p.sum(), z)
        bad_rows = int((~torch.isfinite(gradient)).any(1).sum())
        if bad_rows:
            raise InputError(
                f"prior.log_prob: NaN or infinite gradient at {bad_rows} of {len(z)} draws; expected finite "
                "numbers"
            )


def _check_log_densities(log_p: object, z: Tensor) -> None:
    if not isinstance(log_p, Tensor) or log_p.shape != (len(z),):
        kind = tuple(log_p.shape) if isinstance(log_p, Tensor) else type(log_p).__name__
        raise InputError(f"prior.log_prob: shape {kind} returned; expected ({len(z)},), one number per row")
    if log_p.dtype != z.dtype:
        raise InputError(f"prior.log_prob: {log_p.dtype} returned for {z.dtype} codes; expected {z.dtype}")
    bad_rows = int((~torch.isfinite(log_p)).sum())
    if bad_rows:
        raise InputError(
            f"prior.log_prob: NaN or infinity at {bad_rows} of {len(z)} draws of the prior; expected finite "
            "numbers"
        )


def check_moments(prior: Prior, z: Tensor) -> None:
    """Compare mean and covariance with those of the draws, in standard errors."""
    moments = _optional("moments", prior.moments)
    if moments is None:
        return
    if not isinstance(moments, Moments):
        raise InputError(f"prior.moments: {type(moments).__name__} returned; expected a Moments")
    d, n = prior.dim, len(z)
    for name, value, shape in (("mean", moments.mean, (d,)), ("covariance", moments.covariance, (d, d))):
        if value.shape != shape or not bool(torch.isfinite(value).all()):
            raise InputError(
                f"prior.moments: {name} of shape {tuple(value.shape)} returned; expected finite numbers of "
                f"shape {shape}"
            )
    centred = z - moments.mean
    mean_error = _tolerance(centred.std(0), z.abs().mean(0), n)
    mean_error[_has_heavy_tails(centred, 2)] = math.inf
    _compare("moments: mean", moments.mean, z.mean(0), mean_error, n)
    products = centred.T @ centred / n
    spread = (centred.square().T @ centred.square() / n - products.square()).clamp(min=0).sqrt()
    scale = products.diagonal().sqrt()
    error = _tolerance(spread, scale[:, None] * scale, n)
    heavy = _has_heavy_tails(centred, 4)
    error[heavy[:, None] | heavy] = math.inf
    _compare("moments: covariance", moments.covariance, products, error, n)


def _tolerance(standard_deviation: Tensor, scale: Tensor, n: int) -> Tensor:
    return _STANDARD_ERRORS * standard_deviation / math.sqrt(n) + _ROUNDING * scale


def _has_heavy_tails(centred: Tensor, power: int) -> Tensor:
    """Return for each dimension whether one draw has more than _LARGEST_SHARE of the sum of this power."""
    powers = (centred / centred.abs().amax(0).clamp(min=1e-300)) ** power
    return powers.sum(0) < 1 / _LARGEST_SHARE


def _compare(name: str, expected: Tensor, drawn: Tensor, tolerance: Tensor, n: int) -> None:
    """Raise for the entry that differs most from the draws, in units of its tolerance."""
    excess = ((expected - drawn).abs() / tolerance.clamp(min=1e-300)).flatten()
    worst = int(excess.argmax())
    if excess[worst] <= 1:
        return
    index = worst if expected.ndim == 1 else tuple(divmod(worst, expected.shape[1]))
    values = (t.flatten()[worst] for t in (expected, drawn, tolerance))
    returned, estimate, error = (f"{float(value):.4g}" for value in values)
    raise InputError(
        f"prior.{name}: entry {index} is {returned}; expected {estimate} within {error}, from {n} draws"
    )


def check_components(prior: Prior, z: Tensor, seed: int) -> None:
    """Compare the characteristic function of the Gaussian mixture with the draws in random directions."""
    components: Any = _optional("components", prior.components)
    if components is None:
        return
    if not (isinstance(components, tuple) and all(isinstance(part, Tensor) for part in components)):
        raise InputError(f"prior.components: {type(components).__name__} returned; expected three tensors")
    if len(components) != 3:
        raise InputError(f"prior.components: {len(components)} tensors returned; expected three")
    weights, means, scales = (part.to(z) for part in components)
    shape = (len(weights), prior.dim)
    if weights.ndim != 1 or means.shape != shape or scales.shape != shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in components)
        raise InputError(f"prior.components: shapes {shapes} returned; expected (k,), (k, d) and (k, d)")
    if bool((weights < 0).any()) or not math.isclose(float(weights.sum()), 1.0, abs_tol=_ROUNDING):
        raise InputError("prior.components: weights that are not probabilities returned; expected a sum of 1")
    if bool((scales < 0).any()):
        raise InputError("prior.components: negative scales returned; expected standard deviations")
    directions = torch.randn(prior.dim, 16, generator=torch.Generator().manual_seed(seed), dtype=z.dtype)
    t = directions / (_spread(z)[:, None] * math.sqrt(prior.dim))
    # E exp(i t'z) = sum_k w_k exp(i t'm_k - sum_j t_j^2 s_kj^2 / 2)
    size = torch.exp(-0.5 * scales.square() @ t.square())
    expected = (weights[:, None] * torch.polar(size, means @ t)).sum(0)
    drawn = torch.polar(torch.ones(len(z), t.shape[1], dtype=z.dtype), z @ t).mean(0)
    difference, bound = float((expected - drawn).abs().max()), _STANDARD_ERRORS / math.sqrt(len(z))
    if not difference <= bound:
        raise InputError(
            f"prior.components: characteristic function differs from {len(z)} draws by {difference:.3g}; "
            f"expected at most {bound:.3g}"
        )


def _spread(z: Tensor) -> Tensor:
    """Return a robust standard deviation per dimension: half the central 68 %; 1 where that is zero."""
    ordered = z.sort(0).values
    half = (ordered[int(0.84 * len(z))] - ordered[int(0.16 * len(z))]) / 2
    return torch.where(half > 0, half, 1.0)


def check_marginals(prior: Prior, z: Tensor) -> None:
    """Compare the methods of each marginal with the draws, and check independence where it is claimed."""
    marginals = _optional("marginals", prior.marginals)
    if marginals is None:
        if prior.independent:
            raise InputError("prior.independent: True without marginals; expected marginals(), or False")
        return
    if not isinstance(marginals, list) or len(marginals) != prior.dim:
        count = len(marginals) if isinstance(marginals, list) else type(marginals).__name__
        raise InputError(f"prior.marginals: {count} returned; expected a list of {prior.dim}")
    dims = torch.linspace(0, prior.dim - 1, min(prior.dim, _MAX_DIMS)).round().long().tolist()
    spread = _spread(z)
    for i in dims:
        if not isinstance(marginals[i], Marginal):
            raise InputError(f"prior.marginals: {type(marginals[i]).__name__} returned; expected a Marginal")
        _check_cdf(i, marginals[i], z[:, i])
        _check_quantile(i, marginals[i], float(spread[i]))
        _check_characteristic(i, marginals[i], z[:, i], float(spread[i]))
    if prior.independent and len(dims) > 1:
        _check_independence(dims, torch.stack([marginals[i].cdf(z[:, i]) for i in dims], 1))


def _marginal_values(i: int, name: str, marginal: Marginal, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values of a marginal's method after checking shape and dtype."""
    try:
        values: object = getattr(marginal, name)(x)
    except Exception as error:
        raise InputError(f"prior.marginals: {name} of dimension {i} raises ({reason(error)})") from error
    if not isinstance(values, Tensor) or values.shape != x.shape or values.dtype != dtype:
        kind = (
            f"{tuple(values.shape)} {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
        )
        raise InputError(
            f"prior.marginals: {name} of dimension {i} returned {kind}; expected {tuple(x.shape)} {dtype}"
        )
    return values


def _check_cdf(i: int, marginal: Marginal, z: Tensor) -> None:
    """Compare the cdf with the empirical one by the Dvoretzky-Kiefer-Wolfowitz inequality."""
    x, n = z.sort().values, len(z)
    empirical = torch.searchsorted(x, x, right=True) / n
    difference = float((_marginal_values(i, "cdf", marginal, x, x.dtype) - empirical).abs().max())
    bound = math.sqrt(math.log(2 / _DKW_LEVEL) / (2 * n))
    if not difference <= bound:
        raise InputError(
            f"prior.marginals: cdf of dimension {i} differs from {n} draws by {difference:.3g}; expected at "
            f"most {bound:.3g}"
        )


def _check_quantile(i: int, marginal: Marginal, spread: float) -> None:
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    x = _marginal_values(i, "quantile", marginal, u, u.dtype)
    reached = marginal.cdf(x) >= u - _ROUNDING
    smallest = marginal.cdf(x - 1e-4 * spread) <= u + _ROUNDING
    wrong = ~(reached & smallest)
    if bool(wrong.any()):
        raise InputError(
            f"prior.marginals: quantile of dimension {i} at u = {float(u[wrong][0]):.2f} is "
            f"{float(x[wrong][0]):.4g}; expected the smallest x with cdf(x) >= u"
        )


def _check_characteristic(i: int, marginal: Marginal, z: Tensor, spread: float) -> None:
    t = torch.tensor([0.3, 1.0, 3.0], dtype=z.dtype) / spread
    values = _marginal_values(i, "characteristic", marginal, t, torch.complex128)
    drawn = torch.polar(torch.ones(len(z), len(t), dtype=z.dtype), z[:, None] * t).mean(0)
    # The phases have modulus 1, so the standard error of their mean is at most 1 / sqrt(n).
    difference, bound = float((values - drawn).abs().max()), _STANDARD_ERRORS / math.sqrt(len(z))
    if not difference <= bound:
        raise InputError(
            f"prior.marginals: characteristic function of dimension {i} differs from {len(z)} draws by "
            f"{difference:.3g}; expected at most {bound:.3g}"
        )


def _check_independence(dims: list[int], u: Tensor) -> None:
    """Check correlations between positions u_i = F_i(z_i) and distances |u_i - 1/2| of different dimensions.

    The distances find uncorrelated but dependent dimensions, as those of a sphere.
    """
    n, k = u.shape
    columns = torch.cat([u, (u - 0.5).abs()], 1)
    centred = columns - columns.mean(0)
    # A column that differs from its mean in fewer than about 100 draws has no useful correlation.
    rare = centred.square().amax(0) * 100 > centred.square().sum(0)
    standardised = torch.where(rare, 0.0, centred / centred.std(0).clamp(min=1e-300))
    correlation = (standardised.T @ standardised / n).abs()
    same = torch.arange(2 * k) % k
    correlation[same[:, None] == same] = 0
    worst = int(correlation.argmax())
    if float(correlation.flatten()[worst]) > _STANDARD_ERRORS / math.sqrt(n):
        i, j = (dims[index % k] for index in divmod(worst, 2 * k))
        raise InputError(
            f"prior.independent: True, but dimensions {min(i, j)} and {max(i, j)} are dependent in {n} "
            "draws; expected False"
        )


def check_log_prob(prior: Prior, z: Tensor, seed: int) -> None:
    """Check that exp(log_prob) integrates to 1, by importance sampling.

    For any density q, with w = q / p, E_p[w] is the probability under q that p > 0. If log_prob is too large
    by c, w is too small by the factor exp(-c). q has bumps around draws, so that it overlaps p for clusters
    and curves too.
    """
    log_p = _optional("log_prob", lambda: prior.log_prob(z))
    if log_p is None:
        return
    _check_log_densities(log_p, z)
    # The draws that serve as centres are left out: a bump is highest at its own centre.
    bumps, z, log_p = _Bumps(z[:_CENTRES], seed), z[_CENTRES:], log_p[_CENTRES:]
    x = bumps.sample(len(z))
    log_p_x = _optional("log_prob", lambda: prior.log_prob(x))
    if log_p_x is None:
        return  # codes outside the support are rejected rather than scored as minus infinity
    if bool(torch.isnan(log_p_x).any()):
        raise InputError("prior.log_prob: NaN returned; expected minus infinity outside the support")
    log_w, log_w_x = bumps.log_prob(z) - log_p, bumps.log_prob(x) - log_p_x
    root_n = math.sqrt(len(z))

    # Log density too small: w too large. Its sample mean seldom exceeds its expectation by much, because rare
    # large weights also enlarge the standard error.
    w, inside = log_w.clamp(max=600).exp(), torch.isfinite(log_w_x).double()
    excess = float(w.mean() - inside.mean())
    if excess > _STANDARD_ERRORS * float(w.std() + inside.std()) / root_n + _ROUNDING:
        raise _not_normalised(float(inside.mean() / w.mean()))

    # Log density too large: w too small. Weights are cut at a bound, with the same set on both sides of
    # E_p[w 1(w <= bound)] = P_q(w <= bound), so that no rare large weight can be missing from the mean.
    w = torch.where(log_w <= _LARGEST_LOG_WEIGHT, log_w.exp(), 0.0)
    inside = (log_w_x <= _LARGEST_LOG_WEIGHT).double()
    # E_p[w^2] = E_q[w]: draws from q show large weights that draws from p may miss.
    second_moment = float((inside * log_w_x.clamp(max=_LARGEST_LOG_WEIGHT).exp()).mean())
    variance = max(float(w.var()), second_moment)
    excess = float(inside.mean() - w.mean())
    if excess > _STANDARD_ERRORS * (math.sqrt(variance) + float(inside.std())) / root_n + _ROUNDING:
        raise _not_normalised(float(inside.mean() / w.mean().clamp(min=1e-300)))


def _not_normalised(integral: float) -> InputError:
    return InputError(
        f"prior.log_prob: exp(log_prob) integrates to about {integral:.3g} against the draws; expected 1"
    )


class _Bumps:
    """A mixture of Gaussians around draws of a prior, with about the variances of the prior.

    Centres are clamped to the central 90 % of the draws, so that heavy tails do not spread them.
    """

    def __init__(self, z: Tensor, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed + 1)
        width = len(z) ** (-1 / (z.shape[1] + 4))  # Scott's rule
        ordered = z.sort(0).values
        low, middle, high = (ordered[int(level * (len(z) - 1))] for level in (0.05, 0.5, 0.95))
        centres = torch.minimum(torch.maximum(z, low), high)
        # Shrinking the centres keeps the variance: a^2 + width^2 = 1.
        self.centres = middle + math.sqrt(1 - width**2) * (centres - middle)
        self.scale = width * _spread(z)

    def sample(self, n: int) -> Tensor:
        """Draw n points."""
        rows = torch.randint(len(self.centres), (n,), generator=self.generator)
        noise = torch.randn(n, len(self.scale), generator=self.generator, dtype=self.centres.dtype)
        return self.centres[rows] + self.scale * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of each row of z."""
        log_norm = float(self.scale.log().sum()) + 0.5 * z.shape[1] * math.log(2 * math.pi)
        log_norm += math.log(len(self.centres))
        blocks = z.split(4096)
        squared = [torch.cdist(block / self.scale, self.centres / self.scale).square() for block in blocks]
        return torch.cat([torch.logsumexp(-0.5 * block, 1) for block in squared]) - log_norm

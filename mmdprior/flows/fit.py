"""Fit a bijection that sends given codes to a prior."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.choices import FitObjective as Objective
from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection, Chain, Inverse
from mmdprior.flows.coupling import coupling_flow
from mmdprior.flows.linear import FixedLinear, whitening
from mmdprior.flows.manifold import IntrinsicDimension, intrinsic_dimension
from mmdprior.flows.optimise import (
    Evaluation,
    FlowSettings,
    apply,
    gaussian_loss,
    held_out_loss,
    minibatches,
    train_flow,
)
from mmdprior.flows.spline import MonotoneSpline
from mmdprior.flows.targets import dequantized, gaussian_to, hazy
from mmdprior.kernels import RBF, Kernel, Sliced, Sum
from mmdprior.precision import to_numbers
from mmdprior.priors import Gaussian, Prior, PriorLike, as_prior
from mmdprior.regularizers import MMD
from mmdprior.results import Result, to_plain
from mmdprior.seeding import stream

__all__ = [
    "FittedBijection",
    "Objective",
    "check_codes",
    "correlation",
    "density_warnings",
    "fit_bijection",
    "gaussian_nats",
    "new_flow",
]


_PRIOR_SETTINGS = FlowSettings(
    layers=4,
    hidden=(64, 64),
    transform="spline",
    bins=12,
    dropout=0.0,
    noise=0.0,
    steps=600,
    learning_rate=5e-3,
    weight_decay=0.0,
)
"""Settings of a map fitted to draws of a prior in few dimensions. New draws cannot be overfitted."""

_FEW_DIMENSIONS = 4
"""Largest dimension of a prior for these settings; larger ones are fitted with the settings of the codes."""

_PRIOR_DRAWS = 20_000
"""Draws that the whitening and the evaluation of such a map use."""

_FEWEST_CODES = 40
"""Fewest codes that are fitted."""

_RUNAWAY = 1.0
"""Nats per dimension over a Gaussian from which a likelihood counts as diverging."""


@dataclass(frozen=True, eq=False)
class FittedBijection(Result):
    """A bijection fitted to codes, with its losses, measurements and warnings.

    Attributes:
        bijection: the map, in evaluation mode: ``z = bijection(h)`` and ``h = bijection.inverse(z)``.
        prior: prior that z should follow. It differs from the requested one where that was dequantized.
        objective: what was minimised.
        history: losses during the fit.
        held_out_loss: best loss on held-out codes; for likelihoods in nats per code.
        gaussian_loss: negative log-likelihood of the held-out codes under a Gaussian, in nats per code.
        correlation: correlation of z_i with h_i on held-out codes, (d,); NaN where h_i is constant.
        inverse_error: largest |f^-1(f(h)) - h| on held-out codes, in standard deviations of the codes.
        dimension: intrinsic dimension of the whitened codes.
        warnings: one line each.
        n_train: number of codes that were fitted.
        n_held_out: number of codes that chose the best step.
        seconds: duration.
    """

    bijection: Bijection
    prior: Prior
    objective: str
    history: list[Evaluation]
    held_out_loss: float
    gaussian_loss: float
    correlation: np.ndarray
    inverse_error: float
    dimension: IntrinsicDimension
    warnings: list[str]
    n_train: int
    n_held_out: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, without the bijection and the prior."""
        names = [name for name in self.__dataclass_fields__ if name not in ("bijection", "prior")]
        plain = {name: getattr(self, name) for name in names}
        plain["history"] = [vars(evaluation) for evaluation in self.history]
        plain["dimension"] = self.dimension.to_dict()
        return {name: to_plain(value) for name, value in plain.items()}

    def __str__(self) -> str:
        best = min(self.history, key=lambda evaluation: evaluation.held_out)
        lines = [
            f"{self.n_train} codes of {self.bijection.dim} dimensions, {self.n_held_out} held out; "
            f"{self.objective}; best step {best.step} of {self.history[-1].step}; {self.seconds:.0f} s",
            f"held-out loss {self.held_out_loss:.3f} (Gaussian {self.gaussian_loss:.3f})",
            f"correlation of z_i with h_i: mean {np.nanmean(self.correlation):.3f}, "
            f"smallest {np.nanmin(self.correlation):.3f}",
            f"inverse error {self.inverse_error:.1e}; {self.dimension}",
        ]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


def fit_bijection(
    codes: Tensor | np.ndarray,
    prior: PriorLike | None = None,
    settings: FlowSettings | None = None,
    *,
    objective: Objective = "auto",
    flow: Bijection | None = None,
    validation: Tensor | np.ndarray | None = None,
    dequantize: bool = False,
    prior_settings: FlowSettings | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    report: Callable[[Evaluation], None] | None = None,
) -> FittedBijection:
    """Fit a bijection z = f(h) that sends codes to a prior. Nothing is lost: h = f^-1(z).

    The codes are whitened (ZCA), pass through couplings and are whitened again. The couplings maximise the
    likelihood of the codes when their image is N(0, I), with noise, dropout and weight decay against
    overfitting. The step with the best likelihood on held-out codes is kept. A last map sends N(0, I) to the
    prior.

    Args:
        codes: (n, d) codes, one row per sample, at least 40.
        prior: anything that `as_prior` accepts; N(0, I) by default.
        settings: architecture and optimisation; the defaults of `FlowSettings` if None.
        objective: one of

            - ``auto``: the likelihood of N(0, I), then `gaussian_to` the prior. Blocks of the prior without
              an exact map get one fitted to draws of the prior and inverted;
            - ``likelihood``: the likelihood under ``prior.log_prob`` directly, for densities that are
              positive everywhere;
            - ``two_maps``: as auto, but with a fitted map to the whole prior;
            - ``mmd``: the MMD penalty of this package (RBFs of three length-scales);
            - ``sliced``: the MMD of one-dimensional projections.
        flow: an untrained bijection to train in place of the couplings that ``settings`` describes.
        validation: (m, d) held-out codes; by default a tenth of the rows, at most 3,000, drawn at random.
        dequantize: whether a prior with single values of positive probability is replaced by `dequantized`.
        prior_settings: settings of a map fitted to draws of the prior. By default four spline couplings in up
            to 4 dimensions, and ``settings`` in more.
        seed: seed of everything random. The global generators are left unchanged.
        device: where to fit; that of the codes by default.
        report: called with every `Evaluation`.

    Returns:
        The bijection, on the device, with measurements and warnings.

    Raises:
        InputError: codes are not finite numbers of the right shape, prior and codes have different
            dimensions, the prior has atoms, or the objective needs a density that the prior does not have.

    Example:
        >>> import torch
        >>> from mmdprior.flows import FlowSettings, fit_bijection
        >>> from mmdprior.priors import Uniform
        >>> codes = torch.randn(1000, 2)
        >>> codes[:, 1] += codes[:, 0].square()
        >>> settings = FlowSettings(layers=2, hidden=[16], steps=20)
        >>> fitted = fit_bijection(codes, Uniform(2), settings)
        >>> z = fitted.bijection(codes)
        >>> bool((fitted.bijection.inverse(z) - codes).abs().max() < 1e-3)
        True
    """
    start = time.perf_counter()
    settings = FlowSettings() if settings is None else settings
    train, held_out = _split(codes, validation, seed, device)
    dim = train.shape[1]
    target = _target(prior, dim, dequantize, train.device)
    if flow is not None and flow.dim != dim:
        raise InputError(f"flow: dim {flow.dim} received; the codes have {dim}")
    first = whitening(train)
    w, w_held_out = apply(first, train), apply(first, held_out)
    dimension = intrinsic_dimension(w, seed=seed)
    fit = _fit_to_gaussian if objective in ("auto", "two_maps") else _fit_directly
    options = _Options(settings, prior_settings, objective, flow, seed, report)
    parts, history, text, warnings = fit(w, w_held_out, target, options)
    bijection = Chain([first, *parts]).eval()
    best, gaussian = min(e.held_out for e in history), gaussian_nats(w_held_out)
    likelihood = objective not in ("mmd", "sliced")
    # The losses are those of whitened codes; log |det| of the whitening leads to the units of the codes.
    log_det = float(first.forward_and_log_det(train[:1])[1])
    warnings += density_warnings(first, dimension, (gaussian - best) / dim if likelihood else 0.0, len(train))
    z = apply(bijection, held_out)
    deviation = held_out.std(0)
    error = (apply(bijection.inverse, z) - held_out).abs() / torch.where(deviation > 0, deviation, 1)
    return FittedBijection(
        bijection=bijection,
        prior=target,
        objective=text,
        history=history,
        held_out_loss=best - log_det if likelihood else best,
        gaussian_loss=gaussian - log_det,
        correlation=correlation(z, held_out),
        inverse_error=float(error.max()),
        dimension=dimension,
        warnings=warnings,
        n_train=len(train),
        n_held_out=len(held_out),
        seconds=time.perf_counter() - start,
    )


def _target(prior: PriorLike | None, dim: int, dequantize: bool, device: torch.device) -> Prior:
    """Return a copy of the prior on a device, after checking its dimension."""
    target = Gaussian(dim) if prior is None else as_prior(prior, dim)
    if target.dim != dim:
        raise InputError(f"prior: dim {target.dim} received; the codes have {dim}")
    target = copy.deepcopy(target).to(device)
    return dequantized(target).to(device) if dequantize else target


def gaussian_nats(w: Tensor) -> float:
    """Return the mean negative log-likelihood of codes under N(0, I), in nats."""
    return float(0.5 * w.square().sum(1).mean()) + 0.5 * w.shape[1] * math.log(2 * math.pi)


@dataclass(frozen=True)
class _Options:
    """Arguments of `fit_bijection` that its parts share."""

    settings: FlowSettings
    prior_settings: FlowSettings | None
    objective: Objective
    flow: Bijection | None
    seed: int
    report: Callable[[Evaluation], None] | None

    def settings_for(self, prior: Prior) -> FlowSettings:
        """Return the settings of a map fitted to draws of a prior."""
        default = _PRIOR_SETTINGS if prior.dim <= _FEW_DIMENSIONS else self.settings
        return self.prior_settings or default


_Fitted = tuple[list[Bijection], list[Evaluation], str, list[str]]


def _fit_to_gaussian(w: Tensor, held_out: Tensor, prior: Prior, options: _Options) -> _Fitted:
    """Return the parts after the first whitening: couplings, a second whitening, the map to the prior."""
    settings, seed = options.settings, options.seed
    warnings: list[str] = []

    def fit(block: Prior) -> Bijection:
        return _map_to_draws(block, options, warnings)

    last = fit(prior) if options.objective == "two_maps" else gaussian_to(prior, fit)
    assert last is not None
    flow = new_flow(w, settings, seed) if options.flow is None else options.flow.to(w)
    history = train_flow(
        flow,
        minibatches(w, settings, seed),
        lambda block: gaussian_loss(flow, block, settings.transport),
        lambda: held_out_loss(lambda block: gaussian_loss(flow, block), held_out),
        settings,
        seed=seed,
        report=options.report,
    )
    second = whitening(apply(flow, w))
    text = "likelihood of N(0, I), then the exact map to the prior"
    if warnings or options.objective == "two_maps":
        text = "likelihood of N(0, I), then the inverse of a map fitted to prior draws"
    return [flow, second, last.to(w.device)], history, text, warnings


def _fit_directly(w: Tensor, held_out: Tensor, prior: Prior, options: _Options) -> _Fitted:
    """Return couplings, and before them a linear map to mean and covariance of the prior."""
    settings, objective, seed = options.settings, options.objective, options.seed
    draws = prior.sample(_PRIOR_DRAWS, stream(seed, "moments", device=prior.device)).to(w)
    linear = Inverse(whitening(draws)).eval()
    moved, moved_held_out = apply(linear, w), apply(linear, held_out)
    flow = new_flow(moved, settings, seed) if options.flow is None else options.flow.to(w)
    if objective == "likelihood":
        if not bool(torch.isfinite(prior.log_prob(3 * draws[:1000])).all()):
            raise InputError(
                "objective: 'likelihood' received; the density of the prior is zero in places, so give auto"
            )

        def loss(block: Tensor) -> Tensor:
            z, log_det = flow.forward_and_log_det(block)
            return -(prior.log_prob(z) + log_det).mean()

        def judge() -> float:
            return held_out_loss(loss, moved_held_out)
    else:
        penalty = MMD(prior, _kernel(objective, prior.dim), num_samples=settings.batch_size, seed=seed)
        penalty = penalty.to(w.device).eval()
        steps = iter(range(10**9))

        def loss(block: Tensor) -> Tensor:
            z = flow(block)
            value = penalty(z, step=next(steps))
            return value + settings.transport * (z - block).square().mean()

        def judge() -> float:
            blocks = moved_held_out[:4096].split(settings.batch_size)
            usable = [block for block in blocks if len(block) > 1]
            return float(torch.stack([penalty(flow(b), step=i) for i, b in enumerate(usable)]).mean())

    history = train_flow(
        flow, minibatches(moved, settings, seed), loss, judge, settings, seed=seed, report=options.report
    )
    text = "likelihood under the prior's density" if objective == "likelihood" else f"{objective} penalty"
    return [linear, flow], history, text, []


def _kernel(objective: Objective, dim: int) -> Kernel:
    if objective == "sliced":
        return Sliced()
    if objective == "mmd":
        return Sum([RBF(scale * dim**0.5) for scale in (0.25, 0.5, 1.0)])
    raise InputError(f"objective: {objective!r} received; give auto, likelihood, two_maps, mmd or sliced")


def new_flow(w: Tensor, settings: FlowSettings, seed: int) -> Bijection:
    """Return untrained couplings; in one dimension, where there are none, a spline through quantiles."""
    dim = w.shape[1]
    if dim == 1:
        return MonotoneSpline(1).to(w).fit(w)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        flow = coupling_flow(
            dim, settings.layers, settings.hidden, settings.transform, settings.dropout, settings.bins, seed
        )
    return flow.to(w)


def _map_to_draws(prior: Prior, options: _Options, warnings: list[str]) -> Bijection:
    """Return a map from N(0, I) to a prior: the inverse of one fitted to draws of the prior."""
    settings, seed = options.settings_for(prior), options.seed
    draws = prior.sample(_PRIOR_DRAWS, stream(seed, "draws", device=prior.device))
    name = type(prior).__name__
    warnings.append(f"{name} has no exact map; one was fitted to its draws")
    if prior.dim > 1 and intrinsic_dimension(whitening(draws)(draws), seed=seed).deficient:
        prior = hazy(prior).to(prior.device)
        warnings.append(f"draws of {name} fill fewer dimensions than {prior.dim}; normal noise was added")
    first = whitening(draws)
    flow = new_flow(apply(first, draws), settings, seed)
    fixed = first(prior.sample(_PRIOR_DRAWS, stream(seed, "held out draws", device=prior.device)))

    def batch(step: int) -> Tensor:
        n = settings.batch_size
        return first(prior.sample(n, stream(seed, "prior draws", step, prior.device)))

    train_flow(
        flow,
        batch,
        lambda block: gaussian_loss(flow, block),
        lambda: held_out_loss(lambda block: gaussian_loss(flow, block), fixed),
        settings,
        seed=seed,
    )
    return Inverse(Chain([first, flow, whitening(apply(flow, fixed))])).eval()


def _split(
    codes: Tensor | np.ndarray,
    validation: Tensor | np.ndarray | None,
    seed: int,
    device: torch.device | str | None,
) -> tuple[Tensor, Tensor]:
    """Return training and held-out codes in float32."""
    train = check_codes(codes, "codes", device)
    if validation is not None:
        held_out = check_codes(validation, "validation", train.device)
        if held_out.shape[1] != train.shape[1]:
            raise InputError(
                f"validation: {held_out.shape[1]} dimensions received; the codes have {train.shape[1]}"
            )
        return train, held_out
    order = torch.randperm(len(train), generator=stream(seed, "split")).to(train.device)
    count = min(3000, max(10, len(train) // 10))
    return train[order[count:]], train[order[:count]]


def check_codes(
    codes: Tensor | np.ndarray, name: str, device: torch.device | str | None = None
) -> Float[Tensor, "n d"]:
    """Return codes as a float32 tensor, after checking shape and values.

    Args:
        codes: (n, d) codes.
        name: name of the argument in errors.
        device: device of the result; that of the codes by default.
    """
    tensor = to_numbers(codes, name) if isinstance(codes, np.ndarray) else torch.as_tensor(codes)
    tensor = tensor.detach().to(device if device is not None else tensor.device, torch.float32)
    smallest = _FEWEST_CODES if name == "codes" else 10
    if tensor.ndim != 2 or len(tensor) < smallest or tensor.shape[1] < 1:
        raise InputError(f"{name}: shape {tuple(tensor.shape)} received; give (n, d) with n >= {smallest}")
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{name}: NaN or infinity received; remove those rows")
    return tensor


def correlation(z: Float[Tensor, "n d"], h: Float[Tensor, "n d"]) -> np.ndarray:
    """Return the correlation of each dimension before and after a map, (d,)."""
    a, b = (x.double() - x.double().mean(0) for x in (z, h))
    return ((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).cpu().numpy()


def density_warnings(
    first: FixedLinear, dimension: IntrinsicDimension, gain_per_dimension: float, n: int
) -> list[str]:
    """Return one line for every sign that the codes have no density, or that there are too few."""
    texts = []
    dim = dimension.ambient
    variances = 1 / torch.linalg.svdvals(first.matrix.double()).square()
    small = int((variances < 1e-8 * variances.max()).sum())
    if small:
        texts.append(
            f"{small} of {dim} directions have almost no variance: the codes have no density; use a smaller d"
        )
    if dimension.deficient:
        texts.append(
            f"{dimension}: the codes are close to a surface, where no density exists and independence is out "
            "of reach; use a smaller d, or a stochastic posterior"
        )
    if gain_per_dimension > _RUNAWAY:
        texts.append(
            f"the likelihood is {gain_per_dimension:.1f} nats per dimension above a Gaussian's, a sign of "
            "codes on a surface; use a smaller d, or more noise"
        )
    if n < 100 * dim:
        texts.append(f"{n} codes for {dim} dimensions are few; check independence on other codes")
    return texts

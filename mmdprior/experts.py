"""Mixtures of linear, logistic or multinomial experts with a softmax gate, fitted by EM.

`MixtureOfExperts` has the interface of scikit-learn and fits many problems at once on their device. Its
pieces are `Mixture`, the fitted parameters, and `expectation_maximisation`, one iteration of EM after
another. The LPS predictor ``experts`` is made of the same pieces.

Example:
    >>> import torch
    >>> from mmdprior.experts import MixtureOfExperts
    >>> x = torch.linspace(-1, 1, 500)[:, None]
    >>> y = x[:, 0].abs() + 0.01 * torch.randn(500)
    >>> model = MixtureOfExperts(experts=2).fit(x, y)
    >>> model.predict(torch.tensor([[-0.5], [0.5]])).round(decimals=1)
    tensor([0.5000, 0.5000])
"""

import inspect
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, get_args

import torch
from torch import Tensor

from mmdprior.errors import InputError, InputWarning, check_integer
from mmdprior.precision import full_precision, in_float64
from mmdprior.predictors import Mixture, expectation_maximisation
from mmdprior.predictors.em import random_start
from mmdprior.predictors.mixture import Family
from mmdprior.predictors.mixture_fit import FitSettings, Method, MixtureFit, fit_in_batches, fit_mixture
from mmdprior.predictors.rows import Rows
from mmdprior.predictors.targets import encode_classes, real_targets, target_array
from mmdprior.predictors.training_data import TrainingData
from mmdprior.seeding import stream

__all__ = ["Mixture", "MixtureOfExperts", "expectation_maximisation"]

_START_ROWS = 4096
"""Smallest number of rows to which the first experts of minibatch EM are fitted, where there are as many."""


class MixtureOfExperts:
    """Mixture of experts p(y|x) = sum_k softmax_k(W x) p_k(y|x), with the interface of scikit-learn.

    It regresses with linear experts, N(b_k'x, s_k^2), and classifies with logistic or multinomial ones. EM
    needs no step size and never decreases the likelihood; with exact Newton steps it is mirror descent with
    unit step (Fruytier, Mokhtari & Sanghavi, arXiv 2411.06056).

    Inputs are (n, D), or (p, n, D) for p problems that are fitted at once and share nothing. Tensors are
    fitted on their device and give tensors; other arrays give NumPy arrays. float32 stays float32, other
    numbers become float64.

    Args:
        experts: number K of experts.
        kind: ``linear`` for real targets, ``logistic`` for two classes, ``multinomial`` for more.
        gate: ``softmax``, a softmax regression on the inputs.
        method: ``em``; ``gradient_em``, several gradient steps on EM's surrogate per E-step; ``gradient``,
            gradient descent on the likelihood; or ``adam``.
        steps: largest number of iterations; for minibatches, of passes over the rows.
        tol: fits stop when the mean negative log-likelihood changes by at most this in one iteration.
        restarts: number of random starts, fitted at once; the one of highest likelihood is kept.
        seed: seed of the starts and of the order of minibatches.
        step_size: step size of the methods with gradients, on standardised columns.
        inner_steps: gradient steps per E-step of ``gradient_em``.
        newton_steps: Newton steps per iteration of EM, of the gate and of classifying experts. One increases
            the likelihood; 20 are exact.
        ridge: penalty on all coefficients, relative to the number of rows. With 0, EM never increases the
            objective; otherwise it may, by about the penalty.
        batch_size: rows per minibatch of online EM, which reads no more rows at a time; all rows at once by
            default.
        intercept: whether gate and experts have an intercept.
        standardise: whether columns of x, and real targets, are standardised for the fit. Coefficients in
            ``mixture_`` are always those of the columns as passed.
        device: device of inputs that are not tensors; the CPU by default.

    Attributes:
        mixture_: fitted `Mixture` of the inputs as passed, with shapes (p, 1, K, D) and, if there is an
            intercept, the constant as last input.
        classes_: sorted classes of classifying experts.
        n_iter_: iterations of the slowest problem.
        n_features_in_: number D of inputs.
        converged_: whether the kept start stopped changing; an array for p problems.

    Raises:
        InputError: a parameter or the data is invalid, in one line.

    Example:
        >>> import numpy as np
        >>> from mmdprior.experts import MixtureOfExperts
        >>> x = np.random.default_rng(0).normal(size=(400, 2))
        >>> y = np.where(x[:, 0] * x[:, 1] > 0, "same", "different")
        >>> model = MixtureOfExperts(experts=3, kind="logistic", ridge=0.01, tol=1e-4).fit(x, y)
        >>> bool(model.score(x, y) > 0.9)
        True
        >>> model.predict_proba(x).shape, model.responsibilities(x, y).shape
        ((400, 2), (400, 3))
    """

    def __init__(
        self,
        experts: int = 2,
        kind: Family = "linear",
        gate: str = "softmax",
        method: Method = "em",
        steps: int = 200,
        tol: float = 1e-6,
        restarts: int = 4,
        seed: int = 0,
        *,
        step_size: float = 0.1,
        inner_steps: int = 5,
        newton_steps: int = 1,
        ridge: float = 1e-6,
        batch_size: int | None = None,
        intercept: bool = True,
        standardise: bool = True,
        device: str | torch.device | None = None,
    ) -> None:
        self.experts = experts
        self.kind = kind
        self.gate = gate
        self.method = method
        self.steps = steps
        self.tol = tol
        self.restarts = restarts
        self.seed = seed
        self.step_size = step_size
        self.inner_steps = inner_steps
        self.newton_steps = newton_steps
        self.ridge = ridge
        self.batch_size = batch_size
        self.intercept = intercept
        self.standardise = standardise
        self.device = device

    @torch.no_grad()
    def fit(self, x: Any, y: Any, *, start: Mixture | None = None, **overrides: Any) -> "MixtureOfExperts":
        """Fit the mixture, and return self.

        Args:
            x: (n, D) or (p, n, D) inputs.
            y: (n,) or (p, n) targets: real numbers, or classes of any type that can be sorted.
            start: initial mixture of the inputs as passed, in place of random starts; it sets the number of
                experts.
            overrides: parameters of the constructor, for this fit only.

        Raises:
            InputError: a parameter or the data is invalid.
        """
        options = self._options(overrides)
        rows = Rows(x, options.device)
        data = TrainingData.read(
            rows,
            y,
            options.kind,
            experts=options.experts,
            intercept=options.intercept,
            standardise=options.standardise,
        )
        if start is not None:
            _check_start(start, data, options)
            start = data.scaling.scaled(_on(start, rows))
        with full_precision(rows.device.type):
            fit = _fit(data, options, start)
        self._store(fit, data, options)
        return self

    def _options(self, overrides: dict[str, Any]) -> "MixtureOfExperts":
        """Return an estimator with these parameters in place of its own, after a check of all."""
        parameters = self.get_params()
        for name in overrides:
            _check_parameter(name, parameters)
        options = type(self)(**{**parameters, **overrides})
        _check(options)
        return options

    def _store(self, fit: MixtureFit, data: TrainingData, options: "MixtureOfExperts") -> None:
        last = fit.objective[-1]
        best = last.argmin(1, keepdim=True)  # (p, 1) start of highest likelihood
        self._scaled, self._scaling = fit.mixture.take(best), data.scaling
        self.mixture_ = data.scaling.original(self._scaled)
        vars(self).pop("classes_", None)
        if data.classes is not None:
            self.classes_ = data.classes
        self.n_features_in_ = data.rows.shape[2]
        self.n_iter_ = len(fit.objective) - 1
        converged = fit.converged.gather(1, best)[:, 0].cpu().numpy()
        self.converged_ = bool(converged[0]) if data.rows.single else converged
        # The density of y is that of scaled targets, divided by their scale.
        path = torch.stack([value.gather(1, best)[:, 0] for value in fit.objective]).double().cpu()
        path = path + data.scaling.y_scale.double().cpu().log()
        objective = path[:, 0].tolist() if data.rows.single else path.tolist()
        self._history = {"objective": objective, "seconds": fit.seconds, "gradients": fit.gradients}
        if bool(fit.diverged.gather(1, best).any()):
            _warn(f"step_size: {options.step_size} diverged; give a smaller step size")
        if data.classes is not None and _is_separated(self._scaled, data):
            _warn(
                "y: the classes are separated by the fitted mixture, whose coefficients are limited only by "
                f"steps={options.steps} and ridge={options.ridge}; give a larger ridge"
            )

    @property
    def history(self) -> dict[str, list[Any]]:
        """Path of the last fit: lists with an entry for the start and for every iteration.

        ``objective`` is the mean negative log-likelihood (for p problems, a list of p numbers per entry),
        ``seconds`` the time since the start, ``gradients`` the number of gradients of all rows since the
        start. Newton steps and weighted least-squares fits count as one.
        """
        self._check_is_fitted()
        return self._history

    def predict(self, x: Any) -> Any:
        """Return E[y|x] of linear experts, or the most probable class, (n,) or (p, n)."""
        rows = self._rows(x)
        means = self._in_blocks(rows, lambda mixture, inputs, _: mixture.mean(inputs)[:, :, 0])
        if self._scaled.family == "linear":
            means = means * self._scaling.y_scale.to(means)[:, None] + self._scaling.y_mean.to(means)[:, None]
            return _like(means, rows)
        index = (means > 0.5).long() if self._scaled.family == "logistic" else means.argmax(2)
        if isinstance(self.classes_, Tensor):
            return _like(self.classes_.to(index.device)[index], rows)
        predicted = self.classes_[index.cpu().numpy()]
        return predicted[0] if rows.single else predicted

    @property
    def predict_proba(self) -> Callable[[Any], Any]:
        """Function from inputs to the probability of every class, (n, C) or (p, n, C).

        Only classifying experts have it.
        """
        if (self._scaled.family if self.__sklearn_is_fitted__() else self.kind) == "linear":
            raise AttributeError("predict_proba: not available for linear experts; use predict")
        return self._predict_proba

    def _predict_proba(self, x: Any) -> Any:
        rows = self._rows(x)
        means = self._in_blocks(rows, lambda mixture, inputs, _: mixture.mean(inputs)[:, :, 0])
        if self._scaled.family == "logistic":
            means = torch.stack([1 - means, means], 2)
        return _like(means, rows)

    def log_prob(self, x: Any, y: Any) -> Any:
        """Return log p(y|x) of every row, (n,) or (p, n)."""
        rows = self._rows(x)
        result = self._in_blocks(
            rows, lambda mixture, inputs, targets: mixture.log_likelihood(inputs, targets)[:, :, 0], y
        )
        return _like(result - self._scaling.y_scale.to(result)[:, None].log(), rows)

    def responsibilities(self, x: Any, y: Any = None) -> Any:
        """Return P(expert k | x, y) of every row, or the gate's P(k | x) without y, (n, K) or (p, n, K)."""
        rows = self._rows(x)

        def of_block(mixture: Mixture, inputs: Tensor, targets: Tensor | None) -> Tensor:
            joint = mixture.log_gate(inputs) if targets is None else mixture.log_joint(inputs, targets)
            return joint[:, :, 0].softmax(2)

        return _like(self._in_blocks(rows, of_block, y), rows)

    def score(self, x: Any, y: Any) -> float:
        """Return R2 of linear experts, or the accuracy of classifying ones, over all problems."""
        rows = self._rows(x)
        target, predicted = target_array(y, rows), self.predict(x)
        if self._scaled.family != "linear":
            codes = encode_classes(target, self.classes_, rows)
            predicted = predicted.reshape(target.shape)
            return float((codes == encode_classes(predicted, self.classes_, rows)).double().mean())
        numbers = in_float64(real_targets(target, rows))
        error = numbers - in_float64(torch.as_tensor(predicted).to(rows.device)).reshape(numbers.shape)
        total = (numbers - numbers.mean(1, keepdim=True)).square().sum(1)
        return float((1 - error.square().sum(1) / total.clamp(min=math.ulp(0.0))).mean())

    def _rows(self, x: Any) -> Rows:
        """Return checked inputs of a fitted mixture, on its device unless x is a tensor on another."""
        self._check_is_fitted()
        rows = Rows(x, None if isinstance(x, Tensor) else self._scaled.gate.device)
        if rows.shape[2] != self.n_features_in_:
            raise InputError(
                f"x: X has {rows.shape[2]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        problems = len(self._scaled.gate)
        if rows.shape[0] not in (problems, 1):
            raise InputError(f"x: {rows.shape[0]} problems received; the mixture is that of {problems}")
        rows.check_finite()
        return rows

    @torch.no_grad()
    def _in_blocks(
        self, rows: Rows, function: Callable[[Mixture, Tensor, Any], Tensor], y: Any = None
    ) -> Tensor:
        """Return a function of mixture, scaled inputs and scaled targets for all rows."""
        targets = None if y is None else self._targets(y, rows)
        mixture = _on(self._scaled, rows)
        with full_precision(rows.device.type):
            return torch.cat(
                [
                    function(
                        mixture,
                        self._scaling.inputs(rows[block]),
                        None if targets is None else targets[:, block, None],
                    )
                    for block in rows.blocks()
                ],
                1,
            )

    def _targets(self, y: Any, rows: Rows) -> Tensor:
        """Return targets on the scale of the fit."""
        array = target_array(y, rows)
        if self._scaled.family != "linear":
            return encode_classes(array, self.classes_, rows)
        numbers = real_targets(array, rows)
        scaling = self._scaling
        return (numbers - scaling.y_mean.to(numbers)[:, None]) / scaling.y_scale.to(numbers)[:, None]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_scaled")

    def _check_is_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            message = f"{type(self).__name__}: not fitted; call fit(x, y) first"
            if "sklearn" in sys.modules:
                from sklearn.exceptions import NotFittedError

                raise NotFittedError(message)
            raise InputError(message)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor by name; ``deep`` has no effect."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> "MixtureOfExperts":
        """Set parameters of the constructor, and return self."""
        for name, value in parameters.items():
            _check_parameter(name, self.get_params())
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        shown = (f"{k}={v!r}" for k, v in self.get_params().items() if v != defaults[k].default)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        is_classifier = self.kind != "linear"
        return Tags(
            estimator_type="classifier" if is_classifier else "regressor",
            target_tags=TargetTags(required=True),
            transformer_tags=None,
            classifier_tags=ClassifierTags(multi_class=self.kind == "multinomial") if is_classifier else None,
            regressor_tags=None if is_classifier else RegressorTags(),
        )


def _fit(data: TrainingData, options: MixtureOfExperts, start: Mixture | None) -> MixtureFit:
    """Return the fits of all starts, as targets of the same problem."""
    n = data.rows.shape[1]
    restarts = options.restarts if start is None else 1
    settings = FitSettings(
        method=options.method,
        steps=options.steps,
        tol=float(options.tol),
        step_size=float(options.step_size),
        inner_steps=options.inner_steps,
        newton_steps=options.newton_steps,
        ridge=float(options.ridge),
    )
    if options.batch_size is None:
        x, y = data.take(slice(None), restarts)
        return fit_mixture(x, y, start or _random_start(x, y, data, options), settings)
    size, passes = options.batch_size, 0

    def shuffled() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal passes
        passes += 1
        order = torch.randperm(n, generator=stream(options.seed, "experts order", passes))
        for batch in order.tensor_split(max(1, n // size)):
            yield data.take(batch.sort().values.numpy(), restarts)

    def ordered() -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, n, size):
            yield data.take(slice(first, first + size), restarts)

    if start is None:
        sample = torch.randperm(n, generator=stream(options.seed, "experts order"))
        chosen = sample[: max(size, _START_ROWS)].sort().values.numpy()
        start = _random_start(*data.take(chosen, restarts), data, options)
    return fit_in_batches(shuffled, ordered, start, settings)


def _random_start(x: Tensor, y: Tensor, data: TrainingData, options: MixtureOfExperts) -> Mixture:
    generators = [stream(options.seed, "experts start", problem) for problem in range(len(x))]
    classes = 2 if data.classes is None else len(data.classes)
    return random_start(
        x,
        y,
        options.experts,
        options.kind,
        generators,
        classes=classes,
        ridge=max(float(options.ridge), 1e-6),
    )


def _check_start(start: Mixture, data: TrainingData, options: MixtureOfExperts) -> None:
    """Raise `InputError` if a mixture is not one of these data and parameters."""
    p, _, width = data.rows.shape
    width += options.intercept
    if start.family != options.kind:
        raise InputError(f"start: {start.family} experts received; expected kind={options.kind!r}")
    shape = tuple(start.gate.shape)
    if (*shape[:2], shape[3]) != (p, 1, width):
        raise InputError(f"start: gate of shape {shape} received; expected ({p}, 1, experts, {width})")
    if start.family == "multinomial" and start.experts.shape[3] != len(data.classes):
        raise InputError(f"start: {start.experts.shape[3]} classes received; y has {len(data.classes)}")


def _is_separated(mixture: Mixture, data: TrainingData) -> bool:
    """Return whether every row of some problem has a probability above 1/2."""
    lowest = [mixture.log_likelihood(*data.take(block, 1)).amin((1, 2)) for block in data.rows.blocks()]
    return bool((torch.stack(lowest).amin(0) > -math.log(2)).any())


def _on(mixture: Mixture, rows: Rows) -> Mixture:
    """Return a mixture on the device and in the dtype of rows."""
    variance = None if mixture.variance is None else mixture.variance.to(rows.device, rows.dtype)
    gate, experts = (part.to(rows.device, rows.dtype) for part in (mixture.gate, mixture.experts))
    return Mixture(gate, experts, variance)


def _like(result: Tensor, rows: Rows) -> Any:
    """Return a result without the axis of problems, and as an array, if that is how x was passed."""
    result = result[0] if rows.single else result
    return result if rows.is_tensor else result.cpu().numpy()


def _warn(message: str) -> None:
    warnings.warn(message, InputWarning, stacklevel=4)


def _check_parameter(name: str, parameters: dict[str, Any]) -> None:
    if name not in parameters:
        raise InputError(f"{name}: Invalid parameter; expected one of {', '.join(parameters)}")


def _check(options: MixtureOfExperts) -> None:
    """Raise `InputError` for the first parameter that is out of its range."""
    for name in ("experts", "steps", "restarts", "inner_steps", "newton_steps"):
        check_integer(name, getattr(options, name))
    check_integer("seed", options.seed, None)
    if options.batch_size is not None:
        check_integer("batch_size", options.batch_size)
    for name, least in (("tol", 0.0), ("ridge", 0.0), ("step_size", math.ulp(0.0))):
        value = getattr(options, name)
        if not isinstance(value, Real) or not least <= float(value) < math.inf:
            limit = "a number >= 0" if least == 0 else "a positive number"
            raise InputError(f"{name}: {value!r} received; give {limit}")
    choices = {"kind": get_args(Family), "gate": ("softmax",), "method": get_args(Method)}
    for name, allowed in choices.items():
        if getattr(options, name) not in allowed:
            raise InputError(f"{name}: {getattr(options, name)!r} received; expected {' or '.join(allowed)}")
    if options.batch_size is not None and options.method != "em":
        raise InputError(f"method: {options.method!r} received with batch_size; minibatches need 'em'")

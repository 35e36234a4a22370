"""The contract of a predictor, as a check."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.predictors import Outcome, Predictor
from mmdprior.seeding import stream

__all__ = ["check_predictor"]

_TRAIN, _VALIDATION, _TEST = 500, 200, 200
"""Rows of every problem."""
_DIM = 4
_INDEPENDENT = 2
"""Index of the problem of independent codes; problems 0 and 1 have dimension 1 close to dimension 0."""
_NOISE = 0.2
_MIN_DEPENDENT = 0.3
"""Smallest R2 of the planted pair; a ridge regression has about 0.96."""
_INDEPENDENT_RANGE = (-0.3, 0.15)
"""R2 of independent codes; estimation error makes it negative, and 200 test rows vary by about 0.01."""
_TOLERANCE = 5e-3
"""Largest difference of R2 between fits that are equal up to rounding."""

_Parts = tuple[Tensor, Tensor, Tensor]


def check_predictor(predictor: Predictor, *, seed: int = 0) -> None:
    """Check that a predictor satisfies the contract of `Predictor`.

    It fits small sets of codes, under `torch.no_grad` as `mmdprior.lps` does, and checks: shape, dtype and
    finite values of the score; that it finds a dimension that is close to another; that independent codes
    score about zero; that the prediction of a dimension does not use the dimension itself; that problems
    fitted together score as when fitted one by one; that equal generators give equal fits, without torch's
    global random state; that codes stay unchanged; that float64 codes score as float32 codes; that two
    dimensions suffice; and that a constant dimension scores 0 and does not disturb the others.

    Args:
        predictor: predictor to check. It is fitted to about 10 problems of 500 rows and 4 dimensions.
        seed: seed of the codes and of the fits.

    Raises:
        InputError: the first violation, in one line.

    Example:
        >>> from mmdprior.predictors import LinearPredictor, Predictor, Regression
        >>> from mmdprior.testing import check_predictor
        >>> check_predictor(LinearPredictor())
        >>> class Cheater(Predictor):
        ...     uses_validation = False
        ...     random = False
        ...
        ...     def fit(self, train, validation, generators):
        ...         return lambda z: Regression(z, 0.9 * z)
        >>> check_predictor(Cheater())
        Traceback (most recent call last):
        mmdprior.errors.InputError: r2: 0.99 for independent codes; expected -0.3 to 0.15, ...
    """
    _check_attributes(predictor)
    parts = _codes(predictor, seed)
    generators = [stream(seed, "check_predictor fit", i) for i in range(len(parts[0]))]
    with torch.no_grad():
        before = [part.clone() for part in parts], torch.get_rng_state()
        together = _Fit(predictor, parts, generators)
        _check_side_effects(parts, *before)
        _check_scores(together.r2)
        _check_own_dimension(together, parts[2])
        _check_fits(predictor, parts, together.r2, seed)
        _check_two_dimensions(predictor, parts, seed)
        _check_constant_dimension(predictor, parts, seed)


class _Fit:
    """A fit and its outcome on the test codes, with errors in one line.

    Attributes:
        fitted: function that `Predictor.fit` returned.
        outcome: outcome on the test codes.
        r2: (p, d) score of the outcome.
    """

    def __init__(self, predictor: Predictor, parts: _Parts, generators: Sequence[torch.Generator]) -> None:
        train, validation, test = parts
        try:
            self.fitted = predictor.fit(train, validation, generators)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"fit: {type(error).__name__} for {_shapes(parts)} ({reason(error)})") from error
        self.outcome = self.evaluate(test)
        self.r2 = self.outcome.r2()
        expected = (train.shape[0], train.shape[2])
        if not isinstance(self.r2, Tensor) or self.r2.shape != expected:
            shape = tuple(self.r2.shape) if isinstance(self.r2, Tensor) else type(self.r2).__name__
            raise InputError(f"r2: {shape} received for {_shapes(parts)}; expected shape {expected}")
        if not self.r2.is_floating_point() or not bool(torch.isfinite(self.r2).all()):
            raise InputError(f"r2: {self.r2.flatten().tolist()} received; expected finite floating numbers")

    def evaluate(self, z: Tensor) -> Outcome:
        if not callable(self.fitted):
            raise InputError(f"fit: {type(self.fitted).__name__} returned; return a function of codes")
        try:
            outcome: Any = self.fitted(z)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"outcome: {type(error).__name__} for codes of shape {tuple(z.shape)} ({reason(error)})"
            ) from error
        if not isinstance(outcome, Outcome):
            raise InputError(
                f"outcome: {type(outcome).__name__} returned; return a mmdprior.predictors.Regression, "
                "Classification or other Outcome"
            )
        return outcome


def _shapes(parts: _Parts) -> str:
    names = ("train", "validation", "test")
    return ", ".join(f"{name} {tuple(part.shape)}" for name, part in zip(names, parts, strict=True))


def _codes(predictor: Predictor, seed: int) -> _Parts:
    """Return training, validation and test codes of three problems, split as by `mmdprior.lps`."""
    generator = stream(seed, "check_predictor codes")
    z = torch.randn(_INDEPENDENT + 1, _TRAIN + _VALIDATION + _TEST, _DIM, generator=generator)
    z[:_INDEPENDENT, :, 1] = (z[:_INDEPENDENT, :, 0] + _NOISE * z[:_INDEPENDENT, :, 1]) / (
        1 + _NOISE**2
    ) ** 0.5
    if predictor.uses_validation:
        train, validation, test = z.split([_TRAIN, _VALIDATION, _TEST], 1)
    else:
        train, test = z.split([_TRAIN + _VALIDATION, _TEST], 1)
        validation = train[:, :0]
    return train.clone(), validation.clone(), test.clone()


def _problem(parts: _Parts, index: int) -> _Parts:
    train, validation, test = (part[index : index + 1] for part in parts)
    return train, validation, test


def _check_attributes(predictor: Any) -> None:
    if not isinstance(predictor, Predictor):
        raise InputError(
            f"predictor: {type(predictor).__name__} received; give an instance of a subclass of "
            "mmdprior.predictors.Predictor"
        )
    for name, kind in (("uses_validation", bool), ("random", bool), ("measure", str)):
        value = getattr(predictor, name, None)
        if not isinstance(value, kind):
            raise InputError(f"{name}: {value!r} received; set a {kind.__name__} on the class")


def _check_side_effects(parts: _Parts, copies: Sequence[Tensor], state: Tensor) -> None:
    for name, part, copy in zip(("train", "validation", "test"), parts, copies, strict=True):
        if not torch.equal(part, copy):
            raise InputError(f"fit: the {name} codes were changed in place; work on a copy")
    if not torch.equal(torch.get_rng_state(), state):
        raise InputError("fit: torch's global random state changed; draw from the generators passed to fit")


def _check_scores(r2: Tensor) -> None:
    lowest = float(r2[:_INDEPENDENT, :2].min())
    if lowest < _MIN_DEPENDENT:
        raise InputError(
            f"r2: {lowest:.2f} for a dimension that is close to another; expected more than {_MIN_DEPENDENT}"
        )
    low, high = _INDEPENDENT_RANGE
    for value in (float(r2[_INDEPENDENT].max()), float(r2[_INDEPENDENT].min())):
        if not low <= value <= high:
            raise InputError(
                f"r2: {value:.2f} for independent codes; expected {low} to {high}, from held-out codes "
                "without their own column"
            )


def _check_own_dimension(fit: _Fit, test: Tensor) -> None:
    """Check that the prediction of dimension i stays the same when the codes of dimension i are permuted.

    Pairings hold predictions up to a constant per problem and dimension.
    """
    before = [_centred(b) for _, b in fit.outcome.pairings()]
    for i in range(_DIM):
        permuted = test.clone()
        permuted[:, :, i] = test[:, :, i].flip(1)
        after = [_centred(b) for _, b in fit.evaluate(permuted).pairings()]
        for a, b in zip(after, before, strict=True):
            if float((a - b)[:, :, i].abs().max()) > 1e-4 * (1 + float(b.abs().max())):
                raise InputError(
                    f"outcome: the prediction of dimension {i} changes with dimension {i}; predict it from "
                    "the other dimensions only"
                )


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)


def _check_fits(predictor: Predictor, parts: _Parts, together: Tensor, seed: int) -> None:
    """Check that fits are equal one by one, with equal generators, and in float64."""

    def fit(index: int, dtype: torch.dtype = torch.float32) -> Tensor:
        train, validation, test = (part.to(dtype) for part in _problem(parts, index))
        return _Fit(predictor, (train, validation, test), [stream(seed, "check_predictor fit", index)]).r2

    first = fit(0)
    if not torch.equal(first, fit(0)):
        raise InputError(
            "fit: two fits with equal generators differ; draw all random numbers from the generators"
        )
    separate = torch.cat([first, *(fit(i) for i in range(1, len(together)))])
    difference = float((separate - together).abs().max())
    if difference > _TOLERANCE:
        raise InputError(
            f"fit: R2 differs by {difference:.2g} between problems fitted together and one by one; use for "
            "each problem only its rows and its generator"
        )
    difference = float((fit(0, torch.float64) - first).abs().max())
    if difference > _TOLERANCE:
        raise InputError(f"fit: R2 differs by {difference:.2g} between float32 and float64 codes")


def _check_two_dimensions(predictor: Predictor, parts: _Parts, seed: int) -> None:
    train, validation, test = (part[:, :, :2] for part in _problem(parts, 0))
    r2 = _Fit(predictor, (train, validation, test), [stream(seed, "check_predictor fit")]).r2
    if float(r2.min()) < _MIN_DEPENDENT:
        raise InputError(
            f"r2: {float(r2.min()):.2f} for two dimensions that are close; expected more than "
            f"{_MIN_DEPENDENT}"
        )


def _check_constant_dimension(predictor: Predictor, parts: _Parts, seed: int) -> None:
    constant = [part.clone() for part in _problem(parts, 0)]
    for part in constant:
        part[:, :, -1] = 0.5
    train, validation, test = constant
    r2 = _Fit(predictor, (train, validation, test), [stream(seed, "check_predictor fit")]).r2[0]
    if abs(float(r2[-1])) > _TOLERANCE:
        raise InputError(f"r2: {float(r2[-1]):.2f} for a constant dimension; expected 0")
    if float(r2[:2].min()) < _MIN_DEPENDENT:
        raise InputError(
            f"r2: {float(r2[:2].min()):.2f} for a dimension that is close to another, next to a constant "
            f"one; expected more than {_MIN_DEPENDENT}"
        )

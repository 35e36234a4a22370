"""The contract of a regularizer, checked."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmdprior.errors import InputError, reason
from mmdprior.latent import Latent
from mmdprior.regularizers import Regularizer
from mmdprior.seeding import stream

__all__ = ["check_regularizer"]

_ROWS = 64
_STEP = 3
"""Training step at which the penalty is evaluated."""


def check_regularizer(
    regularizer: Regularizer, *, dim: int, stochastic: bool | None = None, seed: int = 0
) -> None:
    """Check that a regularizer follows the contract of `mmdprior.regularizers.Regularizer`.

    Checked are: the value is a finite 0-dim tensor whose gradient reaches the latent; ``terms`` are
    detached 0-dim tensors; ``describe()`` is one line; ``labels`` may be None; the value is repeatable,
    and, where it draws no random numbers, independent of the order of rows and equal in float32 and
    float64; deep copies and state dicts keep it; and the auxiliary parts, if there are any.

    The regularizer is copied first, and not changed.

    Args:
        regularizer: the penalty.
        dim: number of latent dimensions.
        stochastic: whether the latents have a posterior variance. None, the default, uses latents without
            one if the penalty's ``check`` accepts them.
        seed: seed of the latents, and of torch's global generator before every evaluation.

    Raises:
        InputError: the first violation, in one line.

    Example:
        >>> from mmdprior import MMD
        >>> from mmdprior.priors import Gaussian
        >>> check_regularizer(MMD(Gaussian(3)), dim=3)
        >>> class Norms(Regularizer):
        ...     def forward(self, latent, *, step=0, labels=None):
        ...         return latent.sample.square().sum(1)
        >>> check_regularizer(Norms(), dim=3)
        Traceback (most recent call last):
        mmdprior.errors.InputError: regularizer: Norms returned shape (64,); return a 0-dim tensor
    """
    if not isinstance(regularizer, Regularizer):
        raise InputError(
            f"regularizer: {type(regularizer).__name__} received; give a mmdprior.regularizers.Regularizer"
        )
    if stochastic is None:
        try:
            regularizer.check(dim=dim, stochastic=False)
            stochastic = False
        except InputError:
            stochastic = True
    regularizer.check(dim=dim, stochastic=stochastic)
    with torch.random.fork_rng(devices=[]):
        _Check(regularizer, _latent(dim, stochastic, seed), seed).run()


def _latent(dim: int, stochastic: bool, seed: int) -> Latent:
    """Return float64 codes whose dimensions are correlated, so that penalties on dependence are not zero."""
    mean = torch.randn(_ROWS, dim, generator=stream(seed, "latent mean"), dtype=torch.float64)
    mean = 0.8 * mean + 0.6 * mean[:, :1] + 0.1
    if not stochastic:
        return Latent(mean, mean)
    noise = torch.randn(_ROWS, dim, generator=stream(seed, "latent noise"), dtype=torch.float64)
    log_var = torch.full_like(mean, -1.0) + 0.1 * mean
    return Latent(mean + torch.exp(0.5 * log_var) * noise, mean, log_var)


def _mapped(latent: Latent, function: Callable[[Tensor], Tensor]) -> Latent:
    """Return a latent of transformed tensors; a sample that is the mean stays the same tensor."""
    mean = function(latent.mean)
    sample = mean if latent.sample is latent.mean else function(latent.sample)
    return Latent(sample, mean, None if latent.log_var is None else function(latent.log_var))


class _RandomOperations(TorchDispatchMode):
    """Record whether any operation draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.any = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.any |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


class _Check:
    """The checks of one regularizer.

    Args:
        regularizer: the penalty; every evaluation is of a fresh deep copy.
        latent: float64 codes.
        seed: seed of torch's global generator before every evaluation.
    """

    def __init__(self, regularizer: Regularizer, latent: Latent, seed: int) -> None:
        self.name = type(regularizer).__name__
        self.latent = _mapped(latent, Tensor.float)
        self.latent64 = latent
        self.seed = seed
        self.draws = False  # whether the penalty draws random numbers
        try:
            self.original = copy.deepcopy(regularizer)
        except Exception as error:
            raise self.violation(
                f"cannot be deep-copied ({reason(error)}); keep its state as attributes"
            ) from error

    def violation(self, text: str) -> InputError:
        return InputError(f"regularizer: {self.name} {text}")

    def run(self) -> None:
        """Check everything, in the order in which a user would fix it."""
        self.check_description()
        self.check_value_and_terms()
        self.check_gradient()
        self.check_repeatable()
        self.check_row_order()
        self.check_dtypes()
        self.check_state_dict()
        self.check_auxiliary()

    def evaluate(self, latent: Latent, penalty: Regularizer | None = None) -> tuple[Any, Regularizer]:
        """Return what a penalty, by default a fresh copy, returns for a latent, and the penalty."""
        if penalty is None:
            penalty = copy.deepcopy(self.original).to(latent.sample.dtype)
        torch.manual_seed(self.seed)
        try:
            return penalty(latent, step=_STEP, labels=None), penalty
        except InputError:
            raise
        except Exception as error:
            raise self.violation(f"raised {type(error).__name__} in forward ({reason(error)})") from error

    def check_description(self) -> None:
        line = self.original.describe()
        if not isinstance(line, str) or not line.strip() or "\n" in line:
            raise self.violation(f"has describe() = {line!r}; return one line of text")

    def check_value_and_terms(self) -> None:
        latent = _mapped(self.latent, lambda part: part.clone().requires_grad_())
        with _RandomOperations() as random:
            value, penalty = self.evaluate(latent)
        self.draws = random.any
        if not isinstance(value, Tensor) or value.shape != ():
            kind = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise self.violation(f"returned {kind}; return a 0-dim tensor")
        if not bool(torch.isfinite(value)):
            raise self.violation(f"returned {float(value)}; return a finite number")
        for key, term in penalty.terms.items():
            if not isinstance(key, str):
                raise self.violation(f"has a term of name {key!r}; name terms by strings")
            if not isinstance(term, Tensor) or term.shape != ():
                kind = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
                raise self.violation(f"has terms[{key!r}] of {kind}; store a 0-dim tensor")
            if term.requires_grad:
                raise self.violation(f"has terms[{key!r}] with a gradient; store term.detach()")

    def check_gradient(self) -> None:
        latent = _mapped(self.latent, lambda part: part.clone().requires_grad_())
        value, _ = self.evaluate(latent)
        if not value.requires_grad:
            if float(value) == 0:  # a constant zero, such as NoPenalty
                return
            raise self.violation("has no gradient in the latent; do not detach the codes")
        parts = [latent.sample, latent.mean, *([] if latent.log_var is None else [latent.log_var])]
        gradients = torch.autograd.grad(value, parts, allow_unused=True)
        used = [gradient for gradient in gradients if gradient is not None]
        if not used:
            raise self.violation("has no gradient in the latent; do not detach the codes")
        if not all(bool(torch.isfinite(gradient).all()) for gradient in used):
            raise self.violation("has a gradient that is not finite; bound divisions and roots at zero")

    def check_repeatable(self) -> None:
        first, second = self.evaluate(self.latent)[0], self.evaluate(self.latent)[0]
        if not torch.equal(first, second):
            raise self.violation(
                f"returned {float(first):.6g} and {float(second):.6g} for equal codes, step and seed; draw "
                "from mmdprior.seeding.stream(seed, name, step) or torch's global generator"
            )

    def check_row_order(self) -> None:
        if self.draws:
            return
        value, _ = self.evaluate(self.latent64)
        order = torch.randperm(_ROWS, generator=stream(self.seed, "row order"))
        shuffled, _ = self.evaluate(_mapped(self.latent64, lambda part: part[order]))
        if not torch.allclose(value, shuffled, rtol=1e-4, atol=1e-6):
            raise self.violation(
                f"returned {float(value):.6g}, and {float(shuffled):.6g} for the same rows in another order; "
                "expected a value that does not depend on the order"
            )

    def check_dtypes(self) -> None:
        single, double = self.evaluate(self.latent)[0], self.evaluate(self.latent64)[0]
        for value, name in ((single, "float32"), (double, "float64")):
            if not value.is_floating_point():
                raise self.violation(f"returned {value.dtype} for {name} codes; return a floating tensor")
        # Random numbers of another dtype are other numbers.
        if not self.draws and not torch.allclose(single.double(), double.double(), rtol=1e-3, atol=1e-4):
            raise self.violation(
                f"returned {float(single):.6g} for float32 codes and {float(double):.6g} for float64 codes; "
                "expected equal values"
            )

    def check_state_dict(self) -> None:
        """Evaluate once, move the state to a fresh copy, and compare the next value."""
        _, used = self.evaluate(self.latent)
        restored = copy.deepcopy(self.original)
        try:
            restored.load_state_dict(copy.deepcopy(used.state_dict()))
        except Exception as error:
            raise self.violation(f"cannot load its own state dict ({reason(error)})") from error
        copied = copy.deepcopy(used)
        value = self.evaluate(self.latent, used)[0]
        for other, what in ((copied, "a deep copy"), (restored, "a copy that loaded its state dict")):
            if not torch.equal(self.evaluate(self.latent, other)[0], value):
                raise self.violation(f"has another value than {what}; keep state in parameters and buffers")

    def check_auxiliary(self) -> None:
        penalty = copy.deepcopy(self.original)
        modules = penalty.auxiliary_modules()
        if not isinstance(modules, list) or not all(isinstance(module, nn.Module) for module in modules):
            raise self.violation(
                "has auxiliary_modules() that are not a list of modules; return list[nn.Module]"
            )
        steps = penalty.auxiliary_steps
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise self.violation(f"has auxiliary_steps = {steps!r}; give an integer of at least 1")
        if not modules:
            return
        submodules = {id(module) for module in penalty.modules()}
        if not all(id(module) in submodules for module in modules):
            raise self.violation(
                "has an auxiliary module that is not a submodule; assign it to an attribute, so that it is "
                "moved and saved"
            )
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        latent = _mapped(self.latent, lambda part: part.clone().requires_grad_())
        torch.manual_seed(self.seed)
        try:
            loss = penalty.auxiliary_loss(latent)
        except Exception as error:
            raise self.violation(
                f"raised {type(error).__name__} in auxiliary_loss ({reason(error)})"
            ) from error
        if not isinstance(loss, Tensor) or loss.shape != () or not bool(torch.isfinite(loss)):
            shown = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) and loss.ndim else repr(loss)
            raise self.violation(f"has an auxiliary_loss of {shown}; return a finite 0-dim tensor")
        parts = [latent.sample, latent.mean]
        gradients = (
            torch.autograd.grad(loss, [*parameters, *parts], allow_unused=True) if loss.requires_grad else []
        )
        if all(gradient is None for gradient in gradients[: len(parameters)]):
            raise self.violation("has an auxiliary_loss without gradient in its auxiliary modules")
        if any(gradient is not None for gradient in gradients[len(parameters) :]):
            raise self.violation("has an auxiliary_loss with a gradient in the codes; detach them")

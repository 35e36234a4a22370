"""`CodePenalty`: the base of penalties that are one formula of the codes."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.precision import full_precision, full_precision_dtype
from mmdprior.regularizers.regularizer import Regularizer, check_codes, codes_of
from mmdprior.tracing import may_store_results

__all__ = ["CodePenalty"]


class CodePenalty(Regularizer):
    """Base of penalties that are one formula of the codes.

    A subclass implements `evaluate`. This class checks the codes, converts them to at least float32, switches
    off autocast and reduced-precision products, and stores the terms.

    Attributes:
        name: name of the penalty in errors.
        least: number of rows that the penalty needs.
        needs_posterior: whether it needs the variance of the posterior.

    Example:
        >>> import torch
        >>> class CodeNorm(CodePenalty):
        ...     name = "code_norm"
        ...     def evaluate(self, latent, step):
        ...         norm = latent.sample.square().sum(1).mean()
        ...         return norm, {"norm": norm}
        >>> penalty = CodeNorm()
        >>> penalty(torch.ones(4, 3, dtype=torch.bfloat16)), penalty.terms
        (tensor(3.), {'norm': tensor(3.)})
    """

    name: ClassVar[str]
    least: ClassVar[int] = 2
    needs_posterior: ClassVar[bool] = False

    @abstractmethod
    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the penalty and its terms.

        Args:
            latent: codes in float32 or float64.
            step: training step.
        """

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that the posterior has a variance, if the penalty needs one."""
        if self.needs_posterior and not stochastic:
            raise InputError(
                f"latent: deterministic received; a {self.name} penalty needs model.posterior: gaussian, or "
                "log_var in the Latent"
            )

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch.

        Raises:
            InputError: codes that the penalty cannot take, or too few rows.
        """
        checked = self.checked(latent)
        with full_precision(checked.sample.device.type):
            value, terms = self.evaluate(checked, step)
        if may_store_results():
            self.terms = {name: term.detach() for name, term in terms.items()}
        return value

    def checked(self, latent: Latent | Tensor) -> Latent:
        """Return codes in at least float32 after checking them."""
        if not isinstance(latent, Latent):
            if self.needs_posterior:
                raise InputError(
                    f"latent: {type(latent).__name__} received; a {self.name} penalty needs "
                    "Latent(sample, mean, log_var)"
                )
            codes = codes_of(latent, least=self.least)
            latent = Latent(codes, codes)
        codes_of(latent, least=self.least)
        self.check(dim=latent.dim, stochastic=latent.stochastic)
        if self.needs_posterior:
            _check_posterior(latent)
        return _converted(latent)


def _check_posterior(latent: Latent) -> None:
    for name in ("mean", "log_var"):
        part = getattr(latent, name)
        check_codes(f"latent.{name}", part)
        if part.shape != latent.sample.shape:
            raise InputError(
                f"latent.{name}: shape {tuple(part.shape)} received; the sample has "
                f"{tuple(latent.sample.shape)}"
            )


def _converted(latent: Latent) -> Latent:
    """Return a latent in at least float32; a sample that is the mean stays the same tensor."""
    dtype = full_precision_dtype(latent.sample, latent.mean)
    sample = latent.sample.to(dtype)
    mean = sample if latent.mean is latent.sample else latent.mean.to(dtype)
    return Latent(
        sample,
        mean,
        None if latent.log_var is None else latent.log_var.to(dtype),
        None if latent.base is None else _converted(latent.base),
        None if latent.log_det is None else latent.log_det.to(dtype),
    )

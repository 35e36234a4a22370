"""Checked and scaled data to fit mixtures of experts to."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.errors import InputError, InputWarning
from mmdprior.precision import in_float64
from mmdprior.predictors.mixture import Family
from mmdprior.predictors.rows import Rows, Scaling
from mmdprior.predictors.targets import encode_classes, find_classes, real_targets, target_array

__all__ = ["TrainingData"]

_SHOWN = 5
"""Largest number of columns named in a warning."""


@dataclass(frozen=True)
class TrainingData:
    """Checked data of a fit.

    Attributes:
        rows: inputs as passed.
        y: (p, n) targets on the scale of the fit: real numbers, or indices of classes.
        scaling: maps from the data as passed to those of the fit.
        classes: sorted classes of the targets; None for linear experts.
    """

    rows: Rows
    y: Float[Tensor, "p n"]
    scaling: Scaling
    classes: Any

    @classmethod
    def read(
        cls, rows: Rows, y: Any, kind: Family, *, experts: int, intercept: bool, standardise: bool
    ) -> "TrainingData":
        """Return the data after all checks.

        Args:
            rows: inputs.
            y: (n,) or (p, n) targets.
            kind: kind of the experts.
            experts: number of experts.
            intercept: whether the inputs get a column of ones. Without it, nothing is centred.
            standardise: whether inputs and real targets are standardised.

        Raises:
            InputError: an entry is NaN or infinite, there are more experts than rows, or the targets do not
                suit the kind of the experts.
        """
        rows.check_finite()
        array = target_array(y, rows)
        n = rows.shape[1]
        if n < experts:
            raise InputError(
                f"experts: {experts} received for {n} sample{'s' * (n > 1)}; give at most as many experts "
                "as rows"
            )
        mean, scale = _input_scale(rows, intercept, standardise)
        none, one = torch.zeros_like(mean[:, 0, 0]), torch.ones_like(mean[:, 0, 0])
        if kind != "linear":
            classes = find_classes(array, rows, kind)
            codes = encode_classes(array, classes, rows)
            return cls(rows, codes, Scaling(mean, scale, none, one, intercept), classes)
        numbers = real_targets(array, rows)
        if standardise:
            exact, is_constant = in_float64(numbers), (numbers == numbers[:, :1]).all(1)
            none = exact.mean(1) if intercept else none
            one = (exact - none[:, None]).square().mean(1).sqrt()
            one = torch.where(is_constant | (one == 0), 1.0, one)
            if bool(is_constant.any()):
                _warn("y: all targets are equal; the mixture predicts their value without spread")
        scaled = (numbers - none.to(numbers)[:, None]) / one.to(numbers)[:, None]
        return cls(rows, scaled, Scaling(mean, scale, none, one, intercept), None)

    def take(self, rows: slice | np.ndarray, targets: int = 1) -> tuple[Tensor, Tensor]:
        """Return scaled inputs (p, b, D) and repeated targets (p, b, t) of some rows.

        Args:
            rows: slice, or array of indices.
            targets: number t of copies of the target.
        """
        index: Any = rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.y.device)
        return self.scaling.inputs(self.rows[rows]), self.y[:, index, None].expand(-1, -1, targets)


def _input_scale(
    rows: Rows, intercept: bool, standardise: bool
) -> tuple[Float[Tensor, "p 1 D"], Float[Tensor, "p 1 D"]]:
    """Return what is subtracted from every column, and by what it is divided; warn of constant columns."""
    mean, deviation = rows.moments()
    is_constant = deviation <= 10 * torch.finfo(rows.dtype).eps * mean.abs()
    _warn_of_constants(is_constant)
    if not standardise:
        return torch.zeros_like(mean), torch.ones_like(mean)
    if intercept:
        return mean, torch.where(is_constant, 1.0, deviation)
    size = (deviation.square() + mean.square()).sqrt()
    return torch.zeros_like(mean), torch.where(size == 0, 1.0, size)


def _warn_of_constants(is_constant: Bool[Tensor, "p 1 D"]) -> None:
    columns = is_constant.any(0)[0].nonzero()[:, 0].tolist()
    if columns:
        shown = ", ".join(map(str, columns[:_SHOWN])) + (", ..." if len(columns) > _SHOWN else "")
        _warn(f"x: constant columns ({shown}; {len(columns)} in all) received; leave them out")


def _warn(message: str) -> None:
    warnings.warn(message, InputWarning, stacklevel=5)

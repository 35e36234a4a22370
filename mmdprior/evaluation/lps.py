"""LPS, the Latent Predictability Score: how well each code dimension is predicted by the others."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.data.arrays import to_numbers
from mmdprior.errors import InputError
from mmdprior.predictors import LinearPredictor, MLPPredictor, Predictor
from mmdprior.seeding import stream

__all__ = ["LPSResult", "PREDICTORS", "check_codes", "lps", "or_none"]

PREDICTORS: Mapping[str, type[Predictor]] = {"linear": LinearPredictor, "mlp": MLPPredictor}

Transform = Literal["standardise", "none"]

_ACTIVE_SHARE = 1e-3
_SPLIT = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class LPSResult:
    """The score and everything that went into it.

    Attributes:
        score: mean over active dimensions of max(0, R2_i); NaN with fewer than two active.
        max: largest R2_i over active dimensions, unclipped.
        r2: held-out R2_i, unclipped; NaN for inactive dimensions.
        active: dimensions that vary; the others are neither targets nor inputs.
        predictor: name of the regressor.
        transform: what was done to each dimension before.
        n_train: rows the regressors were fitted on.
        n_validation: rows that training was stopped by; 0 where none were.
        n_test: rows that R2 was computed on.
        seed: of the split and of the regressors.
    """

    score: float
    max: float
    r2: Float[np.ndarray, "d"]
    active: Bool[np.ndarray, "d"]
    predictor: str
    transform: str
    n_train: int
    n_validation: int
    n_test: int
    seed: int

    @property
    def dim(self) -> int:
        """Number of dimensions d, active or not."""
        return len(self.r2)

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and lists, NaN as None, ready for JSON."""
        plain = asdict(self)
        plain["r2"] = [or_none(value) for value in self.r2.tolist()]
        plain["active"] = self.active.tolist()
        plain["score"], plain["max"] = or_none(self.score), or_none(self.max)
        return plain

    def to_json(self) -> str:
        """Return the result as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"LPS {self.predictor}: {self.score:.4f} (max {self.max:.4f}, {int(self.active.sum())} of "
            f"{self.dim} dimensions active; fitted on {self.n_train}, scored on {self.n_test}, seed "
            f"{self.seed})"
        )


def lps(
    codes: Tensor | np.ndarray,
    predictor: str | Predictor = "linear",
    *,
    seed: int = 0,
    transform: Transform = "standardise",
    active: Tensor | np.ndarray | None = None,
) -> LPSResult:
    """Score how well every code dimension is predicted from the others on held-out codes.

    LPS = mean_i max(0, R2_i): 0 for independent codes, 1 for fully predictable ones (the paper's score,
    arXiv 2510.11953, averages the predictability of a regression model; its normalisation is not
    stated there, so this one is ours). Rows are split 60/20/20 into training, validation and test at
    random; predictors that need no validation train on both. R2_i = 1 - sum (z - zhat)^2 / sum (z -
    mean)^2 over the test rows.

    What it can see depends on the predictor: regression of the mean is blind where E[z_i | others] is
    constant (a circle), and a linear one where the dependence is not linear.

    Args:
        codes: (n, d), any real dtype; scored on their device.
        predictor: ``"linear"``, ``"mlp"`` or a `Predictor`.
        seed: of the split and of trained predictors; random numbers are drawn on the CPU.
        transform: ``standardise`` each dimension by its training rows, or ``none``.
        active: (d,) dimensions to score; by default those whose standard deviation exceeds 1e-3 of
            the largest. With a stochastic encoder take `mmdprior.evaluation.codes.active_dimensions`.

    Raises:
        InputError: codes that are not numeric, not (n, d) with d >= 2, not finite, or fewer than
            max(30, d + 2) rows; an unknown predictor or transform.
    """
    z = check_codes(codes)
    name, model = _predictor(predictor)
    if transform not in get_args(Transform):
        raise InputError(f"transform: {transform!r} received; give one of {get_args(Transform)}")
    mask = _active(z, active)
    train, validation, test = _split(z[:, mask], seed, model.uses_validation)
    r2 = torch.full((z.shape[1],), math.nan, dtype=torch.float64)
    if int(mask.sum()) >= 2:
        if transform == "standardise":
            mean, std = train.mean(0), train.std(0, correction=0)
            std = torch.where(std > 0, std, 1.0)
            train, validation, test = ((part - mean) / std for part in (train, validation, test))
        predict = model.fit(train, validation, stream(seed, "predictor"))
        r2[mask.cpu()] = _r2(test, predict(test)).cpu()
    scored = r2[mask.cpu()]
    return LPSResult(
        score=float(scored.clamp(min=0).mean()),
        max=float(scored.max()) if len(scored) else math.nan,
        r2=r2.numpy(),
        active=mask.cpu().numpy(),
        predictor=name,
        transform=transform,
        n_train=len(train),
        n_validation=len(validation),
        n_test=len(test),
        seed=seed,
    )


def check_codes(codes: Tensor | np.ndarray) -> Float[Tensor, "n d"]:
    """Return codes as a floating tensor on their device, or raise `InputError` saying what is wrong."""
    if isinstance(codes, np.ndarray):
        codes = to_numbers(codes, "codes")
    if not isinstance(codes, Tensor) or codes.is_complex() or codes.is_quantized:
        kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
        raise InputError(f"codes: {kind} received; give an (n, d) array of real numbers")
    if codes.layout != torch.strided or codes.device.type == "meta":
        raise InputError(f"codes: {codes.layout} on {codes.device} received; give a dense array")
    if codes.ndim != 2:
        raise InputError(f"codes: shape {tuple(codes.shape)} received; give two axes, (n, d)")
    n, d = codes.shape
    if d < 2:
        raise InputError(f"codes: {d} column received; predicting one from the others needs 2")
    if n < max(30, d + 2):
        raise InputError(f"codes: {n} rows received for {d} columns; give at least {max(30, d + 2)}")
    z = codes.detach()
    z = z if z.dtype in (torch.float32, torch.float64) else z.float()
    bad = ~torch.isfinite(z).all(1)
    if bool(bad.any()):
        raise InputError(
            f"codes: NaN or infinity in {int(bad.sum())} of {n} rows, the first at row "
            f"{int(bad.int().argmax())}; remove those rows"
        )
    return z


def _predictor(predictor: str | Predictor) -> tuple[str, Predictor]:
    if isinstance(predictor, Predictor):
        return type(predictor).__name__, predictor
    if predictor not in PREDICTORS:
        raise InputError(f"predictor: {predictor!r} received; give one of {sorted(PREDICTORS)}")
    return predictor, PREDICTORS[predictor]()


def _active(z: Tensor, active: Tensor | np.ndarray | None) -> Tensor:
    if active is None:
        std = z.std(0)
        return (std > _ACTIVE_SHARE * std.max()) & (std > 0)
    mask = torch.as_tensor(active, dtype=torch.bool, device=z.device)
    if mask.shape != (z.shape[1],):
        raise InputError(f"active: shape {tuple(mask.shape)} received; give ({z.shape[1]},)")
    return mask


def _split(z: Tensor, seed: int, uses_validation: bool) -> tuple[Tensor, Tensor, Tensor]:
    order = torch.randperm(len(z), generator=stream(seed, "split")).to(z.device)
    n_train, n_held = round(_SPLIT[0] * len(z)), round(_SPLIT[1] * len(z))
    train, validation, test = z[order].split([n_train, n_held, len(z) - n_train - n_held])
    if uses_validation:
        return train, validation, test
    return torch.cat([train, validation]), validation[:0], test


def _r2(target: Tensor, prediction: Tensor) -> Tensor:
    target = target.to(prediction.device, torch.float64 if target.device.type != "mps" else target.dtype)
    residual = (target - prediction).square().sum(0)
    total = (target - target.mean(0)).square().sum(0)
    return 1 - residual / total


def or_none(value: float) -> float | None:
    """Return a finite number, else None, for JSON."""
    return value if math.isfinite(value) else None

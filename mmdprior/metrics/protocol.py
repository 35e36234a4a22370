"""How codes are split, transformed, shuffled and fitted before anything is scored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import to_numbers
from mmdprior.predictors import Outcome, Predictor, Ranks
from mmdprior.predictors.moments import mean_and_std
from mmdprior.seeding import stream

__all__ = ["Problem", "Protocol", "Split", "Transform", "check_codes", "concerns", "parts", "run", "splits"]

Transform = Literal["standardise", "rank_gaussian", "none"]

_SHARES = (0.6, 0.2, 0.2)
_ENTRIES = 1 << 27


@dataclass(frozen=True)
class Protocol:
    """What is done around the fit of a predictor; the defaults suit a number that will be believed.

    Attributes:
        transform: of each dimension, fitted on training rows: ``standardise``, ``rank_gaussian`` (standard
            normal quantiles of ranks) or ``none``.
        folds: 1 splits rows 60/20/20 into training, validation and test; K > 1 scores each of K folds by
            predictors fitted on the others (of which a quarter is validation).
        seeds: fits that trained predictors are averaged over; exact ones are fitted once.
        null: copies of the codes, each column shuffled on its own, that go through the same fits.
        permutations: of the test rows in the p-value, at least; 0 for none.
        bootstrap: draws of the test rows in the interval; 0 for none.

    Raises:
        InputError: an unknown transform, or a count that is negative or, for folds and seeds, zero.
    """

    transform: Transform = "standardise"
    folds: int = 1
    seeds: int = 1
    null: int = 1
    permutations: int = 199
    bootstrap: int = 999

    def __post_init__(self) -> None:
        if self.transform not in get_args(Transform):
            raise InputError(f"transform: {self.transform!r} received; give one of {get_args(Transform)}")
        for name, least in (("folds", 1), ("seeds", 1), ("null", 0), ("permutations", 0), ("bootstrap", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: {getattr(self, name)} received; give at least {least}")

    @staticmethod
    def quick() -> "Protocol":
        """The bare score, for use while training: no null, p-value or interval."""
        return Protocol(null=0, permutations=0, bootstrap=0)


class Problem(NamedTuple):
    """One fit: of the codes (copy 0) or a shuffled copy of them, for one fold and predictor seed."""

    copy: int
    fold: int
    seed: int


class Split(NamedTuple):
    """Rows of one fold."""

    train: Int[Tensor, "n"]
    validation: Int[Tensor, "m"]
    test: Int[Tensor, "k"]


def splits(n: int, folds: int, seed: int, uses_validation: bool) -> list[Split]:
    """Split n rows at random; the folds are of equal size and up to folds - 1 rows are never tested.

    Raises:
        InputError: fewer than ten rows a fold.
    """
    order = torch.randperm(n, generator=stream(seed, "split"))
    if folds == 1:
        first, second = round(_SHARES[0] * n), round(_SHARES[1] * n)
        train, validation, test = order.split([first, second, n - first - second])
        return [_joined(train, validation, test, uses_validation)]
    size = n // folds
    if size < 10:
        raise InputError(f"folds: {folds} received for {n} rows; give at most {n // 10}")
    found = []
    for fold in range(folds):
        test = order[fold * size : (fold + 1) * size]
        rest = torch.cat([order[: fold * size], order[(fold + 1) * size :]])
        held = round(_SHARES[1] / (_SHARES[0] + _SHARES[1]) * len(rest))
        found.append(_joined(rest[held:], rest[:held], test, uses_validation))
    return found


def _joined(train: Tensor, validation: Tensor, test: Tensor, uses_validation: bool) -> Split:
    """A predictor that needs no validation rows trains on them."""
    if uses_validation:
        return Split(train, validation, test)
    return Split(torch.cat([train, validation]), validation[:0], test)


def run(
    z: Float[Tensor, "n d"], predictor: Predictor, protocol: Protocol, seed: int, rows: Sequence[Split]
) -> Iterator[tuple[list[Problem], Outcome]]:
    """Fit and test all problems, as many at once as fit into memory; those of the codes come first.

    Args:
        z: active columns.
        predictor: fitted to every problem.
        protocol: what the problems are.
        seed: of shuffles and fits.
        rows: the folds.
    """
    problems = _problems(protocol, predictor)
    at_once = max(1, _ENTRIES // z.numel())
    for first in range(0, len(problems), at_once):
        group = problems[first : first + at_once]
        train, validation, test, generators = parts(z, group, rows, protocol.transform, seed)
        yield group, predictor.fit(train, validation, generators)(test)


def parts(
    z: Float[Tensor, "n d"],
    problems: Sequence[Problem],
    rows: Sequence[Split],
    transform: Transform,
    seed: int,
) -> tuple[Float[Tensor, "p a d"], Float[Tensor, "p b d"], Float[Tensor, "p c d"], list[torch.Generator]]:
    """Return the transformed training, validation and test rows of problems, and their generators."""
    found = [_parts(z, problem, rows, transform, seed) for problem in problems]
    train, validation, test = (_stacked(list(each)) for each in zip(*found, strict=True))
    generators = [stream(seed, f"predictor/{p.copy}/{p.fold}", p.seed) for p in problems]
    return train, validation, test, generators


def _stacked(parts: list[Tensor]) -> Tensor:
    """Stack, without a copy where there is one part alone."""
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)


def _problems(protocol: Protocol, predictor: Predictor) -> list[Problem]:
    """Return the problems of the codes, then those of their shuffled copies (one seed each)."""
    seeds = protocol.seeds if predictor.random else 1
    real = [Problem(0, fold, s) for fold in range(protocol.folds) for s in range(seeds)]
    null = [Problem(1 + c, fold, 0) for c in range(protocol.null) for fold in range(protocol.folds)]
    return real + null


def _parts(
    z: Tensor, problem: Problem, rows: Sequence[Split], transform: Transform, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the transformed training, validation and test rows of a problem."""
    codes = z if problem.copy == 0 else _shuffled(z, stream(seed, "null", problem.copy))
    train, validation, test = (codes[part.to(z.device)] for part in rows[problem.fold])
    if transform == "none":
        return train, validation, test
    if transform == "rank_gaussian":
        to_normal = Ranks(train[None]).gaussian
        return to_normal(train[None])[0], to_normal(validation[None])[0], to_normal(test[None])[0]
    mean, std = mean_and_std(train)
    std = torch.where(std > 0, std, 1.0)
    # Their rows were copied out of the codes: standardising in place spares a second copy.
    return train.sub_(mean).div_(std), validation.sub_(mean).div_(std), test.sub_(mean).div_(std)


def _shuffled(z: Tensor, generator: torch.Generator) -> Tensor:
    """Return the codes with every column in an order of its own."""
    shuffled = torch.empty_like(z)
    for column in range(z.shape[1]):
        shuffled[:, column] = z[torch.randperm(len(z), generator=generator).to(z.device), column]
    return shuffled


_ROWS = 2000
_SAME = 1 - 1e-6
_NAMED = 8


def check_codes(codes: Tensor | np.ndarray) -> Float[Tensor, "n d"]:
    """Return codes as a floating tensor on their device, or raise `InputError` saying what is wrong."""
    z = _as_tensor(codes).detach()
    n, d = z.shape
    if d < 2:
        raise InputError(f"codes: {d} column received; predicting one from the others needs 2")
    if n < max(30, d + 2):
        raise InputError(f"codes: {n} rows received for {d} columns; give at least {max(30, d + 2)}")
    z = z if z.dtype in (torch.float32, torch.float64) else z.float()
    if bool(torch.isfinite(z.sum())):
        return z
    bad = torch.cat([~torch.isfinite(part).all(1) for part in z.split(1 << 16)])
    if bool(bad.any()):  # else the sum alone overflowed
        raise InputError(
            f"codes: NaN or infinity in {int(bad.sum())} of {n} rows, the first at row "
            f"{int(bad.int().argmax())}; remove those rows"
        )
    return z


def _as_tensor(codes: Tensor | np.ndarray) -> Tensor:
    if isinstance(codes, np.ndarray):
        codes = to_numbers(codes, "codes")
    if not isinstance(codes, Tensor) or codes.is_complex() or codes.is_quantized:
        kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
        raise InputError(f"codes: {kind} received; give an (n, d) array of real numbers")
    if codes.layout != torch.strided or codes.device.type == "meta":
        raise InputError(f"codes: {codes.layout} on {codes.device} received; give a dense array")
    if codes.ndim != 2:
        raise InputError(f"codes: shape {tuple(codes.shape)} received; give two axes, (n, d)")
    return codes


def concerns(
    codes: Tensor | np.ndarray, z: Float[Tensor, "n d"], active: Bool[Tensor, "d"]
) -> tuple[str, ...]:
    """Return what a reader of the score should know about the codes, a sentence each.

    Args:
        codes: as they were received.
        z: the same after `check_codes`.
        active: dimensions that are scored.
    """
    found = []
    n, d = z.shape
    if n < 10 * d:
        found.append(f"{n} rows for {d} columns: fewer than 10 a column, so scores are noisy and too low")
    kind = str(codes.dtype).removeprefix("torch.")
    if kind in ("float16", "bfloat16", "half"):
        found.append(f"codes in {kind}: rounding hides weak dependence and makes ties; save float32")
    constant = (z == z[0]).all(0).nonzero().flatten().tolist()
    if constant:
        found.append(f"constant {_columns(constant)}: neither predicted nor used")
    rows = z[:: max(1, n // _ROWS)]
    integer = ((rows == rows.round()).all(0) & active).nonzero().flatten().tolist()
    if integer:
        found.append(f"integers alone in {_columns(integer)}: ties bend ranks and bins")
    twins = _twins(rows, active)
    if twins:
        pairs = ", ".join(f"{i} = {j}" for i, j in twins[:_NAMED])
        more = f" and {len(twins) - _NAMED} more pairs" if len(twins) > _NAMED else ""
        found.append(f"duplicated columns (up to scale and shift): {pairs}{more}")
    return tuple(found)


def _columns(indices: list[int]) -> str:
    named = ", ".join(map(str, indices[:_NAMED]))
    more = f" and {len(indices) - _NAMED} more" if len(indices) > _NAMED else ""
    return f"column{'s' if len(indices) > 1 else ''} {named}{more}"


def _twins(rows: Tensor, active: Tensor) -> list[tuple[int, int]]:
    """Return pairs of active columns whose correlation over some rows is one but for rounding."""
    scaled = rows.cpu().double() / rows.abs().amax(0).clamp(min=1e-300).cpu().double()
    centred = scaled - scaled.mean(0)
    unit = centred / centred.norm(dim=0).clamp(min=1e-300)
    same = ((unit.T @ unit).abs() > _SAME) & active.cpu() & active.cpu()[:, None]
    return [(i, j) for i, j in same.triu(1).nonzero().tolist()]

"""How codes are split, transformed, shuffled and fitted before anything is scored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.predictors import Outcome, Predictor, Ranks
from mmdprior.predictors.moments import mean_and_std
from mmdprior.seeding import stream

__all__ = ["Problem", "Protocol", "Split", "Transform", "parts", "run", "splits"]

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

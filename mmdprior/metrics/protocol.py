"""Protocol of LPS: how codes are split, transformed and shuffled, and which fits are made."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.choices import Transform
from mmdprior.errors import InputError, check_integer
from mmdprior.metrics.grouping import Grouping, Groups, Split
from mmdprior.metrics.layout import Layout
from mmdprior.predictors import Outcome, Predictor, Ranks
from mmdprior.predictors.moments import mean_and_std
from mmdprior.seeding import stream

__all__ = ["Problem", "Protocol", "Split", "Transform", "fit_problems", "problem_rows", "split_rows"]


_INDICES = 1 << 22
"""Row indices of shuffled columns in memory: 32 MiB."""
_ENTRIES = 1 << 27
"""Codes fitted at a time, over all problems of a group: 512 MiB in float32."""


@dataclass(frozen=True)
class Protocol:
    """Settings of LPS other than the predictor; the defaults give all statistics that should be published.

    Attributes:
        transform: transform of each dimension, fitted on training rows: ``standardise``, ``rank_gaussian``
            (standard normal quantiles of ranks) or ``none``.
        folds: 1 splits the rows 60/20/20 into training, validation and test. K > 1 scores each of K folds
            by predictors fitted on the other folds, a quarter of which is validation.
        seeds: number of predictor seeds to average over; deterministic predictors are fitted once.
        null: smallest number of column-shuffled copies of the codes that go through the same fits. With few
            informative test rows, `mmdprior.lps` raises it to 39 for exact predictors.
        permutations: smallest number of permutations of the test rows in a p-value; 0 for no p-value.
        bootstrap: number of bootstrap draws of the test rows in the interval; 0 for no interval.

    Raises:
        InputError: the transform is unknown, a count is negative or not an integer, or ``folds`` or
            ``seeds`` is zero.

    Example:
        >>> from mmdprior.metrics import Protocol
        >>> Protocol(folds=5).null
        1
        >>> Protocol(folds=0)
        Traceback (most recent call last):
        mmdprior.errors.InputError: folds: 0 received; give an integer of at least 1
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
            object.__setattr__(self, name, check_integer(name, getattr(self, name), least))

    @staticmethod
    def quick() -> "Protocol":
        """Return the protocol of validation during training: no null, p-value or interval."""
        return Protocol(null=0, permutations=0, bootstrap=0)


class Problem(NamedTuple):
    """One fit: of the codes (copy 0) or of a column-shuffled copy, for one fold and one predictor seed."""

    copy: int
    fold: int
    seed: int


def split_rows(n: int, folds: int, seed: int, uses_validation: bool) -> list[Split]:
    """Return a random split of n rows per fold.

    Folds have equal size, so up to folds - 1 rows are never tested.

    Args:
        n: number of rows.
        folds: 1 for one 60/20/20 split, or K for cross-fitting.
        seed: seed of the random order.
        uses_validation: whether the predictor needs validation rows; otherwise they join the training rows.

    Raises:
        InputError: a fold would have fewer than ten rows.
    """
    return Groups.independent(n).split(folds, seed, uses_validation)


def fit_problems(
    z: Float[Tensor, "n d"],
    predictor: Predictor,
    protocol: Protocol,
    seed: int,
    splits: Sequence[Split],
    first_copy: int = 0,
    grouping: Grouping | None = None,
) -> Iterator[tuple[list[Problem], Outcome]]:
    """Fit and test all problems, and yield the outcomes of as many at once as fit into memory.

    Problems of the codes come before those of shuffled copies. With groups, each fold is fitted separately,
    because folds may differ in size.

    Args:
        z: active columns of the codes.
        predictor: predictor to fit to every problem.
        protocol: number of folds, seeds and shuffled copies, and the transform.
        seed: seed of shuffles and fits.
        splits: split of every fold.
        first_copy: number of the first shuffled copy to fit; 0 fits the codes, too.
        grouping: groups of dependent rows, which copies keep whole; independent rows by default.
    """
    grouping = Groups.independent(len(z)) if grouping is None else grouping
    # Shuffled copies are fitted with one seed each: they only measure the chance level.
    seeds = protocol.seeds if predictor.random else 1
    problems = [Problem(0, fold, s) for fold in range(protocol.folds) for s in range(seeds)]
    problems += [Problem(1 + c, fold, 0) for c in range(protocol.null) for fold in range(protocol.folds)]
    problems = [problem for problem in problems if problem.copy >= first_copy]
    size = max(1, _ENTRIES // z.numel())
    batches = [problems]
    if grouping.count < grouping.n:
        batches = [[p for p in problems if p.fold == fold] for fold in range(protocol.folds)]
    for batch in batches:
        for first in range(0, len(batch), size):
            some = batch[first : first + size]
            *rows, generators = problem_rows(z, some, splits, protocol.transform, seed, grouping)
            train, validation, test = rows
            yield some, predictor.fit(train, validation, generators)(test)


def problem_rows(
    z: Float[Tensor, "n d"],
    problems: Sequence[Problem],
    splits: Sequence[Split],
    transform: Transform,
    seed: int,
    grouping: Grouping | None = None,
) -> tuple[Float[Tensor, "p a d"], Float[Tensor, "p b d"], Float[Tensor, "p c d"], list[torch.Generator]]:
    """Return the transformed training, validation and test rows of problems, and their generators."""
    grouping = Groups.independent(len(z)) if grouping is None else grouping
    parts = [(part, grouping.layout(part)) for part in _parts(len(z), splits)]
    rows = [
        _transformed_rows(z, problem, splits[problem.fold], parts, transform, seed) for problem in problems
    ]
    train, validation, test = (
        # Indexing adds the axis without a copy, which matters for a million codes.
        parts[0][None] if len(parts) == 1 else torch.stack(parts)
        for parts in zip(*rows, strict=True)
    )
    generators = [stream(seed, f"predictor/{p.copy}/{p.fold}", p.seed) for p in problems]
    return train, validation, test, generators


def _transformed_rows(
    z: Tensor,
    problem: Problem,
    split: Split,
    parts: Sequence[tuple[Tensor, Layout]],
    transform: Transform,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the training, validation and test rows of a problem, transformed by its training rows."""
    codes = _shuffled(z, parts, stream(seed, "null", problem.copy)) if problem.copy > 0 else z
    train, validation, test = (codes[part.to(z.device)] for part in split)
    if transform == "none":
        return train, validation, test
    if transform == "rank_gaussian":
        to_normal = Ranks(train[None]).gaussian
        return to_normal(train[None])[0], to_normal(validation[None])[0], to_normal(test[None])[0]
    mean, std = mean_and_std(train)
    std = torch.where(std > 0, std, 1.0)
    # Indexing has copied the rows, so they can be standardised in place without a second copy.
    return train.sub_(mean).div_(std), validation.sub_(mean).div_(std), test.sub_(mean).div_(std)


def _shuffled(z: Tensor, parts: Sequence[tuple[Tensor, Layout]], generator: torch.Generator) -> Tensor:
    """Return the codes with the groups of rows of every column in a separate random order.

    Rows stay in their part of the split: training, validation or test, or one fold. A column then has the
    same values in every part as in the codes, so a rare value that is only in the test rows stays there, and
    the errors of copies and codes are relative to the same variances.
    """
    shuffled = torch.empty_like(z)
    for part, layout in parts:
        rows = part.to(z.device)
        orders = layout.rearrangements(z.shape[1], generator)
        for columns in torch.arange(z.shape[1]).split(max(1, _INDICES // max(1, len(part)))):
            chosen = torch.stack([part[order] for order in itertools.islice(orders, len(columns))], 1)
            first, last = int(columns[0]), int(columns[-1]) + 1
            shuffled[rows, first:last] = z[:, first:last].gather(0, chosen.to(z.device))
    return shuffled


def _parts(n: int, splits: Sequence[Split]) -> list[Tensor]:
    """Return disjoint parts of the n rows: those of one split, or the folds and the rows in none of them."""
    if len(splits) == 1:
        return list(splits[0])
    folds = [split.test for split in splits]
    untested = torch.ones(n, dtype=torch.bool)
    untested[torch.cat(folds)] = False
    return [*folds, untested.nonzero().flatten()]

"""Scores from votes, in which one factor is held fixed: beta-VAE and FactorVAE scores."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.groups import Groups
from mmdprior.metrics.supervised.logistic import class_scores, fit_logistic
from mmdprior.metrics.supervised.table import Part, Table
from mmdprior.predictors.moments import mean_and_std

__all__ = ["beta_vae", "factor_vae"]

_POOL = 1 << 15
"""Random pairs per factor from which the votes of the beta-VAE score are drawn."""


def beta_vae(table: Table) -> Part:
    """Return the accuracy of naming the factor that is fixed within pairs (Higgins et al., 2017).

    A vote is the mean over ``batch`` pairs of |z - z'|. Both codes of a pair have the same level of the
    vote's factor. A linear classifier predicts the factor from the standardised vote. The pairs of a vote are
    drawn from 32,768 random pairs per factor.
    """
    return _score(table, "beta_vae", _pair_differences, _linear_accuracy)


def factor_vae(table: Table) -> Part:
    """Return the accuracy of a majority vote of the code that varies least (Kim & Mnih, 2018).

    A vote is the code with the smallest variance, relative to its variance over all samples, within
    ``batch`` samples of one level of the vote's factor. Every code stands for its most frequent factor.
    """
    if table.active == 0:
        return Part({"factor_vae": 0.0})
    return _score(table, "factor_vae", _least_variable, _majority_accuracy)


_Votes = Callable[[Groups, list[int], int, torch.Generator], list[Tensor]]
_Accuracy = Callable[[Tensor, Tensor, Tensor, Tensor, int], float]


def _score(table: Table, name: str, votes_of: _Votes, accuracy: _Accuracy) -> Part:
    """Return the accuracy of predicting the factor of a vote.

    Args:
        table: codes and factors.
        name: name of the score.
        votes_of: function of groups, numbers of votes, batch size and generator that draws the votes of one
            factor.
        accuracy: function of training votes, their factors, test votes, their factors and number of factors.
    """
    groups = table.groups
    part = Part({name: math.nan})
    part.note_left_out((name,), table.factors, torch.tensor([len(group.z) == 0 for group in groups]))
    used = [group for group in groups if len(group.z)]
    if len(used) < 2:
        part.notes[name] = "undefined for fewer than two factors with repeated levels"
        return part
    generator, k, protocol = table.random(name), len(used), table.protocol
    sizes = (protocol.train_votes, protocol.test_votes)
    counts = [torch.randint(k, (size,), generator=generator).bincount(minlength=k) for size in sizes]
    votes = [
        votes_of(group, [int(count[i]) for count in counts], protocol.batch, generator)
        for i, group in enumerate(used)
    ]
    train, test = (torch.cat(votes_of_part) for votes_of_part in zip(*votes, strict=True))
    owners = [torch.arange(k).repeat_interleave(count).to(table.codes.device) for count in counts]
    part.scores[name] = accuracy(train, owners[0], test, owners[1], k)
    return part


def _pair_differences(
    groups: Groups, counts: list[int], batch: int, generator: torch.Generator
) -> list[Float[Tensor, "votes d"]]:
    device = groups.z.device
    votes = []
    for count in counts:
        one = torch.randint(len(groups.z), (_POOL,), generator=generator).to(device)
        shift = torch.rand(_POOL, generator=generator).to(device)
        first, size = groups.first[one], groups.size[one]
        # A second row of the same level: 1 to size - 1 places further, in a circle.
        place = one - first + 1 + (shift * (size - 1)).long().clamp(max=size - 2)
        other = first + torch.where(place < size, place, place - size)
        pool = groups.z.index_select(0, one).sub_(groups.z.index_select(0, other)).abs_()
        pairs = torch.randint(_POOL, (count, batch), generator=generator, dtype=torch.int32).to(device)
        votes.append(_bag_means(pairs, pool))
    return votes


def _least_variable(
    groups: Groups, counts: list[int], batch: int, generator: torch.Generator
) -> list[Int[Tensor, "votes"]]:
    # Subtracting the first sample of a level changes no variance within it, and avoids cancellation.
    centred = groups.z - groups.z.index_select(0, groups.first)
    moments = torch.cat([centred, centred.square()], 1)
    votes = []
    for count in counts:
        row = torch.randint(len(groups.z), (count, 1), generator=generator).to(groups.z.device)
        draws = torch.rand(count, batch, generator=generator).to(groups.z.device)
        first, size = groups.first[row], groups.size[row]
        mean, square = _bag_means(first + (draws * size).long().clamp(max=size - 1), moments).chunk(2, 1)
        votes.append((square - mean.square()).argmin(1))
    return votes


def _bag_means(rows: Int[Tensor, "votes batch"], values: Float[Tensor, "m e"]) -> Float[Tensor, "votes e"]:
    """Return the mean of some rows per vote, without a copy of the rows."""
    if len(rows) == 0:
        return values[:0]
    return torch.nn.functional.embedding_bag(rows, values, mode="mean")


def _linear_accuracy(
    votes: Tensor, labels: Tensor, test_votes: Tensor, test_labels: Tensor, factors: int
) -> float:
    mean, std = mean_and_std(votes)
    std = torch.where(std > 0, std, 1.0)
    coefficients = fit_logistic((votes - mean) / std, labels, factors)
    predicted = class_scores((test_votes - mean) / std, coefficients).argmax(1)
    return float((predicted == test_labels).double().mean())


def _majority_accuracy(
    votes: Tensor, labels: Tensor, test_votes: Tensor, test_labels: Tensor, factors: int
) -> float:
    codes = int(torch.cat([votes, test_votes]).max()) + 1
    counts = torch.bincount(votes * factors + labels, minlength=codes * factors).view(codes, factors)
    return float((counts.argmax(1)[test_votes] == test_labels).double().mean())

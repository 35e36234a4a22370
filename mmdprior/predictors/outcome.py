"""What a fitted predictor made of held-out codes, in the terms that scores and tests of any kind need."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["Classification", "Outcome", "Regression"]


class Outcome(ABC):
    """Targets and predictions of k rows, for p problems of d dimensions.

    Attributes:
        extra: (p, d) numbers worth reporting next to `r2`, by name.
    """

    extra: Mapping[str, Tensor]

    @abstractmethod
    def r2(self) -> Float[Tensor, "p d"]:
        """Return the score of every dimension, 1 for perfect prediction, unclipped below."""

    @abstractmethod
    def chance(self) -> Float[Tensor, "p d"]:
        """Return `r2` with the mean loss over all pairings of targets with predictions: what chance gives."""

    @abstractmethod
    def resampled(self, counts: Float[Tensor, "b k"]) -> Float[Tensor, "b p d"]:
        """Return `r2` with every row counted that many times; each row of ``counts`` sums to k."""

    @abstractmethod
    def pairings(self) -> Iterator[tuple[Float[Tensor, "p k d"], Float[Tensor, "p k d"]]]:
        """Yield (a, b) such that targets permuted by s lose as the sum of a_s(k) b_k is small."""

    @abstractmethod
    def take(self, problems: slice) -> "Outcome":
        """Return the outcome of some of the problems."""

    @abstractmethod
    def nats(self) -> Float[Tensor, "p d"]:
        """Return what the prediction says of the target, in nats, from `r2` clipped at 0."""


class Regression(Outcome):
    """Targets and the predictions of their means, scored by R2.

    R2_i = 1 - sum_k (y_ki - f_ki)^2 / sum_k (y_ki - mean y_i)^2, over the k rows at hand, in float64.
    A target that does not vary scores 0.

    Args:
        target: what was predicted, (p, k, d): the codes, or a function of each.
        prediction: of every target from the other columns.
        extra: numbers to report next to the score.
        plain: R2 of the codes themselves where the target is a function of them; the bound in nats needs
            it, since it holds for Gaussian targets.
    """

    def __init__(
        self,
        target: Float[Tensor, "p k d"],
        prediction: Float[Tensor, "p k d"],
        extra: Mapping[str, Tensor] | None = None,
        plain: Float[Tensor, "p d"] | None = None,
    ) -> None:
        work = torch.float32 if target.device.type == "mps" else torch.float64
        target, prediction = target.to(work), prediction.to(target.device, work)
        mean = target.mean(1, keepdim=True)
        # A constant less its rounded mean is not quite 0, and would be scored against its rounding.
        varies = (target != target[:, :1]).any(1, keepdim=True)
        self.target = torch.where(varies, target - mean, 0.0)
        self.prediction = prediction - mean
        self.extra = dict(extra or {})
        self.plain = plain

    def r2(self) -> Float[Tensor, "p d"]:
        """R2 over the rows."""
        return _one_minus((self.target - self.prediction).square().sum(1), self._total())

    def chance(self) -> Float[Tensor, "p d"]:
        """-mean f^2 / var y: the cross term vanishes in the mean over pairings, targets being centred."""
        total = self._total()
        return _one_minus(total + self.prediction.square().sum(1), total)

    def resampled(self, counts: Float[Tensor, "b k"]) -> Float[Tensor, "b p d"]:
        """R2 with both sums and the mean under the counts."""
        counts = counts.to(self.target)
        loss = (self.target - self.prediction).square()
        found = []
        for y, lost in zip(self.target, loss, strict=True):
            squares = counts @ y.square()
            total = squares - (counts @ y).square() / len(y)
            # Draws that miss all rows where a rare value stands leave rounding alone.
            rounding = len(y) * torch.finfo(y.dtype).eps * squares
            found.append(_one_minus(counts @ lost, torch.where(total > rounding, total, 0.0)))
        return torch.stack(found, 1)

    def pairings(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pair: of a squared error permuting changes the product of target and prediction alone."""
        yield self.target, self.prediction

    def take(self, problems: slice) -> "Regression":
        """Select problems."""
        extra = {name: values[problems] for name, values in self.extra.items()}
        plain = None if self.plain is None else self.plain[problems]
        return Regression(self.target[problems], self.prediction[problems], extra, plain)

    def nats(self) -> Float[Tensor, "p d"]:
        """-1/2 log(1 - R2) of the plain codes; a lower bound of I(z_i; others) where z_i is Gaussian."""
        r2 = self.r2() if self.plain is None else self.plain
        return -0.5 * torch.log1p(-r2.clamp(0, 1 - 1e-12))

    def _total(self) -> Tensor:
        return self.target.square().sum(1)


class Classification(Outcome):
    """Bins of the targets and the predicted probabilities of each, scored by information.

    I_i = H(bin frequencies of these rows) - mean_k -log q_k(bin_k) in nats, a lower bound of the mutual
    information for any q up to the sampling error of H (Barber & Agakov, 2003), and 1 - exp(-2 I_i) on the
    scale of R2, which for Gaussians it equals.

    Args:
        bins: (p, k, d) index of each target's bin.
        log_probabilities: (p, k, d, B) of the bins, from the other columns.
    """

    def __init__(self, bins: Int[Tensor, "p k d"], log_probabilities: Float[Tensor, "p k d bins"]) -> None:
        self.bins = bins
        self.log_probabilities = log_probabilities
        work = torch.float32 if bins.device.type == "mps" else torch.float64
        self.work = work
        self.loss = -log_probabilities.gather(3, bins[..., None]).squeeze(3).to(work)
        self.extra = {"nats": self.nats()}

    def r2(self) -> Float[Tensor, "p d"]:
        """1 - exp(-2 I), negative where the predictor says less than the frequencies."""
        return -torch.expm1(-2 * self._information())

    def chance(self) -> Float[Tensor, "p d"]:
        """The same with the cross-entropy of frequencies against mean log-probabilities."""
        mean = self.log_probabilities.to(self.work).mean(1)
        frequencies = self._one_hot().mean(1)
        return -torch.expm1(-2 * (_entropy(frequencies) + (frequencies * mean).sum(2)))

    def resampled(self, counts: Float[Tensor, "b k"]) -> Float[Tensor, "b p d"]:
        """Entropy and cross-entropy under the counts."""
        shares = counts.to(self.bins.device, self.work) / counts.shape[1]
        found = []
        for rows, lost in zip(self._one_hot(), self.loss, strict=True):
            frequencies = (shares @ rows.flatten(1)).unflatten(1, rows.shape[1:])
            found.append(-torch.expm1(-2 * (_entropy(frequencies) - shares @ lost)))
        return torch.stack(found, 1)

    def pairings(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pair a bin: whether the target lies in it, and its log-probability."""
        for index in range(self.log_probabilities.shape[3]):
            yield (self.bins == index).to(self.work), self.log_probabilities[..., index].to(self.work)

    def take(self, problems: slice) -> "Classification":
        """Select problems."""
        return Classification(self.bins[problems], self.log_probabilities[problems])

    def nats(self) -> Float[Tensor, "p d"]:
        """I clipped at 0."""
        return self._information().clamp(min=0)

    def _information(self) -> Tensor:
        return _entropy(self._one_hot().mean(1)) - self.loss.mean(1)

    def _one_hot(self) -> Tensor:
        return functional.one_hot(self.bins, self.log_probabilities.shape[3]).to(self.work)


def _one_minus(residual: Tensor, total: Tensor) -> Tensor:
    """Return 1 - residual / total, and 0 where nothing varies."""
    return torch.where(total > 0, 1 - residual / total.clamp(min=math.ulp(0.0)), 0.0)


def _entropy(frequencies: Tensor) -> Tensor:
    """Entropy in nats over the last axis."""
    return -torch.special.xlogy(frequencies, frequencies).sum(-1)

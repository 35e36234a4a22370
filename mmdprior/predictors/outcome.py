"""Outcome of a prediction on held-out codes: scores, chance level, resampling and permutation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["Classification", "Outcome", "Regression"]


class Outcome(ABC):
    """Targets and predictions of k held-out rows, for p problems of d dimensions.

    `mmdprior.lps` needs nothing else from a predictor: it scores, bootstraps and permutes outcomes
    without refitting.

    Attributes:
        extra: further numbers to report, (p, d) by name.

    Example:
        >>> import torch
        >>> from mmdprior.predictors import LinearPredictor
        >>> codes = torch.randn(1, 200, 1).repeat(1, 1, 2)  # one problem, two equal dimensions
        >>> fitted = LinearPredictor().fit(codes[:, :150], codes[:, :0], [torch.Generator()])
        >>> outcome = fitted(codes[:, 150:])
        >>> outcome.r2().round(decimals=3)
        tensor([[1., 1.]], dtype=torch.float64)
    """

    extra: Mapping[str, Tensor]

    @abstractmethod
    def r2(self) -> Float[Tensor, "p d"]:
        """Return the score of every dimension: 1 for perfect prediction, unbounded below."""

    @abstractmethod
    def chance(self) -> Float[Tensor, "p d"]:
        """Return `r2` with the loss averaged over all pairings of targets with predictions."""

    @abstractmethod
    def resampled(self, counts: Float[Tensor, "b k"]) -> Float[Tensor, "b p d"]:
        """Return `r2` for each bootstrap draw.

        Args:
            counts: how often a draw contains each row; every draw sums to k.
        """

    @abstractmethod
    def pairings(self) -> Iterator[tuple[Float[Tensor, "p k d"], Float[Tensor, "p k d"]]]:
        """Yield pairs (a, b) such that sum_k a_{s(k)} b_k ranks the permutations s of the targets.

        Summed over all pairs it equals minus the loss of the permuted targets, up to a constant and a
        positive factor.
        """

    @abstractmethod
    def take(self, problems: slice) -> "Outcome":
        """Return the outcome of a slice of the problems."""

    @abstractmethod
    def nats(self) -> Float[Tensor, "p d"]:
        """Return the information of the prediction about each target, in nats, at least 0."""


class Regression(Outcome):
    """Targets and predicted means, scored by R2.

    R2_i = 1 - sum_k (y_ki - f_ki)^2 / sum_k (y_ki - mean_k y_ki)^2 over the k held-out rows, in float64.
    A constant target scores 0.

    Args:
        target: what was predicted, (p, k, d): the codes, or a function of each of them.
        prediction: predicted mean of every target, from the other columns.
        extra: further numbers to report, by name.
        plain: R2 of the codes themselves, where ``target`` is a function of them. `nats` needs it, because
            its bound holds for Gaussian targets.

    Example:
        >>> import torch
        >>> from mmdprior.predictors import Regression
        >>> codes = torch.tensor([[[0.0, 1.0], [1.0, 3.0], [2.0, 2.0]]])
        >>> Regression(codes, codes).r2()
        tensor([[1., 1.]], dtype=torch.float64)
        >>> Regression(codes, codes.mean(1, keepdim=True).expand_as(codes)).r2()
        tensor([[0., 0.]], dtype=torch.float64)
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
        # A constant minus its rounded mean is not exactly 0, so R2 would divide by a rounding error.
        varies = (target != target[:, :1]).any(1, keepdim=True)
        self.target = torch.where(varies, target - mean, 0.0)
        self.prediction = prediction - mean
        self.extra = dict(extra or {})
        self.plain = plain

    def r2(self) -> Float[Tensor, "p d"]:
        """Return R2 over the held-out rows."""
        return _one_minus((self.target - self.prediction).square().sum(1), self._total())

    def chance(self) -> Float[Tensor, "p d"]:
        """Return -sum f^2 / sum y^2: targets are centred, so the cross term averages to 0 over pairings."""
        total = self._total()
        return _one_minus(total + self.prediction.square().sum(1), total)

    def resampled(self, counts: Float[Tensor, "b k"]) -> Float[Tensor, "b p d"]:
        """Return R2 with the residual sum, the total sum and the mean weighted by the counts."""
        counts = counts.to(self.target)
        loss = (self.target - self.prediction).square()
        draws = []
        for y, residual in zip(self.target, loss, strict=True):
            squares = counts @ y.square()
            total = squares - (counts @ y).square() / len(y)
            # A draw may miss every row with a rare value; what remains of the total is rounding error.
            rounding = len(y) * torch.finfo(y.dtype).eps * squares
            draws.append(_one_minus(counts @ residual, torch.where(total > rounding, total, 0.0)))
        return torch.stack(draws, 1)

    def pairings(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one pair: permuting targets changes only the cross term of the squared error."""
        yield self.target, self.prediction

    def take(self, problems: slice) -> "Regression":
        """Return the outcome of a slice of the problems."""
        extra = {name: values[problems] for name, values in self.extra.items()}
        plain = None if self.plain is None else self.plain[problems]
        return Regression(self.target[problems], self.prediction[problems], extra, plain)

    def nats(self) -> Float[Tensor, "p d"]:
        """Return -1/2 log(1 - R2) of the codes: a lower bound of I(z_i; others) where z_i is Gaussian."""
        r2 = self.r2() if self.plain is None else self.plain
        return -0.5 * torch.log1p(-r2.clamp(0, 1 - 1e-12))

    def _total(self) -> Tensor:
        return self.target.square().sum(1)


class Classification(Outcome):
    """Bins of the targets and predicted bin probabilities, scored by information.

    I_i = H(bin frequencies of these rows) - mean_k -log q_k(bin_k), in nats. For any q this is a lower bound
    of the mutual information (Barber & Agakov, 2003), up to the sampling error of H. The score
    1 - exp(-2 I_i) is on the scale of R2 and equals it for Gaussian codes.

    Args:
        bins: (p, k, d) bin index of each target.
        log_probabilities: (p, k, d, B) predicted log-probability of every bin, from the other columns.

    Example:
        >>> import torch
        >>> from mmdprior.predictors import Classification
        >>> bins = torch.tensor([[[0], [1], [0], [1]]])
        >>> sure = torch.nn.functional.one_hot(bins, 2).double().clamp(min=1e-9).log()
        >>> Classification(bins, sure).r2().round(decimals=3)
        tensor([[0.7500]], dtype=torch.float64)
    """

    def __init__(self, bins: Int[Tensor, "p k d"], log_probabilities: Float[Tensor, "p k d bins"]) -> None:
        self.bins = bins
        self.log_probabilities = log_probabilities
        work = torch.float32 if bins.device.type == "mps" else torch.float64
        self.work = work
        self.loss = -log_probabilities.gather(3, bins[..., None]).squeeze(3).to(work)
        self.extra = {"nats": self.nats()}

    def r2(self) -> Float[Tensor, "p d"]:
        """Return 1 - exp(-2 I); negative where the predictor is worse than the bin frequencies."""
        return -torch.expm1(-2 * self._information())

    def chance(self) -> Float[Tensor, "p d"]:
        """Return 1 - exp(-2 I) with the cross-entropy of frequencies and mean log-probabilities."""
        mean = self.log_probabilities.to(self.work).mean(1)
        frequencies = self._one_hot().mean(1)
        return -torch.expm1(-2 * (_entropy(frequencies) + (frequencies * mean).sum(2)))

    def resampled(self, counts: Float[Tensor, "b k"]) -> Float[Tensor, "b p d"]:
        """Return 1 - exp(-2 I) with entropy and cross-entropy weighted by the counts."""
        shares = counts.to(self.bins.device, self.work) / counts.shape[1]
        draws = []
        for rows, loss in zip(self._one_hot(), self.loss, strict=True):
            frequencies = (shares @ rows.flatten(1)).unflatten(1, rows.shape[1:])
            draws.append(-torch.expm1(-2 * (_entropy(frequencies) - shares @ loss)))
        return torch.stack(draws, 1)

    def pairings(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one pair per bin: whether the target is in the bin, and the bin's log-probability."""
        for index in range(self.log_probabilities.shape[3]):
            yield (self.bins == index).to(self.work), self.log_probabilities[..., index].to(self.work)

    def take(self, problems: slice) -> "Classification":
        """Return the outcome of a slice of the problems."""
        return Classification(self.bins[problems], self.log_probabilities[problems])

    def nats(self) -> Float[Tensor, "p d"]:
        """Return I clipped at 0."""
        return self._information().clamp(min=0)

    def _information(self) -> Tensor:
        return _entropy(self._one_hot().mean(1)) - self.loss.mean(1)

    def _one_hot(self) -> Tensor:
        return functional.one_hot(self.bins, self.log_probabilities.shape[3]).to(self.work)


def _one_minus(residual: Tensor, total: Tensor) -> Tensor:
    """Return 1 - residual / total, and 0 where the total is 0."""
    return torch.where(total > 0, 1 - residual / total.clamp(min=math.ulp(0.0)), 0.0)


def _entropy(frequencies: Tensor) -> Tensor:
    """Return the entropy over the last axis, in nats."""
    return -torch.special.xlogy(frequencies, frequencies).sum(-1)

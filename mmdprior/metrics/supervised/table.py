"""Codes next to factors, split into training and test rows: what every supervised score starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmdprior.choices import Probe
from mmdprior.errors import InputError
from mmdprior.metrics.supervised.factors import Factor
from mmdprior.metrics.supervised.groups import Groups
from mmdprior.precision import in_float64
from mmdprior.predictors.moments import mean_and_std
from mmdprior.seeding import stream

__all__ = ["Part", "SupervisedProtocol", "Table", "split_table"]

PROBES = get_args(Probe)


@dataclass(frozen=True)
class SupervisedProtocol:
    """Sizes and choices of the supervised scores.

    The defaults are those of Locatello et al. (2019), whose public implementation is the reference, except
    for ``probe`` and ``irs_bins``.

    Attributes:
        n_train: number of training rows, from which mutual information, correlations and IRS are computed.
        n_test: number of held-out rows. A smaller table is split in the same ratio.
        batch: number of pairs (beta-VAE) or of samples (FactorVAE) per vote.
        train_votes: number of votes that the classifier of the votes is fitted on.
        test_votes: number of votes that it is scored on.
        bins: number of equal-width bins of every code for mutual information, and the largest number of
            quantile bins of a continuous factor.
        irs_bins: number of equal-width bins of the levels of every factor in IRS; None keeps the levels.
            The reference uses 20.
        probe: classifier of DCI: ``histogram`` (histogram gradient boosting), ``gradient_boosted`` (the
            exact one of the reference), ``random_forest``, ``lasso`` or ``logistic``.
        neighbours: number of neighbours in the mutual information of InfoMEC.
        discrete_codes: whether InfoMEC treats codes as discrete; None decides per code, from its number of
            distinct values.

    Example:
        >>> from mmdprior.metrics import SupervisedProtocol
        >>> SupervisedProtocol(probe="gradient_boosted").n_train
        10000
        >>> SupervisedProtocol(bins=1)
        Traceback (most recent call last):
        mmdprior.errors.InputError: bins: 1 received; give at least 2
    """

    n_train: int = 10_000
    n_test: int = 5_000
    batch: int = 64
    train_votes: int = 10_000
    test_votes: int = 5_000
    bins: int = 20
    irs_bins: int | None = None
    probe: str = "histogram"
    neighbours: int = 10
    discrete_codes: bool | None = None

    def __post_init__(self) -> None:
        smallest = {"batch": 2, "bins": 2, "n_train": 2}
        for name in ("n_train", "n_test", "batch", "train_votes", "test_votes", "bins", "neighbours"):
            if getattr(self, name) < smallest.get(name, 1):
                raise InputError(
                    f"{name}: {getattr(self, name)} received; give at least {smallest.get(name, 1)}"
                )
        if self.irs_bins is not None and self.irs_bins < 2:
            raise InputError(f"irs_bins: {self.irs_bins} received; give at least 2, or None")
        if self.probe not in PROBES:
            raise InputError(f"probe: {self.probe!r} received; expected one of {', '.join(PROBES)}")


@dataclass(eq=False)
class Part:
    """Scores from one computation.

    Attributes:
        scores: score by name.
        per_factor: (factors,) numbers by name, NaN where undefined.
        matrices: (codes, factors) numbers by name, NaN where undefined.
        notes: why a score is undefined, or what it leaves out, by score.
    """

    scores: dict[str, float]
    per_factor: dict[str, Float[Tensor, "factors"]] = field(default_factory=dict)
    matrices: dict[str, Float[Tensor, "codes factors"]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """Return one sentence per note, with the names of all its scores."""
        texts = list(dict.fromkeys(self.notes.values()))
        names = [[name for name, other in self.notes.items() if other == text] for text in texts]
        return [f"{', '.join(group)}: {text}" for group, text in zip(names, texts, strict=True)]

    def note_left_out(
        self, names: Sequence[str], factors: Sequence[Factor], left_out: Bool[Tensor, "factors"]
    ) -> None:
        """Note that scores leave out the factors of a mask, which have no level with two rows."""
        if bool(left_out.any()):
            listed = ", ".join(repr(factors[k].name) for k in left_out.nonzero().flatten().tolist())
            self.notes |= dict.fromkeys(names, f"leaves out {listed}, without repeated levels")

    def add_mean(self, name: str, values: Float[Tensor, "factors"], factors: Sequence[Factor]) -> None:
        """Add the mean of a number per factor; factors where it is NaN are left out and named."""
        values = values.cpu()
        known = ~values.isnan()
        self.per_factor[name] = values
        self.scores[name] = float(values[known].mean()) if bool(known.any()) else float("nan")
        left_out = [factors[k].name for k in (~known).nonzero().flatten().tolist()]
        if left_out:
            self.notes[name] = f"undefined for {', '.join(map(repr, left_out))}"


@dataclass(frozen=True, eq=False)
class Table:
    """Active codes, factors that vary, and the rows to score.

    Attributes:
        codes: (n, d) active codes; one column of zeros if none is active.
        active: number of active codes.
        columns: number of codes, active or not.
        factors: factors with at least two levels.
        train: rows to fit on.
        test: other rows, to score on.
        protocol: sizes and choices.
        seed: seed of all draws.
        copy: 0, or the number of the shuffled copy.
    """

    codes: Float[Tensor, "n d"]
    active: int
    columns: int
    factors: tuple[Factor, ...]
    train: Int[Tensor, "n_train"]
    test: Int[Tensor, "n_test"]
    protocol: SupervisedProtocol
    seed: int
    copy: int = 0

    def shuffled(self, copy: int) -> "Table":
        """Return a copy whose factors have the rows in another random order, all in the same one."""
        order = torch.randperm(len(self.codes), generator=stream(self.seed, "supervised/shuffle", copy))
        order = order.to(self.codes.device)
        return replace(self, factors=tuple(factor.take(order) for factor in self.factors), copy=copy)

    def random(self, name: str) -> torch.Generator:
        """Return the random stream of a purpose."""
        return stream(self.seed, f"supervised/{name}", self.copy)

    @cached_property
    def train_codes(self) -> Float[Tensor, "n_train d"]:
        """Codes of the training rows in float64."""
        return in_float64(self.codes[self.train])

    @cached_property
    def train_factors(self) -> list[Factor]:
        """Factors of the training rows."""
        return [factor.take(self.train) for factor in self.factors]

    @cached_property
    def test_factors(self) -> list[Factor]:
        """Factors of the test rows."""
        return [factor.take(self.test) for factor in self.factors]

    @cached_property
    def train_z(self) -> Float[Tensor, "n_train d"]:
        """Standardised codes of the training rows in float64."""
        return self._standardise(self.train_codes)

    @cached_property
    def test_z(self) -> Float[Tensor, "n_test d"]:
        """Codes of the test rows in float64, standardised by the training rows."""
        return self._standardise(in_float64(self.codes[self.test]))

    @cached_property
    def groups(self) -> list[Groups]:
        """Standardised codes of all rows in float32, grouped by the level of every factor."""
        mean, std = mean_and_std(self.codes)
        z = ((self.codes - mean) / torch.where(std > 0, std, 1.0)).float()
        return [Groups.of(z, factor) for factor in self.factors]

    def _standardise(self, codes: Tensor) -> Tensor:
        mean, std = mean_and_std(self.train_codes)
        return (codes - mean) / torch.where(std > 0, std, 1.0)


def split_table(n: int, protocol: SupervisedProtocol, seed: int) -> tuple[Tensor, Tensor]:
    """Return random disjoint training and test rows; fewer rows are split in the same ratio."""
    order = torch.randperm(n, generator=stream(seed, "supervised/split"))
    wanted = protocol.n_train + protocol.n_test
    if n >= wanted:
        return order[: protocol.n_train], order[protocol.n_train : wanted]
    n_train = min(n - 1, max(1, round(n * protocol.n_train / wanted)))
    return order[:n_train], order[n_train:]

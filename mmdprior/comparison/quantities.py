"""The scores in the tables of a comparison: title, format, direction and explanation of each."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = [
    "COST",
    "MATCH",
    "PSNR",
    "R2",
    "RECONSTRUCTION",
    "Quantity",
    "SeedStatistics",
    "dependence_in",
    "lps_in",
    "seed_statistics",
    "semantics_in",
]


@dataclass(frozen=True)
class Quantity:
    """One score, which is one column of a table.

    Attributes:
        tag: TensorBoard tag, without the prefix ``test/``.
        title: head of the column.
        format: format specification of a value.
        better: whether low or high values are better; None if neither is.
        about: explanation in one phrase.
    """

    tag: str
    title: str
    format: str = ".4f"
    better: Literal["low", "high"] | None = None
    about: str = ""


@dataclass(frozen=True)
class SeedStatistics:
    """Mean and standard deviation of a score over seeds.

    Attributes:
        mean: mean over the seeds with a finite value; NaN without any.
        sd: standard deviation, with n - 1 in the denominator; NaN for fewer than two values.
        n: number of finite values.
    """

    mean: float
    sd: float
    n: int

    def text(self, format_spec: str = ".4f") -> str:
        """Return ``mean ± sd``, only the mean for one seed, and an empty text without values."""
        if self.n == 0:
            return ""
        if not math.isfinite(self.sd):
            return f"{self.mean:{format_spec}}"
        return f"{self.mean:{format_spec}} ± {self.sd:{format_spec.lstrip('+')}}"


def seed_statistics(values: Iterable[float]) -> SeedStatistics:
    """Return mean and standard deviation of the finite values.

    Example:
        >>> from mmdprior.comparison.quantities import seed_statistics
        >>> seed_statistics([20.0, 21.0, float("nan")]).text(".1f")
        '20.5 ± 0.7'
    """
    finite = np.array([value for value in values if math.isfinite(value)])
    if not len(finite):
        return SeedStatistics(math.nan, math.nan, 0)
    sd = float(finite.std(ddof=1)) if len(finite) > 1 else math.nan
    return SeedStatistics(float(finite.mean()), sd, len(finite))


RECONSTRUCTION = (
    Quantity(
        "reconstruction/psnr",
        "PSNR (dB)",
        ".2f",
        "high",
        "peak signal-to-noise ratio, -10 log10 of the MSE",
    ),
    Quantity(
        "reconstruction/r2",
        "R2",
        ".4f",
        "high",
        "share of the variance of standardised vectors or signals that their reconstructions explain",
    ),
    Quantity(
        "reconstruction/mse",
        "MSE",
        ".5f",
        "low",
        "squared error per pixel of sampled codes' reconstructions, over all test images, pixels in [0, 1]; "
        "per standardised value of vectors and signals",
    ),
    Quantity(
        "reconstruction/ssim",
        "SSIM",
        ".3f",
        "high",
        "structural similarity of images and reconstructions, 1 if equal",
    ),
)
PSNR, R2 = RECONSTRUCTION[:2]
MATCH = (
    Quantity(
        "match/mmd_standardised",
        "MMD to prior (null sd)",
        "+.1f",
        "low",
        "squared MMD between sampled codes and the intended prior, in standard deviations of the squared "
        "MMD between samples of the prior (null sd), under one fixed kernel; about 0 if the prior is matched",
    ),
    Quantity(
        "match/marginal_distance",
        "largest KS distance",
        ".3f",
        "low",
        "Kolmogorov-Smirnov distance between sampled codes and the prior, in the worst dimension",
    ),
    Quantity(
        "latents/active",
        "active dimensions",
        ".0f",
        None,
        "dimensions that carry information about the image",
    ),
    Quantity(
        "independence/effective_rank",
        "effective rank",
        ".1f",
        "high",
        "number of directions that mean codes use, from the spectrum of their covariance",
    ),
)
COST = (
    Quantity("cost/train_seconds", "training (s)", ".0f", "low", "time of the training steps only"),
    Quantity("cost/steps_per_second", "steps/s", ".1f", "high", "training steps per second"),
    Quantity("cost/steps", "steps", ".0f", None, "training steps"),
    Quantity("cost/parameters", "parameters", ",.0f", None, "parameters of encoder and decoder"),
)
_DEPENDENCE = {
    "total_correlation": (
        "TC, Gaussian (nats)",
        "total correlation of a Gaussian with the codes' covariance",
    ),
    "total_correlation_ranks": (
        "TC of ranks (nats)",
        "the same after each dimension is mapped to a normal one; a lower bound of the total correlation",
    ),
    "covariance_ratio": ("covariance ratio", "sum C_ii^2 / sum C_ij^2, 1 for uncorrelated codes"),
    "mutual_information": ("mean MI (nats)", "mutual information, averaged over pairs"),
    "mutual_information_max": ("max MI (nats)", "mutual information of the most dependent pair"),
    "distance_correlation": ("mean dCor2", "squared distance correlation, averaged over pairs"),
    "distance_correlation_max": ("max dCor2", "squared distance correlation of the most dependent pair"),
    "dhsic_p_value": ("dHSIC p", "p-value of the hypothesis that all dimensions are jointly independent"),
}
"""Title and explanation of the statistics next to LPS, by the last part of their tag."""

_SEMANTICS: dict[str, tuple[str, Literal["low", "high"], str]] = {
    "free_accuracy": (
        "accuracy elsewhere",
        "low",
        "the same share, from the dimensions of no label; low if these are independent of the label",
    ),
    "free_r2": ("R2 elsewhere", "low", "the same R2, from the dimensions of no label"),
    "accuracy": (
        "accuracy",
        "high",
        "share of held-out codes whose label the ten nearest codes in its own dimensions name",
    ),
    "r2": ("R2", "high", "R2 of the mean label of these neighbours"),
}
"""Title, direction and explanation of the scores of a label, by the end of their tag, longer ends first."""

_LPS_PARTS = ("_max", "_null", "_low", "_high", "_p")
"""Endings of tags that belong to an LPS score but are not scores."""
_LPS_ABOUT = (
    "R2 of each code dimension predicted from the others on held-out codes, averaged over dimensions with "
    "negative values as 0; 0 if independent, 1 if fully predictable"
)


def lps_in(tags: Iterable[str]) -> list[Quantity]:
    """Return the LPS scores among tags, those of mean codes first, each by name of the predictor."""
    scores = {tag for tag in tags if tag.startswith("lps/") and not tag.endswith(_LPS_PARTS)}
    ordered = sorted(scores, key=lambda tag: (tag.endswith("_sample"), tag))
    return [Quantity(tag, _lps_title(tag), ".4f", "low", _LPS_ABOUT) for tag in ordered]


def dependence_in(tags: Sequence[str]) -> list[Quantity]:
    """Return the other statistics of dependence among tags, those of mean codes first."""
    return [
        Quantity(f"independence/{name}{end}", f"{title}, {codes}", ".4f", None, about)
        for end, codes in (("", "means"), ("_sample", "samples"))
        for name, (title, about) in _DEPENDENCE.items()
        if f"independence/{name}{end}" in tags
    ]


def semantics_in(tags: Sequence[str]) -> list[Quantity]:
    """Return the scores of labels on chosen dimensions among tags, label by label."""
    found = []
    for tag in tags:
        score = next((key for key in _SEMANTICS if tag.endswith(f"_{key}")), None)
        if tag.startswith("semantics/") and score is not None:
            label = tag.removeprefix("semantics/").removesuffix(f"_{score}")
            title, better, about = _SEMANTICS[score]
            found.append(Quantity(tag, f"{label}: {title}", ".3f", better, about))
    return found


def _lps_title(tag: str) -> str:
    name = tag.removeprefix("lps/")
    codes = "samples" if name.endswith("_sample") else "means"
    return f"LPS {name.removesuffix('_sample')}, {codes}"

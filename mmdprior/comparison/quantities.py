"""The numbers that a comparison shows: titles, formats, directions and what they mean."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["COST", "MATCH", "Quantity", "RECONSTRUCTION", "Spread", "companions_in", "lps_in", "spread"]


@dataclass(frozen=True)
class Quantity:
    """One column of a table.

    Attributes:
        tag: TensorBoard tag, without ``test/``.
        title: of the column.
        format: of a number, as in an f-string.
        better: which end is good, or None.
        about: one sentence for those who meet the number first.
    """

    tag: str
    title: str
    format: str = ".4f"
    better: Literal["low", "high"] | None = None
    about: str = ""


@dataclass(frozen=True)
class Spread:
    """A number over seeds.

    Attributes:
        mean: over the seeds that have it; NaN where none has.
        sd: standard deviation with n - 1; NaN for fewer than two.
        n: seeds that have it.
    """

    mean: float
    sd: float
    n: int

    def text(self, form: str = ".4f") -> str:
        """Return the mean, and the spread where there is one."""
        if self.n == 0:
            return ""
        if not math.isfinite(self.sd):
            return f"{self.mean:{form}}"
        return f"{self.mean:{form}} ± {self.sd:{form.lstrip('+')}}"


def spread(values: Iterable[float]) -> Spread:
    """Return mean and spread of what is finite."""
    there = np.array([value for value in values if math.isfinite(value)])
    if not len(there):
        return Spread(math.nan, math.nan, 0)
    sd = float(there.std(ddof=1)) if len(there) > 1 else math.nan
    return Spread(float(there.mean()), sd, len(there))


RECONSTRUCTION = (
    Quantity(
        "reconstruction/psnr", "PSNR (dB)", ".2f", "high", "-10 log10 of the MSE over all held-out pixels"
    ),
    Quantity(
        "reconstruction/mse",
        "MSE",
        ".5f",
        "low",
        "squared error of a pixel in [0, 1], decoding sampled codes",
    ),
    Quantity(
        "reconstruction/ssim", "SSIM", ".3f", "high", "structural similarity of images and reconstructions"
    ),
)
MATCH = (
    Quantity(
        "match/mmd_standardised",
        "MMD to prior (null sd)",
        "+.1f",
        "low",
        "sampled codes against the intended prior by one fixed kernel, in null standard deviations",
    ),
    Quantity(
        "match/marginal_distance",
        "worst marginal (KS)",
        ".3f",
        "low",
        "largest Kolmogorov-Smirnov distance of a dimension's codes to the prior's marginal",
    ),
    Quantity("latents/active", "active", ".0f", None, "dimensions that carry information about the image"),
    Quantity("independence/effective_rank", "effective rank", ".1f", "high", "of the mean codes' covariance"),
)
COST = (
    Quantity(
        "cost/train_seconds", "training (s)", ".0f", "low", "time in training steps, without validation"
    ),
    Quantity("cost/steps_per_second", "steps/s", ".1f", "high", "updates a second while training"),
    Quantity("cost/steps", "steps", ".0f", None, "updates"),
    Quantity("cost/parameters", "parameters", ",.0f", None, "of encoder and decoder"),
)
_COMPANIONS = {
    "total_correlation": ("TC, Gaussian (nats)", "total correlation if the codes were Gaussian"),
    "total_correlation_ranks": ("TC of ranks (nats)", "the same of rank-Gaussianised codes: a lower bound"),
    "covariance_ratio": ("covariance ratio", "sum C_ii^2 / sum C_ij^2; 1 for uncorrelated codes"),
    "mutual_information": ("mean MI (nats)", "mutual information, averaged over pairs"),
    "mutual_information_max": ("max MI (nats)", "mutual information of the most dependent pair"),
    "distance_correlation": ("mean dCor2", "squared distance correlation, averaged over pairs"),
    "distance_correlation_max": ("max dCor2", "squared distance correlation of the most dependent pair"),
    "dhsic_p_value": ("dHSIC p", "p-value of joint independence"),
}


def lps_in(tags: Iterable[str]) -> list[Quantity]:
    """Return the LPS scores among tags: means first, then samples, each predictor by name."""
    scores = sorted({t for t in tags if t.startswith("lps/") and not t.endswith(_PARTS)}, key=_means_first)
    return [Quantity(tag, _lps_title(tag), ".4f", "low", _LPS_ABOUT) for tag in scores]


def companions_in(tags: Sequence[str]) -> list[Quantity]:
    """Return the companions of LPS among tags."""
    found = []
    for end, codes in (("", "means"), ("_sample", "samples")):
        for name, (title, about) in _COMPANIONS.items():
            if f"independence/{name}{end}" in tags:
                found.append(Quantity(f"independence/{name}{end}", f"{title}, {codes}", ".4f", None, about))
    return found


_PARTS = ("_max", "_null", "_low", "_high", "_p")
_LPS_ABOUT = (
    "how well each code dimension is predicted from the others on held-out codes: 0 independent, "
    "1 predictable"
)


def _means_first(tag: str) -> tuple[bool, str]:
    return tag.endswith("_sample"), tag


def _lps_title(tag: str) -> str:
    name = tag.removeprefix("lps/")
    codes = "samples" if name.endswith("_sample") else "means"
    return f"LPS {name.removesuffix('_sample')}, {codes}"

"""Rare values: LPS and mutual information where the right value is a closed form, and calibration."""

import math

import numpy as np
import torch

from mmdprior import lps
from mmdprior.metrics.pairs import mutual_information
from mmdprior.priors import SpikeAndSlab

_CELLS = 16
"""Cells per dimension of the predictor ``information``."""


def rare(predictors: list[str], n: int, repeats: int) -> None:
    """Print scores of dependent codes next to the right values, then rejections of independent codes.

    The right value of ``information`` is 1 - exp(-2 I). Where a part of the codes is continuous, it is the
    range from the information of the atoms to that with one cell for each of the 15 other cells.
    """
    print(
        f"{'':24}{'information, right':>20}{'MI, right':>12}{'MI':>9}"
        + "".join(f"{p:>13}" for p in predictors)
    )
    for name, (codes, atoms, rest) in _dependent(n).items():
        low, high = (1 - math.exp(-2 * nats) for nats in (atoms, atoms + rest * math.log(_CELLS - 1)))
        right = f"{low:.3f}" if rest == 0 else f"{low:.3f} to {high:.3f}"
        scores = [lps(codes, predictor, null=0, bootstrap=0).score for predictor in predictors]
        pairs = mutual_information(codes)
        nats = f"{atoms:.4f}" if codes.shape[1] == 2 else ""
        print(
            f"{name:24}{right:>20}{nats:>12}{pairs.max:9.4f}" + "".join(f"{score:13.3f}" for score in scores)
        )
    if not repeats:
        return
    print(f"\nindependent codes, {repeats} draws of 1,000 rows: share of p-values up to 0.05")
    for name in _independent(0):
        shares = []
        for predictor in predictors:
            p_values = [
                lps(_independent(seed)[name], predictor, seed=seed, null=0, bootstrap=0).p_value
                for seed in range(repeats)
            ]
            shares.append(np.mean(np.array(p_values) <= 0.05))
        print(
            f"{name:24}"
            + "".join(
                f"{predictor:>13} {share:.3f}" for predictor, share in zip(predictors, shares, strict=True)
            )
        )


def _entropy(*probabilities: float) -> float:
    return -sum(p * math.log(p) for p in probabilities)


def _dependent(n: int) -> dict[str, tuple[torch.Tensor, float, float]]:
    """Return codes, the information of their atoms in nats, and the share of the other values."""
    g = torch.Generator().manual_seed(0)

    def bits(p: float) -> torch.Tensor:
        return (torch.rand(n, 1, generator=g) < p).float()

    def twice(column: torch.Tensor) -> torch.Tensor:
        return column.repeat(1, 2)

    counts = [math.exp(-0.1) * 0.1**k / math.factorial(k) for k in range(9)]
    normal = torch.randn(n, 2, generator=g)
    one_hot = torch.nn.functional.one_hot(torch.randint(20, (n,), generator=g), 20).float()
    return {
        "bits of 5 %": (twice(bits(0.05)), _entropy(0.05, 0.95), 0),
        "bits of 3 %": (twice(bits(0.03)), _entropy(0.03, 0.97), 0),
        "bits of 1 %": (twice(bits(0.01)), _entropy(0.01, 0.99), 0),
        "one-hot of 20": (one_hot, _entropy(0.05, 0.95), 0),
        "Poisson(0.1)": (twice(torch.poisson(torch.full((n, 1), 0.1), generator=g)), _entropy(*counts), 0),
        "spike and slab, 5 %": (twice(SpikeAndSlab(1, 0.05).sample(n, g)), _entropy(0.05, 0.95), 0.05),
        "ReLU, 5 %": (twice((normal[:, :1] - 1.6449).relu()), _entropy(0.05, 0.95), 0.05),
        "zeros in the same 3 %": (normal * (1 - bits(0.03)), _entropy(0.03, 0.97), 0),
    }


def _independent(seed: int) -> dict[str, torch.Tensor]:
    """Return 1,000 independent codes of four dimensions."""
    g = torch.Generator().manual_seed(seed)
    normal, uniform = torch.randn(1000, 4, generator=g), torch.rand(1000, 4, generator=g)
    sparse, clipped = normal * (uniform < 0.1), normal.clamp(-1, 1)
    return {
        "bits of 5 %": (uniform < 0.05).float(),
        "bits of 1 %": (uniform < 0.01).float(),
        "10 % not zero": sparse,
        "ReLU": normal.relu(),
        "Poisson(0.3)": torch.poisson(torch.full((1000, 4), 0.3), generator=g),
        "one column of each": torch.stack(
            [sparse[:, 0], clipped[:, 1], (uniform[:, 2] < 0.05).float(), normal[:, 3]], 1
        ),
    }

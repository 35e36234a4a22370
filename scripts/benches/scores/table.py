"""Every predictor on closed cases with known population values."""

import numpy as np
import torch
from benches.scores.families import closed_cases

from mmdprior import lps


def table(predictors: list[str], n: int) -> None:
    """Print held-out R2_i next to the population values."""
    print(f"n {n}, seed 0; R2_i of every dimension (population)")
    for case in closed_cases():
        codes = case.draw(n, torch.Generator().manual_seed(0))
        print(f"{case.name} {case.level:g}" if case.level else case.name)
        for predictor in predictors:
            result = lps(codes, predictor, null=0, permutations=0, bootstrap=0)
            measured = " ".join(f"{value:7.4f}" for value in result.r2)
            population = " ".join(f"{value:.3f}" for value in case.reach.of(predictor))
            error = np.abs(result.r2 - np.array(case.reach.of(predictor))).max()
            print(
                f"  {predictor:11} {measured}   ({population})  error {error:.4f}  {result.seconds:5.1f} s",
                flush=True,
            )

"""What each kernel sees at n codes a batch: the table in the kernels' documentation."""

import argparse

import torch

from mmdprior import MMD
from mmdprior.kernels import (
    ANOVA,
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    Laplacian,
    Matern32,
    Matern52,
    RationalQuadratic,
    Sliced,
)
from mmdprior.priors import Gaussian
from mmdprior.regularizers.power import detection

KERNELS = {
    "RBF l^2 = d": lambda d: RBF(),
    "RBF l^2 = d^2/2 (MMD-VAE code)": lambda d: RBF(d / 2**0.5),
    "IMQ C = 2d": lambda d: IMQ(),
    "WAE 7-scale IMQ": lambda d: WAE_IMQ(),
    "rational quadratic": lambda d: RationalQuadratic(),
    "Laplacian": lambda d: Laplacian(),
    "Matern 3/2": lambda d: Matern32(),
    "Matern 5/2": lambda d: Matern52(),
    "energy distance": lambda d: Energy(),
    "sliced RBF, whole sphere": lambda d: Sliced(),
    "sliced RBF, 64 directions": lambda d: Sliced(directions=64),
    "ANOVA-2": lambda d: ANOVA(),
    "ANOVA-2, 3 frequencies": lambda d: ANOVA(frequencies=3),
    "ANOVA-2, 2 frequencies": lambda d: ANOVA(frequencies=2),
    "ANOVA-2, 1 frequency": lambda d: ANOVA(frequencies=1),
    "ANOVA-3": lambda d: ANOVA(order=3),
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.py detection", description=__doc__)
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--dims", type=int, nargs="+", default=[10, 32, 128])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    for name, make in KERNELS.items():
        for dim in given.dims:
            # Triples are evaluated pair by pair: as many repeats would take hours.
            repeats = given.repeats if name != "ANOVA-3" else max(20, given.repeats // 20)
            penalty = MMD(Gaussian(dim).to(given.device), make(dim))
            seen = detection(penalty, n=given.n, repeats=repeats)
            values = "  ".join(f"{value:9.2f}" for value in seen.signals.values())
            how = type(penalty.estimator).__name__
            print(f"{name:32s} d={dim:4d} {how:11s} repeats={repeats:5d}  {values}", flush=True)

"""Detection power of each kernel, in null standard deviations: the table in mmdprior/kernels/README.md."""

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
    parser.add_argument("--n", type=int, default=256, help="codes per batch (256)")
    parser.add_argument("--dims", type=int, nargs="+", default=[10, 32, 128], help="latent dimensions")
    parser.add_argument("--repeats", type=int, default=1000, help="batches per kernel and dimension (1000)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    for name, make in KERNELS.items():
        for dim in options.dims:
            # ANOVA-3 evaluates every pair of rows, so the full number of repeats would take hours.
            repeats = options.repeats if name != "ANOVA-3" else max(20, options.repeats // 20)
            penalty = MMD(Gaussian(dim).to(options.device), make(dim))
            power = detection(penalty, n=options.n, repeats=repeats)
            values = "  ".join(f"{value:9.2f}" for value in power.signals.values())
            estimator = type(penalty.estimator).__name__
            print(f"{name:32s} d={dim:4d} {estimator:11s} repeats={repeats:5d}  {values}", flush=True)

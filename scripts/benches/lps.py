"""LPS against scikit-learn, and against codes whose dependence is known.

bench.py lps               # time against scikit-learn looped over dimensions
bench.py lps --table       # every predictor on closed cases, beside the population's values
bench.py lps --calibrate   # how often p-values and intervals are right
bench.py lps --validate    # bias, spread and ranks on families of known dependence; trained models; a figure
"""

import argparse
from pathlib import Path

from benches.scores.calibration import EXACT, calibrate
from benches.scores.speed import speed
from benches.scores.table import table
from benches.scores.validation import validate

ALL = [*EXACT, "mlp", "experts", "information"]
FIGURE = Path(__file__).parent / "figures" / "lps_validation.png"


def main(arguments: list[str]) -> None:
    """Parse arguments; the sizes and predictors that are not given depend on the part."""
    parser = argparse.ArgumentParser(
        prog="bench.py lps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    part = parser.add_mutually_exclusive_group()
    for name in ("table", "calibrate", "validate"):
        part.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--predictor", nargs="+", choices=ALL)
    parser.add_argument("--dims", nargs="+", type=int)
    parser.add_argument("--sizes", nargs="+", type=int, help="numbers of codes")
    parser.add_argument("--repeats", type=int, help="of each family in each cell")
    parser.add_argument(
        "--codes", nargs="*", help=".npy to time mlp on; or checkpoints and codes to validate on"
    )
    parser.add_argument("--limit", type=int, help="codes of each to validate on, evenly spaced")
    parser.add_argument("--images", help="image folder; mlp is timed on PCA codes of its train/")
    parser.add_argument("--against", nargs="+", default=["mlp", "ridge"], choices=["mlp", "ridge"])
    parser.add_argument("--looped", type=int, metavar="K", help="time scikit-learn on K dimensions and scale")
    parser.add_argument("--out", default="runs/lps_validation.json", help="results; what is there is kept")
    parser.add_argument("--figure", default=str(FIGURE), help="where it goes; empty for none")
    given = parser.parse_args(arguments)
    if given.table:
        table(given.predictor or ALL, (given.sizes or [20_000])[0])
    elif given.calibrate:
        calibrate(
            given.predictor or EXACT,
            given.dims or [8, 64],
            given.sizes or [2000, 20_000],
            given.repeats or 50,
        )
    elif given.validate:
        given.predictor, given.dims = given.predictor or ALL, given.dims or [8, 32]
        given.sizes, given.repeats = given.sizes or [500, 2000, 8000], given.repeats or 2
        validate(given)
    else:
        speed(given)

"""LPS against scikit-learn, and on codes with known dependence.

bench.py lps               # time against scikit-learn looped over dimensions
bench.py lps --table       # every predictor on closed cases, with the population values
bench.py lps --calibrate   # calibration of p-values and intervals
bench.py lps --few-rows    # coverage of intervals with 20 to 1,000 rows, and with rare values
bench.py lps --rare        # rare values: right values, and rejections with --repeats 200
bench.py lps --groups      # calibration with groups of dependent rows, and without them
bench.py lps --validate    # bias, spread and ranks on known dependences; trained models; a figure
"""

import argparse
from pathlib import Path

from benches.scores.calibration import EXACT, calibrate, calibrate_groups
from benches.scores.few_rows import few_rows
from benches.scores.rare import rare
from benches.scores.speed import speed
from benches.scores.table import table
from benches.scores.validation import validate

AGAINST = ["mlp", "classifier", "ridge"]
"""Models of scikit-learn: MLPRegressor, MLPClassifier and Ridge."""
ALL = [*EXACT, "mlp", "experts", "information"]
FIGURE = Path(__file__).parent / "figures" / "lps_validation.png"


def main(arguments: list[str]) -> None:
    """Parse arguments. Default sizes and predictors depend on the part."""
    parser = argparse.ArgumentParser(
        prog="bench.py lps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    part = parser.add_mutually_exclusive_group()
    for name in ("table", "calibrate", "few-rows", "rare", "groups", "validate"):
        part.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--predictor", nargs="+", choices=ALL)
    parser.add_argument("--dims", nargs="+", type=int)
    parser.add_argument("--sizes", nargs="+", type=int, help="numbers of codes")
    parser.add_argument("--repeats", type=int, help="draws per family and size")
    parser.add_argument(
        "--codes", nargs="*", help=".npy to time mlp on; or checkpoints and codes to validate on"
    )
    parser.add_argument("--limit", type=int, help="codes per file to validate on, evenly spaced")
    parser.add_argument(
        "--images", help="image folder; mlp is timed on PCA codes of the images in its train/"
    )
    parser.add_argument("--against", nargs="+", default=AGAINST, choices=AGAINST)
    parser.add_argument("--looped", type=int, metavar="K", help="time scikit-learn on K dimensions and scale")
    parser.add_argument(
        "--out", default="runs/lps_validation.json", help="JSON of results; existing entries are kept"
    )
    parser.add_argument("--figure", default=str(FIGURE), help="file of the figure; empty for none")
    options = parser.parse_args(arguments)
    if options.table:
        table(options.predictor or ALL, (options.sizes or [20_000])[0])
    elif options.calibrate:
        calibrate(
            options.predictor or EXACT,
            options.dims or [8, 64],
            options.sizes or [2000, 20_000],
            options.repeats or 50,
        )
    elif options.rare:
        rare(
            options.predictor or ["information", "additive"],
            (options.sizes or [8000])[0],
            options.repeats or 0,
        )
    elif options.groups:
        calibrate_groups(options.predictor or EXACT, options.dims or [8], options.repeats or 200)
    elif options.few_rows:
        few_rows(
            options.predictor or EXACT,
            options.dims or [2, 8, 32],
            options.sizes or [20, 30, 50, 100, 300, 1000],
            options.repeats or 400,
        )
    elif options.validate:
        options.predictor, options.dims = options.predictor or ALL, options.dims or [8, 32]
        options.sizes, options.repeats = options.sizes or [500, 2000, 8000], options.repeats or 2
        validate(options)
    else:
        speed(options)

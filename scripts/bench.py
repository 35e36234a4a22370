#!/usr/bin/env python3
"""Measure the package: each command prints what it measured and how."""

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_experts import experts
from bench_lps import scores

Options = list[tuple[str, dict[str, Any]]]
COMMANDS: list[tuple[str, Callable[[argparse.Namespace], None], Options]] = [
    (
        "experts",
        experts,
        [
            ("--seeds", {"type": int, "default": 20}),
            ("--n", {"type": int, "default": 2000}),
            ("--dim", {"type": int, "default": 10}),
            ("--experts", {"type": int, "default": 4, "help": "K of the second part"}),
        ],
    ),
    (
        "lps",
        scores,
        [
            ("--images", {"help": "an image folder; mlp is timed on principal components of its train/"}),
            ("--codes", {"help": "or a .npy of codes"}),
            ("--calibrate", {"action": "store_true", "help": "levels and coverage instead of speed"}),
            ("--predictor", {"nargs": "+", "default": ["linear", "additive"]}),
            ("--dims", {"nargs": "+", "type": int, "default": [8, 64]}),
            ("--sizes", {"nargs": "+", "type": int, "default": [2000, 20_000]}),
            ("--repeats", {"type": int, "default": 50, "help": "of each family in each cell"}),
        ],
    ),
]


def main() -> None:
    """Parse and run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, function, options in COMMANDS:
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(run=function)
        for flag, settings in options:
            command.add_argument(flag, **settings)
    given = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    given.run(given)


if __name__ == "__main__":
    main()

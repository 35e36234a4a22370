"""Benchmarks, as ratios within one run to what a user would otherwise use.

python scripts/bench.py mmd          # time and peak memory of every form of the penalty
python scripts/bench.py detection    # detection power of each kernel
"""

import importlib
import sys
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

NAMES = sorted(path.stem for path in (Path(__file__).parent / "benches").glob("[a-z]*.py"))


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"usage: bench.py {{{','.join(NAMES)}}} ...   (bench.py NAME --help for each)")
        return 2
    warnings.simplefilter("ignore", UserWarning)
    return int(importlib.import_module(f"benches.{sys.argv[1]}").main(sys.argv[2:]) or 0)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Run `mmdprior quantise` from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmdprior.cli.quantise import main
from mmdprior.cli.run import run

if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))

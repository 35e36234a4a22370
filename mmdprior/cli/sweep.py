"""Run a sweep: a grid or a list of settings with their seeds, resumable, ending in one table."""

from collections.abc import Sequence

from mmdprior.cli import plan

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Hand the arguments to what studies and sweeps share."""
    return plan.main("sweep", arguments, __doc__)

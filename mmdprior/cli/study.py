"""Run a study: named configs with their seeds, resumable, ending in one table."""

from collections.abc import Sequence

from mmdprior.cli import plan

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Hand the arguments to what studies and sweeps share."""
    return plan.main("study", arguments, __doc__)

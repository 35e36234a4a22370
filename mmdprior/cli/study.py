"""Run a study: named configs, each with its seeds. Running it again continues it; it ends in one table."""

from collections.abc import Sequence

from mmdprior.cli import plan

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; see `mmdprior.cli.plan`."""
    return plan.main("study", arguments, __doc__)

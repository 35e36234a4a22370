"""Run a sweep: a grid or a list of settings, each with its seeds. Running it again continues it."""

from collections.abc import Sequence

from mmdprior.cli import plan

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; see `mmdprior.cli.plan`."""
    return plan.main("sweep", arguments, __doc__)

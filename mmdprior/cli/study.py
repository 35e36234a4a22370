"""Run a study: named configs, each with its seeds. Running it again continues it; it ends in one table."""

from collections.abc import Sequence

from mmdprior.cli import plan
from mmdprior.cli.parser import parse
from mmdprior.cli.plan_options import add_options

__all__ = ["add_options", "main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; see `mmdprior.cli.plan`."""
    return plan.main("study", parse("study", add_options, arguments, __doc__))

"""The options that the commands study and sweep share."""

from mmdprior.cli.options import positive
from mmdprior.cli.parser import Parser

__all__ = ["add_options"]


def add_options(parser: Parser) -> None:
    """Add the options of both commands to a parser."""
    add = parser.add_argument
    add(
        "plan",
        nargs="?",
        help="YAML plan, or the name of a shipped one, such as paper/cifar10_d32",
    )
    add("overrides", nargs="*", metavar="key.sub=value", help="changes to every run")
    add("--runs", metavar="DIR", default="runs", help="folder in which the plan's folder is made")
    add("--jobs", type=positive, help="runs at a time (default: one per CUDA device, otherwise one)")
    add("--dry-run", action="store_true", help="print the state of every run, and run nothing")
    add("--emit", action="store_true", help="print one command per run, and run nothing")
    add("--table", action="store_true", help="compare the finished runs, and run nothing")
    add("--rows", metavar="FILE", help="file of scores; runs with a line in it are skipped")
    add("--schema", action="store_true", help="print the JSON schema of plans and exit")

"""Options of several values that may be given several times."""

import argparse
from typing import Any

__all__ = ["Repeatable"]


class Repeatable(argparse.Action):
    """All values of an option: ``--predictor mlp --predictor linear`` gives both.

    The first use replaces the default. Later uses append to it.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        """Store the values of one use."""
        known = getattr(namespace, self.dest)
        setattr(namespace, self.dest, list(values) if known is self.default else [*known, *values])

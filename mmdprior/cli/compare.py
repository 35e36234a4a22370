"""Compare finished runs: who enforced its prior, whose codes are independent, what it cost."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, complete what is lacking if asked, print the table, write the page if asked."""
    from mmdprior.comparison import read_runs
    from mmdprior.runs.complete import complete
    from mmdprior.training.checkpoint import versions

    parser = Parser("compare", description=__doc__)
    parser.add_argument("runs", nargs="+", help="run directories, or folders that hold some at any depth")
    parser.add_argument("--out", metavar="DIR", help="write index.html, comparison.md, comparison.json here")
    parser.add_argument("--tensorboard", action="store_true", help="write overlays to DIR/tensorboard")
    parser.add_argument("--complete", action="store_true", help="fill what runs lack, from their checkpoints")
    parser.add_argument("--data", help="for --complete: where the data lie now, if not where they lay")
    parser.add_argument("--device", default="auto", help="for --complete")
    parser.add_argument("--trust", action="store_true", help="for --complete: run targets in checkpoints")
    given = parser.parse_args(arguments)
    if given.tensorboard and not given.out:
        raise InputError("--tensorboard: it is written below --out; give --out DIR")
    failed = 0
    found = read_runs(given.runs)
    if given.complete:
        for run in found.runs:
            if run.missing:
                try:
                    complete(run, data=given.data, device=given.device, trust=given.trust)
                except (InputError, OSError, RuntimeError, MemoryError) as error:
                    print(f"error: {run.directory}: {' '.join(str(error).split())}", file=sys.stderr)
                    failed += 1
        found = read_runs(given.runs)
    print(found)
    if given.out:
        command = shlex.join(["mmdprior", "compare", *arguments])
        print(f"page {found.write(given.out, command=command, versions=versions())}")
    if given.tensorboard:
        found.write_tensorboard(Path(given.out) / "tensorboard")
        print(f"tensorboard --logdir {Path(given.out) / 'tensorboard'}")
    return 2 if found.errors or failed else 0

"""Compare finished runs: prior matched? codes independent? at what cost in reconstruction?"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import Parser, add_device, print_error
from mmdprior.errors import InputError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print the table of runs; write the page, the overlays and missing reports where the options ask."""
    from mmdprior.comparison import read_runs, select, write_page, write_tensorboard
    from mmdprior.runs.complete import complete
    from mmdprior.training.checkpoint import versions

    parser = Parser("compare", description=__doc__)
    parser.add_argument("runs", nargs="+", help="run directories, or folders that contain some at any depth")
    parser.add_argument(
        "--out", metavar="DIR", help="write index.html, comparison.md and comparison.json here"
    )
    parser.add_argument("--json", metavar="OUT", help="write every score of every run here")
    parser.add_argument("--select", action="store_true", help="correlate scores without and with labels")
    parser.add_argument("--tensorboard", action="store_true", help="write overlays to DIR/tensorboard")
    parser.add_argument("--complete", action="store_true", help="write missing reports, from the checkpoints")
    parser.add_argument("--data", help="for --complete: where the data are now, if they moved")
    add_device(parser, trust="the checkpoints")
    options = parser.parse_args(arguments)
    if options.tensorboard and not options.out:
        raise InputError("--tensorboard: needs a folder; give --out DIR")
    failed = 0
    comparison = read_runs(options.runs)
    if options.complete:
        for run in comparison.runs:
            if run.missing:
                try:
                    complete(run, data=options.data, device=options.device, trust=options.trust)
                except (InputError, OSError, RuntimeError, MemoryError) as error:
                    print_error(f"error: {run.directory}: {' '.join(str(error).split())}")
                    failed += 1
        comparison = read_runs(options.runs)
    print(comparison)
    if options.select:
        print(f"\n{select(comparison.groups)}")
    if options.json:
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(comparison.to_json() + "\n", encoding="utf-8")
    if options.out:
        command = shlex.join(["mmdprior", "compare", *arguments])
        print(f"page {write_page(comparison, options.out, command=command, versions=versions())}")
    if options.tensorboard:
        overlays = Path(options.out) / "tensorboard"
        print(f"tensorboard --logdir {write_tensorboard(comparison, overlays)}")
    return 2 if comparison.errors or failed else 0

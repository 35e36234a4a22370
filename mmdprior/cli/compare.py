"""Compare finished runs: prior matched? codes independent? at what cost in reconstruction?"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.compare_options import add_options, check
from mmdprior.cli.options import print_error
from mmdprior.cli.parser import parse
from mmdprior.errors import InputError, in_one_line

__all__ = ["add_options", "main"]


def main(arguments: Sequence[str]) -> int:
    """Print the table of runs; write the page, the overlays and missing reports where the options ask."""
    options = check(parse("compare", add_options, arguments, __doc__))
    from mmdprior.comparison import read_runs, select, write_page, write_tensorboard
    from mmdprior.runs.complete import complete
    from mmdprior.training.checkpoint import versions

    failed = 0
    comparison = read_runs(options.runs)
    if options.complete:
        for run in comparison.runs:
            if run.missing:
                try:
                    complete(run, data=options.data, device=options.device, trust=options.trust)
                except (InputError, OSError, RuntimeError, MemoryError) as error:
                    print_error(f"error: {run.directory}: {in_one_line(error)}")
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

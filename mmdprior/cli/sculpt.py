"""Give a checkpoint or a file of codes another prior by an invertible map. PSNR does not change."""

from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.options import print_error
from mmdprior.cli.parser import parse
from mmdprior.cli.sculpt_options import add_options, check

__all__ = ["add_options", "main"]


def main(arguments: Sequence[str]) -> int:
    """Fit the map, write it, and print scores of held-out codes before and after."""
    options = check(parse("sculpt", add_options, arguments, __doc__))
    from mmdprior.runs.complete import make_run
    from mmdprior.scoring.sculpt import sculpt
    from mmdprior.training.retention import last_checkpoint

    out = Path(options.out)
    is_run = out.suffix != ".pt"
    result = sculpt(options, last_checkpoint(out) if is_run else out, lambda line: print_error(line))
    print(result)
    if is_run:
        make_run(out, command=["mmdprior", "sculpt", *arguments], device=options.device)
    if options.json:
        Path(options.json).write_text(result.to_json() + "\n")
    return 0

"""Give a checkpoint or a file of codes another prior by an invertible map. PSNR does not change."""

from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli import sculpt_options
from mmdprior.cli.parser import print_error

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Fit the map, write it, and print scores of held-out codes before and after."""
    options = sculpt_options.parse(arguments, __doc__)
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

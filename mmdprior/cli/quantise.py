"""Quantise the codes of a model: bits per image, PSNR, and LPS of the indices, by number of levels."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import parse
from mmdprior.cli.quantise_options import add_options, check

__all__ = ["add_options", "main"]


def main(arguments: Sequence[str]) -> int:
    """Print a row per number of levels, or write packed indices, or decode them."""
    options = check(parse("quantise", add_options, arguments, __doc__))
    from mmdprior.build.restore import open_checkpoint
    from mmdprior.scoring.foreign_pair import pair_of
    from mmdprior.scoring.quantise import CodeQuantiser

    is_pair = options.source is None
    run = (
        pair_of(options)
        if is_pair
        else open_checkpoint(options.source, device=options.device, trust=options.trust)
    )
    if options.decode:
        return _decode(options, run)
    quantiser = CodeQuantiser(
        options.levels,
        options.bins,
        options.predictor,
        None if is_pair else options.data,  # the data of the pair are those of its config
        options.limit,
        options.seed,
    )
    if options.out:
        bits = quantiser.pack(run, options.out, options.split)
        print(f"{bits} bits per image in {options.out}")
    else:
        result = quantiser.run(run)
        print(result)
        if options.json:
            Path(options.json).parent.mkdir(parents=True, exist_ok=True)
            Path(options.json).write_text(result.to_json() + "\n")
    return 0


def _decode(options: argparse.Namespace, run: object) -> int:
    """Write the images of packed indices."""
    import numpy as np

    from mmdprior.scoring.quantise import decode_packed

    images = decode_packed(run, options.decode)  # type: ignore[arg-type]
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    np.save(options.out, images.numpy())
    print(f"{len(images)} decoded images in {options.out}")
    return 0

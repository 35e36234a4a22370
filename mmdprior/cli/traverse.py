"""Draw what each latent dimension of a checkpoint does; of several, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdprior.cli.parser import Parser, positive

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, decode, write a grid and an animation a checkpoint, and all grids side by side."""
    from mmdprior.build.restore import open_checkpoint
    from mmdprior.evaluation import encode
    from mmdprior.figures import PriorShape, side_by_side, traverse
    from mmdprior.figures.style import save_pixels
    from mmdprior.metrics import active_dimensions
    from mmdprior.naming import short_names

    parser = Parser("traverse", description=__doc__)
    parser.add_argument("checkpoints", nargs="+", help="checkpoints, or run directories")
    parser.add_argument("--out", default="traversals", metavar="DIR", help="folder (traversals)")
    parser.add_argument("--rows", type=positive, default=16, help="dimensions, the most used first (16)")
    parser.add_argument("--columns", type=positive, default=9, help="quantiles of the prior (9)")
    parser.add_argument("--data", help="other images to start from: a folder, .npz, .npy, or a YAML section")
    parser.add_argument("--no-data", action="store_true", help="start from the prior's median")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--trust", action="store_true", help="run targets named in the checkpoints")
    given = parser.parse_args(arguments)
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    names, drawn = short_names(given.checkpoints), {}
    for path in dict.fromkeys(given.checkpoints):
        opened = open_checkpoint(path, device=given.device, trust=given.trust)
        known: dict[str, Any] = {"rows": given.rows, "columns": given.columns, "device": opened.device}
        if not given.no_data:
            latent = encode(opened.model, opened.images(given.data, limit=2000), device=opened.device).latent
            known |= {"codes": latent.mean, "active": active_dimensions(latent)}
        name = names[path].replace("/", "_").removesuffix(".pt")
        drawn[name] = traverse(opened.model, PriorShape.of(opened.prior), **known)
        print(save_pixels(drawn[name].figure(name), out / f"{name}.png"))
        print(drawn[name].save_gif(out / f"{name}.gif"))
    if len(drawn) > 1:
        print(save_pixels(side_by_side(drawn), out / "side_by_side.png"))
    return 0

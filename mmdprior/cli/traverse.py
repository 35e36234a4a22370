"""Draw what each latent dimension of a checkpoint changes; several checkpoints are drawn side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdprior.cli.options import add_device, positive
from mmdprior.cli.parser import Parser, parse

__all__ = ["add_options", "main"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    add = parser.add_argument
    add("checkpoints", nargs="+", help="checkpoints, or run directories")
    add("--out", default="traversals", metavar="DIR", help="folder")
    add("--rows", type=positive, default=16, help="dimensions drawn, largest change first")
    add("--columns", type=positive, default=9, help="quantiles of the prior per dimension")
    add("--factor", metavar="LABEL", help="vary a label of a conditional prior, not single dimensions")
    add("--data", help="other images to start from: a folder, .npz, .npy, or a YAML section")
    add("--no-data", action="store_true", help="start from the median of the prior")
    add_device(parser, trust="the checkpoints")


def main(arguments: Sequence[str]) -> int:
    """Write one grid and one animation per checkpoint, and all grids side by side."""
    options = parse("traverse", add_options, arguments, __doc__)
    from mmdprior.build.restore import open_checkpoint
    from mmdprior.evaluation import FactorScores, encode
    from mmdprior.figures import PriorShape, factors_followed, label_figure, side_by_side, traverse
    from mmdprior.figures.style import save_figure
    from mmdprior.metrics import active_dimensions
    from mmdprior.naming import short_names

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    names, drawn, score = short_names(options.checkpoints), {}, FactorScores(["mig"], chance=0)
    for path in dict.fromkeys(options.checkpoints):
        run = open_checkpoint(path, device=options.device, trust=options.trust)
        followed: tuple[str, ...] = ()
        settings: dict[str, Any] = {"rows": options.rows, "columns": options.columns, "device": run.device}
        if not options.no_data:
            codes = encode(run.model, run.images(options.data, 2000), device=run.device)
            settings |= {"codes": codes.latent.mean, "active": active_dimensions(codes.latent)}
            supervised = score(codes)
            followed = factors_followed(supervised) if supervised else ()
        name = names[path].replace("/", "_").removesuffix(".pt")
        if options.factor is not None:
            settings.pop("active", None)
            figure = label_figure(run.model, run.prior, options.factor, **settings)
            print(save_figure(figure, out / f"{name}_{options.factor}.png"))
            continue
        drawn[name] = traverse(run.model, PriorShape.of(run.prior), **settings).named(followed)
        print(save_figure(drawn[name].figure(name), out / f"{name}.png"))
        print(drawn[name].save_gif(out / f"{name}.gif"))
    if len(drawn) > 1:
        print(save_figure(side_by_side(drawn), out / "side_by_side.png"))
    return 0

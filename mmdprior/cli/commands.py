"""All commands, and a parser that has them all."""

import importlib

from mmdprior import __version__
from mmdprior.cli.completion import add_completion
from mmdprior.cli.options import add_verbosity
from mmdprior.cli.parser import Parser

__all__ = ["COMMANDS", "get_parser"]

COMMANDS = {
    "init": "write a commented config to start from",
    "train": "train from a YAML config, or resume a run",
    "score": "score checkpoints, files of codes or other encoders with LPS",
    "encode": "write the codes of a data set, from a checkpoint",
    "compare": "compare finished runs: table, page, TensorBoard overlays",
    "traverse": "draw what each latent dimension of a checkpoint changes",
    "sample": "decode draws from a prior",
    "sculpt": "give a checkpoint or codes another prior, at the same PSNR",
    "quantise": "quantise the codes of a checkpoint: bits against PSNR",
    "prior": "draw samples of a prior and estimate the power of the penalty",
    "study": "run a study: named configs, each with its seeds",
    "sweep": "run a sweep: a grid or a list of settings, each with its seeds",
}
"""Commands with a one-line description each."""


def get_parser() -> Parser:
    """Return a parser with all commands: for the help, and for the completion of shells."""
    parser = Parser(
        prog="mmdprior",
        usage="mmdprior COMMAND ...",
        description="Autoencoders with programmable priors, and LPS, a score of any latent codes.",
        epilog="mmdprior COMMAND --help lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"mmdprior {__version__}")
    add_completion(parser)
    commands = parser.add_subparsers(
        title="commands", prog="mmdprior", metavar="COMMAND", required=True, parser_class=Parser
    )
    for name, line in COMMANDS.items():
        module = importlib.import_module(f"mmdprior.cli.{name}")
        command = commands.add_parser(name, help=line, description=module.__doc__)
        module.add_options(command)
        add_verbosity(command)
    return parser

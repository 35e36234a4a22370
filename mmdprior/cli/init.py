"""Write a commented config to start from: a copy of one that the package ships, with every key explained."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmdprior.cli.parser import Parser, parse
from mmdprior.errors import InputError

__all__ = ["add_options", "main"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    add = parser.add_argument
    add("name", nargs="?", default="quickstart", help="shipped config, such as cifar10/vae, or a YAML file")
    add("--out", metavar="FILE", help="file to write (default: the last part of the name, with .yaml)")
    add("--list", action="store_true", help="print the names of the shipped configs and exit")


def main(arguments: Sequence[str]) -> int:
    """Write the config, unless the file exists."""
    options = parse("init", add_options, arguments, __doc__)
    from mmdprior.config.base import shipped_names
    from mmdprior.config.template import commented

    if options.list:
        print("\n".join(shipped_names()))
        return 0
    out = Path(options.out or f"{PurePosixPath(options.name).stem}.yaml")
    if out.exists():
        raise InputError(f"--out: {out} exists; give another file")
    text = commented(options.name, str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"config {out}, a commented copy of {options.name}")
    print(f"check  mmdprior train {out} --dry-run")
    print(f"train  mmdprior train {out}")
    return 0

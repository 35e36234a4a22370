"""Bijections in files: their description as plain values, and their numbers. No code is stored or run."""

import io
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from mmdprior.errors import InputError, reason
from mmdprior.flows.bijection import Bijection, Blocks, Chain, Inverse
from mmdprior.flows.coupling import AffineCoupling, SplineCoupling
from mmdprior.flows.exact import BallMap, MixtureMap
from mmdprior.flows.linear import ActNorm, FixedLinear, InvertibleLinear, Permutation
from mmdprior.flows.marginals import MarginalMap, marginal_from_spec
from mmdprior.flows.positions import PerPosition
from mmdprior.flows.spline import MonotoneSpline
from mmdprior.torch_files import load_torch_file

__all__ = ["bijection_from_spec", "is_bijection_file", "load_bijection", "save_bijection"]

_FORMAT, _VERSION = "mmdprior bijection", 1

_PLAIN: Mapping[str, type[Bijection]] = {
    kind.__name__: kind
    for kind in (
        ActNorm,
        AffineCoupling,
        BallMap,
        FixedLinear,
        InvertibleLinear,
        MonotoneSpline,
        Permutation,
        SplineCoupling,
    )
}
"""Classes whose constructor takes the entries of their spec."""


def bijection_from_spec(spec: Mapping[str, Any]) -> Bijection:
    """Return a bijection from the plain values of `Bijection.spec`; a state dict restores its numbers.

    Args:
        spec: class name and arguments.

    Raises:
        InputError: an unknown class, or arguments that it does not accept.

    Example:
        >>> from mmdprior.flows import bijection_from_spec, coupling_flow
        >>> flow = coupling_flow(4, layers=2, hidden=[8])
        >>> copy = bijection_from_spec(flow.spec())
        >>> copy.load_state_dict(flow.state_dict())
        <All keys matched successfully>
    """
    arguments = {key: value for key, value in spec.items() if key != "name"}
    name = spec.get("name")
    try:
        match name:
            case "Chain":
                return Chain([bijection_from_spec(part) for part in spec["parts"]])
            case "Blocks":
                return Blocks([bijection_from_spec(part) for part in spec["parts"]], spec["dims"])
            case "Inverse":
                return Inverse(bijection_from_spec(spec["base"]))
            case "PerPosition":
                return PerPosition(bijection_from_spec(spec["base"]))
            case "MarginalMap":
                return MarginalMap([marginal_from_spec(marginal) for marginal in spec["marginals"]])
            case "MixtureMap":
                return MixtureMap(**{key: torch.tensor(value) for key, value in arguments.items()})
            case _ if name in _PLAIN:
                return _PLAIN[str(name)](**arguments)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"spec: {name} with arguments that it does not accept ({reason(error)})") from None
    raise InputError(f"spec: {name!r} received; expected the name of a bijection of this package")


def save_bijection(
    bijection: Bijection, path: str | PathLike[str], report: Mapping[str, Any] | None = None
) -> None:
    """Write a bijection to a file, for `load_bijection` and ``mmdprior.load``.

    Args:
        bijection: bijection whose parts are all of this package.
        path: file to write or replace, in an existing folder.
        report: further plain values, such as those of ``FittedBijection.to_dict()``.

    Raises:
        InputError: a part cannot be described, or the file cannot be written.

    Example:
        >>> from mmdprior.flows import Permutation, load_bijection, save_bijection
        >>> save_bijection(Permutation([1, 0]), "swap.pt")
        >>> load_bijection("swap.pt").order.tolist()
        [1, 0]
    """
    state = {key: value.cpu() for key, value in bijection.state_dict().items()}
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "spec": bijection.spec(),
        "state": state,
        "report": dict(report or {}),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(buffer.getvalue())
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"{path}: not written ({error.strerror}); give a writable path") from error
    finally:
        temporary.unlink(missing_ok=True)


def is_bijection_file(path: str | PathLike[str]) -> bool:
    """Return whether `save_bijection` wrote a file.

    Args:
        path: any existing file.
    """
    try:
        content = load_torch_file(path)
    except InputError:
        return False
    return isinstance(content, dict) and content.get("format") == _FORMAT


def load_bijection(path: str | PathLike[str], device: torch.device | str = "cpu") -> Bijection:
    """Return the bijection in a file, in evaluation mode. Nothing in the file runs.

    Args:
        path: file that `save_bijection` wrote.
        device: device of the returned bijection.

    Raises:
        InputError: the file is missing, damaged, of another kind or of a newer version.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give a file that save_bijection wrote")
    try:
        content = load_torch_file(path)
    except InputError as error:
        problem = str(error).removeprefix(f"{path}: ")
        raise InputError(
            f"{path}: damaged, or not a bijection ({problem}); give a file that save_bijection wrote"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(f"{path}: not a bijection; give a file that save_bijection wrote")
    if content["version"] > _VERSION:
        raise InputError(
            f"{path}: version {content['version']} received; expected at most {_VERSION}; update mmdprior"
        )
    bijection = bijection_from_spec(content["spec"])
    try:
        bijection.load_state_dict(content["state"])
    except RuntimeError as error:
        raise InputError(
            f"{path}: state dict does not match the bijection ({reason(error)}); save the bijection again"
        ) from None
    return bijection.to(device).eval()

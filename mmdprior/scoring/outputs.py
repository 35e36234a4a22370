"""What encoders return, as means and log-variances: tensors, pairs, dicts, distributions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from mmdprior.choices import PosteriorName, Spatial
from mmdprior.errors import InputError, reason, shorten

__all__ = ["Moments", "read_outputs", "squeezed", "without_positions"]

_Spread = Literal["log_var", "var", "std", "log_std"]

_MEANS = (
    "mean",
    "means",
    "mu",
    "loc",
    "z_mean",
    "mean_z",
    "z_mu",
    "mu_z",
    "latent_mean",
    "posterior_mean",
    "qz_m",
)
_CODES = (
    *("code", "codes", "embedding", "embeddings", "encoded", "features", "image_embeds", "last_hidden_state"),
    *("latent", "latents", "pooler_output", "representation", "z"),
)
_SPREADS: Mapping[_Spread, Sequence[str]] = {
    "log_var": ("log_var", "logvar", "log_variance", "log_covariance", "z_log_var", "z_logvar", "logvar_z"),
    "var": ("var", "variance", "covariance", "qz_v"),
    "std": ("std", "stddev", "sigma", "scale", "z_std", "z_sigma"),
    "log_std": ("log_std", "log_sigma", "logsigma", "log_scale"),
}


@dataclass(frozen=True)
class Moments:
    """Means and log-variances of codes.

    Attributes:
        mean: (n, d) means or codes, or with positions (n, c, height, width) or (n, length, d).
        log_var: log-variances of the same shape; None for deterministic codes.
        note: how outputs without names were read; empty if nothing was assumed.
    """

    mean: Tensor
    log_var: Tensor | None = None
    note: str = ""


def read_outputs(outputs: Any, posterior: PosteriorName | None = None, chosen: Sequence[str] = ()) -> Moments:
    """Return the means and log-variances in what an encoder returned.

    Args:
        outputs: a tensor; a pair of means and log-variances or standard deviations; a dict, named tuple, data
            class or ``ModelOutput`` with names such as ``mean`` and ``log_var``; or a distribution.
        posterior: meaning of outputs without names. None reads a tensor as codes, and a pair as means and
            log-variances, or as means and standard deviations if the second is nowhere negative.
        chosen: names or positions, from 0, of the codes, or of means and log-variances, among the outputs.

    Raises:
        InputError: it is unclear which of the outputs are codes.

    Example:
        >>> import torch
        >>> from mmdprior.scoring.outputs import read_outputs
        >>> images, mean, log_var = torch.zeros(5, 1, 8, 8), torch.zeros(5, 3), torch.full((5, 3), -1.0)
        >>> read_outputs((mean, log_var)).note
        'read as (mean, log_var)'
        >>> read_outputs({"mu": mean, "std": torch.ones(5, 3)}).log_var.max()
        tensor(0.)
        >>> read_outputs((images, mean, log_var), chosen=["1", "2"]).mean.shape
        torch.Size([5, 3])
    """
    if isinstance(outputs, Tensor) and not chosen:
        return _of_tensor(outputs, posterior)
    if _is_distribution(outputs):
        return _of_distribution(outputs, posterior)
    named = _named(outputs)
    if named is None:
        raise InputError(f"{type(outputs).__name__} returned; return a tensor (n, outputs)")
    if chosen:
        picked = [_picked(named, name) for name in chosen]
        if len(picked) == 1:
            return read_outputs(picked[0], posterior)
        return _of_pair(picked[0], picked[1], posterior, named)
    distributions = [value for value in named.values() if _is_distribution(value)]
    if len(distributions) == 1:
        return _of_distribution(distributions[0], posterior)
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor) and value.ndim > 1}
    if len(tensors) == 1:
        return _of_tensor(next(iter(tensors.values())), posterior)
    if len(tensors) == 2 and all(name.isdecimal() for name in tensors):
        first, second = tensors.values()
        return _of_pair(first, second, posterior, named)
    return _of_names(tensors, posterior, named)


def without_positions(moments: Moments, spatial: Spatial | None) -> tuple[Moments, int]:
    """Return moments of shape (n, p), and the number of positions of an image among the p columns.

    The columns of ``positions`` are the channels of the first position, then those of the second, and so on.
    The variance of a mean over positions is that of independent noise.

    Args:
        moments: moments with or without positions. Positions of size 1 are removed.
        spatial: what becomes of positions; None raises an error for codes that have some.

    Raises:
        InputError: the codes have positions and ``spatial`` is None, or have none and it is not.
    """
    mean = squeezed(moments.mean)
    log_var = None if moments.log_var is None else squeezed(moments.log_var)
    if mean.ndim == 2 and spatial is None:
        return Moments(mean, log_var, moments.note), 1
    if mean.ndim not in (3, 4) or spatial is None:
        remedy = "leave --spatial out" if mean.ndim == 2 else "return (n, outputs)"
        if mean.ndim in (3, 4):
            remedy = f"give --spatial {' or '.join(get_args(Spatial))}"
        raise InputError(f"codes of shape {tuple(mean.shape)} returned; {remedy}")
    if spatial == "flatten":
        return Moments(mean.flatten(1), None if log_var is None else log_var.flatten(1), moments.note), 1
    mean, log_var = _channels_last(mean), None if log_var is None else _channels_last(log_var)
    positions = mean.shape[1]
    if spatial == "positions":
        rows = None if log_var is None else log_var.flatten(1)
        return Moments(mean.flatten(1), rows, moments.note), positions
    if log_var is not None:
        log_var = log_var.logsumexp(1) - 2 * math.log(positions)
    return Moments(mean.mean(1), log_var, moments.note), 1


def _channels_last(codes: Tensor) -> Tensor:
    """Return codes (n, c, height, width) as (n, positions, c); sequences have that form."""
    return codes.movedim(1, -1).flatten(1, 2) if codes.ndim == 4 else codes


def squeezed(codes: Tensor) -> Tensor:
    """Return codes of shape (n, d, 1, 1) or (n, 1, d) as (n, d); others unchanged."""
    if codes.ndim == 4 and codes.shape[2:] == (1, 1):
        return codes.flatten(1)
    return codes[:, 0] if codes.ndim == 3 and codes.shape[1] == 1 else codes


def _of_tensor(codes: Tensor, posterior: PosteriorName | None) -> Moments:
    """Return a tensor as codes, or its two halves: of the channels, or of the last axis of sequences."""
    if posterior in (None, "deterministic"):
        return Moments(codes)
    axis = 2 if codes.ndim == 3 else 1
    if codes.ndim < 2 or codes.shape[axis] % 2:
        raise InputError(f"shape {tuple(codes.shape)} returned; return means and log-variances, (n, 2 d)")
    mean, spread = codes.chunk(2, axis)
    return Moments(mean, spread if posterior == "gaussian" else _log_var(spread, "std"))


def _of_pair(mean: Any, spread: Any, posterior: PosteriorName | None, named: Mapping[str, Any]) -> Moments:
    if not (isinstance(mean, Tensor) and isinstance(spread, Tensor)) or mean.shape != spread.shape:
        raise _unclear(named)
    if posterior == "deterministic":
        return Moments(mean)
    kind: _Spread = "std" if posterior == "gaussian_std" else "log_var"
    if posterior is None and bool((spread >= 0).all()):
        kind = "std"
    return Moments(mean, _log_var(spread, kind), "" if posterior else f"read as (mean, {kind})")


def _of_names(
    tensors: Mapping[str, Tensor], posterior: PosteriorName | None, named: Mapping[str, Any]
) -> Moments:
    plain = {name.lower().strip("_"): value for name, value in tensors.items()}
    means = [name for name in _MEANS if name in plain]
    codes = means or [name for name in _CODES if name in plain]
    if len(codes) != 1:
        raise _unclear(named)
    mean = plain[codes[0]]
    if posterior != "deterministic":
        for kind, names in _SPREADS.items():
            for name in names:
                if name in plain and plain[name].shape == mean.shape:
                    return Moments(mean, _log_var(plain[name], kind))
    return Moments(mean)


def _is_distribution(value: Any) -> bool:
    """Return whether a value is a distribution of torch, or one with the same properties, as in diffusers."""
    if isinstance(value, Tensor | Mapping | tuple):
        return False
    return isinstance(value, Distribution) or all(hasattr(value, name) for name in ("mean", "std", "sample"))


def _of_distribution(value: Any, posterior: PosteriorName | None) -> Moments:
    try:
        mean = value.mean
        if posterior == "deterministic":
            return Moments(mean)
        variance = value.variance if isinstance(value, Distribution) else value.std.square()
    except Exception as error:  # some distributions have no moments
        raise InputError(f"{type(value).__name__} returned, without moments ({reason(error)})") from None
    return Moments(mean, _log_var(variance, "var"))


def _log_var(spread: Tensor, kind: _Spread) -> Tensor:
    """Return log-variances; a spread of zero becomes the smallest positive number."""
    if kind in ("log_var", "log_std"):
        return spread if kind == "log_var" else 2 * spread
    positive = spread.abs().clamp(min=torch.finfo(spread.dtype).tiny).log()
    return positive if kind == "var" else 2 * positive


def _named(outputs: Any) -> dict[str, Any] | None:
    """Return outputs by name or position; None for an object of another kind."""
    if isinstance(outputs, Mapping):
        return {str(name): value for name, value in outputs.items()}
    if hasattr(outputs, "_asdict"):
        return dict(outputs._asdict())
    if isinstance(outputs, list | tuple):
        return {str(position): value for position, value in enumerate(outputs)}
    return dict(vars(outputs)) if hasattr(outputs, "__dataclass_fields__") else None


def _picked(named: Mapping[str, Any], name: str) -> Any:
    if name in named:
        return named[name]
    values = list(named.values())
    if name.isdecimal() and int(name) < len(values):
        return values[int(name)]
    raise InputError(f"--outputs: {name!r} received; the outputs are {_described(named)}")


def _unclear(named: Mapping[str, Any]) -> InputError:
    return InputError(
        f"outputs {_described(named)} returned; give --outputs CODES, or --outputs MEAN LOG_VAR"
    )


def _described(named: Mapping[str, Any]) -> str:
    parts = (
        f"{name}: {tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__}"
        for name, value in named.items()
    )
    return shorten(", ".join(parts))

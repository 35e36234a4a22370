"""From a checkpoint back to its config and its trained model; no data is read."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mmdprior.config.build import Builder, choose_device
from mmdprior.config.load import make_config
from mmdprior.config.schema import Config
from mmdprior.errors import InputError, shown
from mmdprior.models import Autoencoder
from mmdprior.training import read_checkpoint

__all__ = ["config_of", "load_model", "model_from_checkpoint"]


def config_of(content: Mapping[str, Any], source: str, *, trust: bool) -> Config:
    """Return the config inside a checkpoint, checked again.

    Raises:
        InputError: it names a target and trust is not given, since that would run its code.
    """
    named = _targets_in(content["config"])
    if named and not trust:
        raise InputError(
            f"{source}: names target {named[0]!r}, whose code would run; pass --trust to allow it"
        )
    return make_config(content["config"], Path(), source)


def model_from_checkpoint(
    content: Mapping[str, Any], config: Config, *, averaged: bool = True
) -> Autoencoder:
    """Rebuild the trained model of a checkpoint, with averaged weights where it has any; no data is read."""
    weights = content.get("averaged") if averaged else None
    model = Builder(config).model(tuple(content["image_shape"]))
    try:
        model.load_state_dict(content["model"] if weights is None else weights)
    except Exception as error:  # a state of another model, or no state
        detail = shown(str(error).splitlines()[-1].strip())
        raise InputError(f"checkpoint: weights do not fit the model of its config ({detail})") from None
    return model.eval()


def load_model(
    checkpoint: str | PathLike[str], *, device: str = "cpu", trust: bool = False, averaged: bool = True
) -> Autoencoder:
    """Rebuild the model of a checkpoint file; see `mmdprior.load`."""
    content = read_checkpoint(Path(checkpoint))
    config = config_of(content, str(checkpoint), trust=trust)
    return model_from_checkpoint(content, config, averaged=averaged).to(choose_device(device))


def _targets_in(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = [str(value["target"])] if value.get("target") is not None else []
        return own + [found for entry in value.values() for found in _targets_in(entry)]
    if isinstance(value, (list, tuple)):
        return [found for entry in value for found in _targets_in(entry)]
    return []

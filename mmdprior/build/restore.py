"""From a checkpoint back to its config and its trained model. No data is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from mmdprior.build.builder import Builder
from mmdprior.build.data import SplitName, split_to_score
from mmdprior.build.device import choose_device
from mmdprior.config.load import make_config
from mmdprior.config.schema import Config
from mmdprior.data import ImageSet, thin
from mmdprior.errors import InputError, shorten
from mmdprior.models import Autoencoder
from mmdprior.priors import Prior
from mmdprior.training import read_checkpoint
from mmdprior.training.retention import last_checkpoint

__all__ = [
    "TrainedRun",
    "checkpoint_file",
    "config_of",
    "load_model",
    "model_from_checkpoint",
    "open_checkpoint",
    "targets_in",
]


def checkpoint_file(path: str | PathLike[str]) -> Path:
    """Return the path of a checkpoint; a run directory stands for its last checkpoint.

    Raises:
        InputError: a folder without a checkpoint.
    """
    if not Path(path).is_dir():
        return Path(path)
    file = last_checkpoint(Path(path))
    if not file.is_file():
        raise InputError(
            f"{path}: a folder without {file.relative_to(path)}; give a run directory, or a checkpoint (.pt)"
        )
    return file


def config_of(content: Mapping[str, Any], source: str, *, trust: bool) -> Config:
    """Return the config inside a checkpoint, checked again.

    Where the values of black and white followed from the training images, ``data.value_range`` has them.

    Args:
        content: the content of the checkpoint.
        source: its path, for errors.
        trust: import the targets that the config names, which runs their code.

    Raises:
        InputError: the config names a target, and ``trust`` is False.
    """
    targets = targets_in(content["config"])
    if targets and not trust:
        raise InputError(
            f"{source}: target {targets[0]!r} received, whose code would run; pass --trust to allow it"
        )
    config, ranges = content["config"], content.get("value_ranges")
    if ranges and config["data"].get("value_range", ranges) is None:  # not for a target without this argument
        config = {**config, "data": {**config["data"], "value_range": ranges}}
    return make_config(config, Path(), source)


def model_from_checkpoint(
    content: Mapping[str, Any], config: Config, *, averaged: bool = True
) -> Autoencoder:
    """Rebuild the trained model of a checkpoint; no data is read.

    Args:
        content: the content of the checkpoint.
        config: its config, from `config_of`.
        averaged: load the averaged weights if the run kept an average.

    Raises:
        InputError: weights of another model.
    """
    weights = content.get("averaged") if averaged else None
    model = Builder(config, content.get("assets", {})).model(tuple(content["image_shape"]))
    try:
        model.load_state_dict(content["model"] if weights is None else weights)
    except Exception as error:  # the state of another model, or no state dict at all
        detail = shorten(str(error).splitlines()[-1].strip())
        raise InputError(f"checkpoint: weights do not fit the model of its config ({detail})") from None
    return model.eval()


def load_model(
    checkpoint: str | PathLike[str], *, device: str = "cpu", trust: bool = False, averaged: bool = True
) -> Autoencoder:
    """Rebuild the trained model of a checkpoint file, in evaluation mode; see `mmdprior.load`.

    Args:
        checkpoint: a ``.pt`` file that training wrote, or a run directory, which stands for its last
            checkpoint.
        device: where the model is put.
        trust: run the targets that the checkpoint names.
        averaged: load the averaged weights if the run kept an average.

    Raises:
        InputError: not a checkpoint, or one that names a target without ``trust``.

    Example:
        >>> from mmdprior.build import load_model
        >>> load_model("missing.pt")
        Traceback (most recent call last):
        mmdprior.errors.InputError: missing.pt: no such file; give a checkpoint...
    """
    file = checkpoint_file(checkpoint)
    content = read_checkpoint(file)
    config = config_of(content, str(file), trust=trust)
    model = model_from_checkpoint(content, config, averaged=averaged).to(choose_device(device))
    model.image_shape = tuple(content["image_shape"])
    return model


def targets_in(value: Any) -> list[str]:
    """Return every target that a config names, at any depth."""
    if isinstance(value, (list, tuple)):
        return [target for entry in value for target in targets_in(entry)]
    if not isinstance(value, Mapping):
        return []
    targets = [str(value["target"])] if value.get("target") is not None else []
    return targets + [target for entry in value.values() for target in targets_in(entry)]


@dataclass(frozen=True)
class TrainedRun:
    """A trained model with the config, the prior and the device that belong to it.

    Attributes:
        config: the config of the run.
        content: the content of the checkpoint.
        model: the trained model, on ``device``.
        prior: the intended prior.
        device: where model and images are processed.
    """

    config: Config
    content: dict[str, Any]
    model: Autoencoder
    prior: Prior
    device: torch.device

    def images(
        self,
        data: str | None = None,
        limit: int | None = None,
        split: SplitName | None = None,
        *,
        moved: bool = False,
    ) -> ImageSet:
        """Return images of a split of the run's data, or of other data.

        Args:
            data: other data than that of the config; see `split_to_score`.
            limit: largest number of images, evenly spaced; None returns all.
            split: ``all``, ``train``, ``validation`` or ``test``; see `split_to_score` for the default.
            moved: whether ``data`` is the place of the run's data now, which are split as in training.
        """
        shape = tuple(self.content["image_shape"])
        sizes = self.content.get("split_sizes")
        return thin(split_to_score(self.config, data, split, shape, moved=moved, sizes=sizes), limit)


def open_checkpoint(path: str | Path, *, device: str = "auto", trust: bool = False) -> TrainedRun:
    """Rebuild the model of a checkpoint, with its intended prior.

    Args:
        path: a ``.pt`` file, or a run directory, which stands for its last checkpoint.
        device: a torch device, or ``auto``.
        trust: run the targets that the checkpoint names.

    Raises:
        InputError: not a checkpoint, or one that names a target without ``trust``.
    """
    file = checkpoint_file(path)
    content = read_checkpoint(file)
    config = config_of(content, str(file), trust=trust)
    target_device = choose_device(device)
    model = model_from_checkpoint(content, config).to(target_device)
    prior = Builder(config, content.get("assets", {})).intended_prior()
    return TrainedRun(config, content, model, prior, target_device)

"""An encoder and a decoder that were trained elsewhere, as a checkpoint of this package."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmdprior.build.builder import Builder
from mmdprior.build.data import open_splits
from mmdprior.build.device import choose_device
from mmdprior.build.dry_run import dry_run
from mmdprior.build.restore import TrainedRun
from mmdprior.choices import PosteriorName
from mmdprior.config.load import make_config, parse_value
from mmdprior.errors import InputError, shorten
from mmdprior.models import Autoencoder
from mmdprior.scoring.weights import weights_for
from mmdprior.training.checkpoint import FORMAT_VERSION

__all__ = ["open_pair", "pair_of"]

_PARTS = ("encoder", "decoder")


def open_pair(
    encoder: str,
    decoder: str,
    weights: Sequence[str],
    data: str,
    latent_dim: int,
    *,
    posterior: PosteriorName = "deterministic",
    device: str = "auto",
) -> TrainedRun:
    """Build an encoder and a decoder from Python code, and load their weights. Nothing in weights files runs.

    The result can be written as a checkpoint that names both targets, so opening it needs ``--trust``.

    Args:
        encoder: ``package.module:Class`` or ``file.py:Class``, or YAML with arguments. It maps images in
            [0, 1] to (n, d) codes, or to means and log-variances, (n, 2 d).
        decoder: the same for the module that maps (n, d) codes to images in [0, 1].
        weights: files or folders of weights, see `mmdprior.scoring.weights.read_weights`: none, one for the
            encoder and one for the decoder, or one of both. The two parts are found by names and shapes, or
            as keys that start with ``encoder.`` and ``decoder.``.
        data: YAML of the images, such as ``{name: image_folder, root: DIR, size: 64}``.
        latent_dim: number of dimensions d.
        posterior: meaning of the outputs of the encoder.
        device: a torch device, or ``auto``.

    Raises:
        InputError: a target cannot be built, the weights do not fit, or the pair does not fit the images.
    """
    section = parse_value(data, "--data")
    if not isinstance(section, dict):
        raise InputError(f"--data: {data!r} received; give YAML such as '{{name: cifar10, root: DIR}}'")
    # Under the Gaussian likelihood the output of the decoder is the image.
    raw = {
        "name": "foreign",
        "data": section,
        "model": {
            "encoder": _slot(encoder, "--encoder"),
            "decoder": _slot(decoder, "--decoder"),
            "latent_dim": latent_dim,
            "posterior": posterior,
            "likelihood": "gaussian",
        },
        "regularizer": {"name": "none"},
        "trainer": {"steps": 1},
    }
    config = make_config(raw, Path(), "sculpt")
    train = open_splits(config.slots["data"], config.data).train
    builder = Builder(config)
    model = builder.model(train.image_shape)
    for part, state in _states(model, weights).items():
        _load(getattr(model, part), state, f"--weights: not those of --{part}")
    cpu = torch.device("cpu")
    dry_run(model, builder.regularizer(), train, latent_dim=latent_dim, batch_size=2, device=cpu)
    content = {
        "format_version": FORMAT_VERSION,
        "config": config.to_dict(),
        "image_shape": list(train.image_shape),
        "step": 0,
        "model": model.state_dict(),
    }
    target_device = choose_device(device)
    return TrainedRun(
        config, content, model.to(target_device).eval(), builder.intended_prior(), target_device
    )


def pair_of(options: Any) -> TrainedRun:
    """Open the encoder and the decoder that the options of a command name."""
    arguments = (options.encoder, options.decoder, options.weights, options.data, options.latent_dim)
    return open_pair(*arguments, posterior=options.posterior, device=options.device)


def _slot(text: str, option: str) -> dict[str, Any]:
    """Return a target on the command line as YAML has it."""
    description = parse_value(text, option) if text.lstrip().startswith("{") else {"target": text}
    if not isinstance(description, dict) or "target" not in description:
        raise InputError(f"{option}: {text!r} received; give package.module:Class or file.py:Class")
    return description


def _states(model: Autoencoder, files: Sequence[str]) -> dict[str, Mapping[str, Tensor]]:
    """Return the state dicts of both parts; an empty dict without files."""
    if len(files) > 2:
        raise InputError(f"--weights: {len(files)} files received; give one, or encoder and decoder")
    if len(files) == 2:
        parts = dict(zip(_PARTS, files, strict=True))
        return {part: weights_for(getattr(model, part), file) for part, file in parts.items()}
    return {part: _of_part(getattr(model, part), file, part) for file in files for part in _PARTS}


def _of_part(module: nn.Module, file: str, part: str) -> Mapping[str, Tensor]:
    """Return the weights of a part in the file of both."""
    state = weights_for(module, file)
    if state.keys() == module.state_dict().keys():
        return state
    own = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
    if not own:
        raise InputError(
            f"--weights: {file} has no keys that start with '{part}.'; give one file for the encoder and one "
            "for the decoder"
        )
    return own


def _load(module: nn.Module, state: Mapping[str, Tensor], message: str) -> None:
    try:
        with torch.no_grad():
            module.load_state_dict(dict(state))
    except Exception as error:  # the class may override load_state_dict
        raise InputError(f"{message} ({shorten(' '.join(str(error).split()))})") from None

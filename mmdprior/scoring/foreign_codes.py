"""Codes of images by an encoder that was trained elsewhere, with one row per image or per position."""

import logging

import numpy as np
import torch
from torch import Tensor

from mmdprior.data import ImageSet
from mmdprior.data.source import to_float
from mmdprior.errors import DATA_LOG
from mmdprior.evaluation.encode import Codes, encode
from mmdprior.latent import Latent
from mmdprior.metrics.group_labels import GroupLabels
from mmdprior.models import Autoencoder
from mmdprior.scoring.foreign_encoder import ForeignEncoder

__all__ = ["encode_foreign", "first_images", "foreign_encoder", "groups_of_positions"]

_log = logging.getLogger(DATA_LOG)

_PROBE = 16
"""Images that decide how outputs are read."""


def first_images(images: ImageSet, device: torch.device) -> Tensor:
    """Return some images of a set as floats, at least two; a single one is repeated."""
    batch, _ = images.gather(torch.arange(max(2, min(_PROBE, len(images)))) % len(images))
    return to_float(batch.to(device))


def foreign_encoder(model: Autoencoder) -> ForeignEncoder:
    """Return the encoder of a model that `mmdprior.scoring.foreign_encoder.as_model` has made."""
    assert isinstance(model.encoder, ForeignEncoder)
    return model.encoder


def encode_foreign(
    model: Autoencoder, images: ImageSet, batch_size: int, seed: int, device: torch.device
) -> Codes:
    """Encode images, and log how the outputs were read where they may have another meaning.

    Args:
        model: result of `mmdprior.scoring.foreign_encoder.as_model`, on ``device``.
        images: images to encode.
        batch_size: images per batch.
        seed: seed of the posterior noise.
        device: device of the model.

    Returns:
        One row per image; or with positions one row per image and position, the positions of an image after
        one another, and its labels repeated.
    """
    encoder = foreign_encoder(model)
    codes = encode(model, images, batch_size=batch_size, seed=seed, device=device)
    if encoder.positions == 1:
        if encoder.unnamed and encoder.options.spatial is None and codes.latent.dim % 2 == 0:
            outputs = codes.latent.dim
            _log.info(
                "encoder: %d outputs read as %d deterministic codes; give --posterior gaussian if they are "
                "(mean, log_var)",
                outputs,
                outputs,
            )
        return codes
    _log.info("encoder: %d positions per image, each a row, grouped by image", encoder.positions)
    latent, channels = codes.latent, codes.latent.dim // encoder.positions
    parts = (latent.sample, latent.mean, latent.log_var)
    rows = Latent(*(None if part is None else part.reshape(-1, channels) for part in parts))  # type: ignore[arg-type]
    return Codes(rows, codes.labels.repeat_interleave(encoder.positions, 0), codes.label_names)


def groups_of_positions(groups: GroupLabels, images: int, positions: int) -> GroupLabels:
    """Return one label per position: that of its image.

    Args:
        groups: name of a label of the images, one label per image, or None for independent images.
        images: number of images.
        positions: number of positions per image.
    """
    if isinstance(groups, str):
        return groups
    labels = np.arange(images) if groups is None else np.asarray(groups)
    return np.repeat(labels, positions)

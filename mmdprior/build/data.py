"""Data: the splits of a config, and images named on the command line."""

from pathlib import Path
from typing import Any, Literal

from mmdprior.build.construct import SlotBuilder
from mmdprior.config.load import parse_value
from mmdprior.config.schema import Config, DataSection
from mmdprior.config.slots import Slot
from mmdprior.config.validation import validate
from mmdprior.data import ImageSet, Source, Splits, arrays, image_folder, make_splits
from mmdprior.errors import InputError

__all__ = ["SplitName", "images_from", "open_splits", "split_to_score"]

SplitName = Literal["train", "validation", "test"]


def open_splits(slot: Slot, settings: DataSection) -> Splits:
    """Open a data source and split it.

    Args:
        slot: the slot of the source.
        settings: sizes and seed of the splits. A source that returns `Splits` keeps its own.

    Raises:
        InputError: data that cannot be opened or split, or a target that returns something else.

    Example:
        >>> from mmdprior.build.data import open_splits
        >>> from mmdprior.config.schema import DataSection
        >>> from mmdprior.config.slots import check_slot
        >>> settings = DataSection(name="sprites", images=200, validation=40, test=40)
        >>> splits = open_splits(settings.source, settings)
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (120, 40, 40)
    """
    source = SlotBuilder().build(slot)
    if isinstance(source, Splits):
        return source
    return make_splits(
        source,
        validation=settings.validation,
        test=settings.test,
        limit=settings.limit,
        seed=settings.split_seed,
    )


def split_to_score(
    config: Config, data: str | None, split: SplitName, image_shape: tuple[int, ...]
) -> ImageSet:
    """Return a split of the data that a checkpoint names, or of other data with images of the same shape.

    Args:
        config: the config of the checkpoint.
        data: other data, as `images_from` reads it; None for the data of the config.
        split: which split to return.
        image_shape: (channels, height, width) of the model.

    Raises:
        InputError: data that cannot be opened, or images of another shape.
    """
    if data is None:
        images: ImageSet = getattr(open_splits(config.slots["data"], config.data), split)
    else:
        images = images_from(data, split, image_shape)
    if tuple(images.image_shape) != tuple(image_shape):
        raise InputError(
            f"--data: images of shape {tuple(images.image_shape)} received; give images of shape "
            f"{tuple(image_shape)}, as the model expects"
        )
    return images


def images_from(data: str, split: SplitName, image_shape: tuple[int, ...] | None = None) -> ImageSet:
    """Open images that are named on the command line.

    A folder or an array file without test images is used whole. A YAML section is split as its keys say.

    Args:
        data: a folder of images, a ``.npz`` or ``.npy`` file, or YAML such as ``{name: cifar10, root: DIR}``.
        split: which split to return.
        image_shape: the shape to which the images of a folder are resized; required for a folder.

    Raises:
        InputError: data that cannot be opened.

    Example:
        >>> from mmdprior.build.data import images_from
        >>> images_from("{name: sprites, images: 100}", "train").image_shape
        (1, 64, 64)
    """
    path = Path(data).expanduser()
    if path.suffix in (".npy", ".npz"):
        return _whole(arrays(str(path)), split)
    if path.is_dir():
        if image_shape is None:
            raise InputError(
                f"--data: folder {data} received; give the size of its images: "
                f'--data "{{name: image_folder, root: {data}, size: 64}}"'
            )
        channels: Any = image_shape[0]
        return _whole(image_folder(str(path), size=image_shape[1], channels=channels), split)
    section = parse_value(data, "--data")
    if not isinstance(section, dict):
        raise InputError(
            f"--data: {data!r} received; give a folder, a .npz or .npy file, or YAML such as "
            '"{name: cifar10, root: DIR}"'
        )
    settings = validate(DataSection, section, "--data")
    images: ImageSet = getattr(open_splits(settings.source.at("--data"), settings), split)
    return images


def _whole(source: Source, split: SplitName) -> ImageSet:
    """Return the test images for the test split where there are any, otherwise all images."""
    return source.test if split == "test" and source.test is not None else source.train

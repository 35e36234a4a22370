"""Images: of a config, or named on the command line."""

from pathlib import Path
from typing import Any, Literal

import pydantic

from mmdprior.build.construct import error_path
from mmdprior.config.load import parse_value
from mmdprior.config.schema import Config, DataSection
from mmdprior.config.slots import Slot, check_slot, first_error
from mmdprior.data import ImageSet, Source, Splits, arrays, image_folder, make_splits
from mmdprior.errors import InputError

__all__ = ["SplitName", "images_from", "open_splits", "split_to_score"]

SplitName = Literal["train", "validation", "test"]


def open_splits(slot: Slot, settings: DataSection) -> Splits:
    """Open a data source and split it as the section says.

    Raises:
        InputError: data that cannot be opened or split, or a target that returns something else.
    """
    with error_path(slot.path):
        source = slot.factory()(**slot.arguments)
        if isinstance(source, Splits):
            return source
        if isinstance(source, ImageSet):
            source = Source(source)
        if not isinstance(source, Source):
            raise InputError(
                f"{type(source).__name__} returned; a data target returns a Source or an ImageSet"
            )
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
    """Return a split of the data that a checkpoint names, or other images of the same shape.

    Args:
        config: of the checkpoint.
        data: None, or what `images_from` takes.
        split: which part.
        image_shape: that the model was built for.

    Raises:
        InputError: data that cannot be opened, or images of another shape.
    """
    if data is None:
        images: ImageSet = getattr(open_splits(config.slots["data"], config.data), split)
    else:
        images = images_from(data, split, image_shape)
    if tuple(images.image_shape) != tuple(image_shape):
        raise InputError(
            f"--data: images of shape {tuple(images.image_shape)} found; the model takes {tuple(image_shape)}"
        )
    return images


def images_from(data: str, split: SplitName, image_shape: tuple[int, ...] | None = None) -> ImageSet:
    """Open images named on the command line.

    A folder or an array file that has no test images of its own is used whole; a YAML section, as in
    a config, is split as it says.

    Args:
        data: a folder of images, a ``.npz`` or ``.npy``, or YAML: ``"{name: cifar10, root: DIR}"``.
        split: which part.
        image_shape: to which a folder's images are resized; needed for a folder.

    Raises:
        InputError: nothing that can be opened.
    """
    path = Path(data).expanduser()
    if path.suffix in (".npy", ".npz"):
        return _part(arrays(str(path)), split)
    if path.is_dir():
        if image_shape is None:
            raise InputError(
                f'--data: {data} is a folder; say the size: --data "{{name: image_folder, root: {data}, '
                'size: 64}"'
            )
        channels: Any = image_shape[0]
        return _part(image_folder(str(path), size=image_shape[1], channels=channels), split)
    section = parse_value(data, "--data")
    if not isinstance(section, dict):
        raise InputError(
            f"--data: {data!r} is no folder and no .npz or .npy; or give YAML such as "
            '"{name: cifar10, root: DIR}"'
        )
    common = {key: value for key, value in section.items() if key in DataSection.model_fields}
    rest = {key: value for key, value in section.items() if key not in common}
    slot = check_slot("source", rest, "--data", Path(), DataSection.model_fields)
    try:
        settings = DataSection.model_validate(common)
    except pydantic.ValidationError as error:
        raise InputError(first_error(error, "--data", common)) from None
    chosen: ImageSet = getattr(open_splits(slot, settings), split)
    return chosen


def _part(source: Source, split: SplitName) -> ImageSet:
    return source.test if split == "test" and source.test is not None else source.train

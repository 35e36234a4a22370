"""Data: the splits of a config, and images named on the command line."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmdprior.build.construct import SlotBuilder, error_path
from mmdprior.choices import SplitName
from mmdprior.config.load import parse_value
from mmdprior.config.schema import Config, DataSection
from mmdprior.config.slots import Slot, check_slot
from mmdprior.config.validation import validate
from mmdprior.data import Concatenated, ImageSet, Source, Splits, make_splits
from mmdprior.data.pixel_checks import check_pixels
from mmdprior.data.source import sample_kind
from mmdprior.data.table import TABLE_SUFFIXES
from mmdprior.errors import DATA_LOG, InputError, InputWarning

__all__ = [
    "PLACES",
    "SplitName",
    "changed_sizes",
    "images_from",
    "open_splits",
    "select_split",
    "split_to_score",
]


_FILE_SUFFIXES = (".npy", ".npz", *TABLE_SUFFIXES)
_SIZES = ("validation", "test", "split_seed")
"""Keys of the sizes of splits."""
PLACES = ("root", "path", "test_path")
"""Arguments of sources that say where their files are."""
_READING = ("cache", "shuffle")
"""Arguments of sources that change how files are read, and not what the images are."""

_log = logging.getLogger(DATA_LOG)


def open_splits(slot: Slot, settings: DataSection) -> Splits:
    """Open a data source and split it. What was read is logged in one line.

    Args:
        slot: the slot of the source.
        settings: sizes and seed of the splits. A source that returns `Splits` keeps its own.

    Raises:
        InputError: data that cannot be opened or split, a target that returns something else, or images that
            break the contract of `ImageSet`.

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
    with error_path(slot.path):
        if isinstance(source, Splits):
            splits = source
            check_pixels(Concatenated([splits.train, splits.validation, splits.test]))
        else:
            splits = _split(source, settings)
    shape = splits.train.image_shape
    counts = (
        f"{len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test "
        f"{sample_kind(shape)} of {' x '.join(map(str, shape))}"
    )
    _log.info("data: %s", "; ".join([counts, source.summary] if source.summary else [counts]))
    return splits


def split_to_score(
    config: Config,
    data: str | None,
    split: SplitName | None,
    image_shape: tuple[int, ...],
    *,
    moved: bool = False,
    sizes: Sequence[int] | None = None,
) -> ImageSet:
    """Return a split of the data that a checkpoint names, or of other data with images of the same shape.

    Args:
        config: the config of the checkpoint.
        data: other data, as `images_from` reads it; None for the data of the config.
        split: which images to return; None for the test split of the config, and for what `images_from`
            chooses of other data.
        image_shape: (channels, height, width) of the model.
        moved: whether ``data`` is the place of the config's data now, which are split as in training.
        sizes: sizes of the splits when the run started. If they are others now, the split may hold training
            images, and a warning says so.

    Raises:
        InputError: data that cannot be opened, or images of another shape.
    """
    slot = config.slots["data"]
    place = next((key for key in PLACES if slot.arguments.get(key) is not None), None)
    if moved and data is not None and place is not None and Path(data).expanduser().exists():
        slot, data = replace(slot, arguments={**slot.arguments, place: data}), None
    if data is not None:
        return images_from(data, split, image_shape, config)
    try:
        splits = open_splits(slot, config.data)
        images = select_split(splits, split or "test")
    except InputError as error:
        if place is None or Path(str(slot.arguments[place])).expanduser().exists():
            raise
        raise InputError(f"{error}; if the data were moved, give their place with --data") from None
    with error_path("data"):
        _check_shape(images, image_shape)
    if change := changed_sizes(splits, sizes):
        text = f"data: {change}; the split may hold training images; score the data of the run"
        warnings.warn(text, InputWarning, stacklevel=2)
    return images


def changed_sizes(splits: Splits, before: Sequence[int] | None) -> str | None:
    """Return how the sizes of splits have changed since a run started; None if they have not.

    Args:
        splits: splits of the data now.
        before: numbers of training, validation and test images then; None in checkpoints of earlier releases.
    """
    if before is None or splits.sizes == tuple(before):
        return None
    now, then = (", ".join(map(str, sizes)) for sizes in (splits.sizes, before))
    return f"{now} training, validation and test images found, {then} when the run started"


def images_from(
    data: str,
    split: SplitName | None = None,
    image_shape: tuple[int, ...] | None = None,
    config: Config | None = None,
) -> ImageSet:
    """Open images that are named on the command line. What was read is logged in one line.

    Args:
        data: a folder of images, a ``.npz``, ``.npy`` or ``.csv`` file, or YAML such as ``{name: cifar10,
            root: DIR}``.
        split: which images to return. A folder or an array file without this split is used whole; YAML is
            split as its keys say. None is the test split of data that have one, and of YAML that sets the
            size of a split; otherwise all images. For a checkpoint, None is the test split of any YAML,
            because the other images may be its training images.
        image_shape: shape of a sample of the model, such as (channels, height, width); required for a folder.
        config: the config of the checkpoint that the images are for; None for an encoder trained elsewhere. A
            folder or an array file is read with its arguments for a source of the same kind. YAML of the
            same source at another place has its split sizes by default.

    Raises:
        InputError: data that cannot be opened, or images of another shape.

    Example:
        >>> from mmdprior.build.data import images_from
        >>> [len(images_from("{name: sprites, images: 100}", split)) for split in (None, "test")]
        [100, 10]
    """
    path = Path(data).expanduser()
    if path.is_dir() or path.suffix.lower() in _FILE_SUFFIXES:
        source = SlotBuilder().build(_slot_of(path, image_shape, config))
        split = split or "test"
        split = split if getattr(source, split, None) is not None else "all"
    else:
        settings, is_split = _section(data, config)
        source = SlotBuilder().build(settings.source.at("--data"))
        split = split or ("test" if is_split or source.test is not None else "all")
        if split != "all" and isinstance(source, Source):
            source = _split(source, settings)
    with error_path("--data"):
        images = select_split(source, split)
        if image_shape is not None:
            _check_shape(images, image_shape)
        check_pixels(images)
    name = "training" if split == "train" else split
    which = "all" if split == "all" else f"the {name} split,"
    kind = sample_kind(images.image_shape)
    _log.info("data: %s; used: %s %d %s", source.summary or data, which, len(images), kind)
    return images


def _slot_of(path: Path, image_shape: tuple[int, ...] | None, config: Config | None) -> Slot:
    """Return the slot of a folder or an array file that is named on the command line."""
    arguments: dict[str, Any] = {"name": "arrays", "path": str(path), "test_path": None}
    if image_shape is not None:
        arguments["kind"] = sample_kind(image_shape)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        arguments["drop"] = None
    if path.is_dir():
        if image_shape is None:
            raise InputError(
                f"--data: folder {path} received; give the size of its images: "
                f'--data "{{name: image_folder, root: {path}, size: 64}}"'
            )
        if sample_kind(image_shape) != "images":
            raise InputError(f"--data: folder {path} received; the model needs {sample_kind(image_shape)}")
        channels, height, _ = image_shape
        arguments = {"name": "image_folder", "root": str(path), "size": height, "channels": channels}
    if config is not None:
        arguments = {**_inherited(config.slots["data"], arguments), **arguments}
    return check_slot("source", arguments, "--data")


def _inherited(stored: Slot, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a source has from that of the checkpoint: all if it is of the same kind.

    A source of another kind has the ranges of the training images by type.
    """
    if stored.name == arguments["name"]:
        return stored.to_dict()
    ranges = stored.arguments.get("value_range")
    takes_images = arguments.get("kind", "images") == "images"
    return {"value_range": ranges} if isinstance(ranges, Mapping) and takes_images else {}


def _section(data: str, config: Config | None) -> tuple[DataSection, bool]:
    """Return the section that YAML on the command line describes, and whether it is split by default."""
    section = parse_value(data, "--data")
    if not isinstance(section, dict):
        raise InputError(
            f"--data: {data!r} received; give a folder, a .npz, .npy or .csv file, or YAML such as "
            '"{name: cifar10, root: DIR}"'
        )
    settings = validate(DataSection, section, "--data")
    ranges = None if config is None else config.slots["data"].arguments.get("value_range")
    if isinstance(ranges, Mapping) and settings.source.to_dict().get("value_range", ranges) is None:
        section = {**section, "value_range": ranges}
        settings = validate(DataSection, section, "--data")
    if config is not None and _is_moved(settings.source, config.slots["data"]):
        sizes = {key: getattr(config.data, key) for key in _SIZES}
        settings = validate(DataSection, {**sizes, **section}, "--data")
    return settings, config is not None or not section.keys().isdisjoint(_SIZES)


def _is_moved(source: Slot, stored: Slot) -> bool:
    """Return whether two sources differ at most in the place of their files, and in how these are read."""

    def content(slot: Slot) -> dict[str, Any]:
        return {key: value for key, value in slot.to_dict().items() if key not in (*PLACES, *_READING)}

    return content(source) == content(stored)


def select_split(source: Source | Splits, split: SplitName) -> ImageSet:
    """Return one of the splits that a source has, or all its images."""
    if split != "all":
        images: ImageSet = getattr(source, split)
        return images
    parts = [part for part in (source.train, source.validation, source.test) if part is not None]
    return Concatenated(parts) if len(parts) > 1 else parts[0]


def _split(source: Source, settings: DataSection) -> Splits:
    return make_splits(
        source,
        validation=settings.validation,
        test=settings.test,
        limit=settings.limit,
        seed=settings.split_seed,
    )


def _check_shape(images: ImageSet, image_shape: tuple[int, ...]) -> None:
    if tuple(images.image_shape) != tuple(image_shape):
        raise InputError(
            f"{sample_kind(images.image_shape)} of shape {tuple(images.image_shape)} received; give "
            f"{sample_kind(image_shape)} of shape {tuple(image_shape)}, as the model expects"
        )

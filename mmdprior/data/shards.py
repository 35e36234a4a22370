"""Images in shards: many images per tar or Parquet file, for data sets larger than memory."""

import glob
import io
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mmdprior.data.arguments import check_count
from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError, reason

if TYPE_CHECKING:
    from mmdprior.data.pillow import Decoder

__all__ = ["Shard", "ShardedImages", "shards"]


def shards(
    path: str,
    size: int,
    channels: Literal[1, 3] = 3,
    test_path: str | None = None,
    shuffle: int = 16,
    crop: int | None = None,
    background: int | str | Sequence[int] = "white",
) -> Source:
    """Open a data set of shards, whose images are read and decoded on access.

    A tar file is a shard of the WebDataset format: each image, such as ``000017.jpg``, may have a file
    ``000017.cls`` with its class, an integer. A Parquet file has a column of encoded images, of bytes or of
    structs with a field ``bytes`` (the form of Hugging Face), and may have a column ``label`` of integers.

    Each epoch reads the shards in a new random order, ``shuffle`` of them at a time, and mixes the images of
    these. A resumed run enters this order at its step without reading what came before.

    Args:
        path: folder of ``.tar`` or ``.parquet`` files, or a pattern such as ``images/train-*.tar``.
        size: side of the square images returned, in pixels.
        channels: 3 for RGB, 1 for grey.
        test_path: folder or pattern of the shards of the test split; None, the default, for none.
        shuffle: number of shards (row groups of Parquet files) that are mixed; more mix better and read from
            more places.
        crop: side of the centre square cut out before resizing; by default the largest square that fits.
        background: colour behind transparent pixels: a name, '#rrggbb', a grey level, or [red, green, blue].

    Raises:
        InputError: no shards, a damaged or compressed one, one without images, or labels of some images only;
            or a label that is not an integer.

    Example:
        >>> import io, tarfile
        >>> from PIL import Image
        >>> from mmdprior.data.shards import shards
        >>> for number in range(2):
        ...     with tarfile.open(f"part-{number}.tar", "w") as tar:
        ...         for k in range(3):
        ...             file = io.BytesIO()
        ...             Image.new("RGB", (20, 20), (40 * k, 0, 0)).save(file, "png")
        ...             info = tarfile.TarInfo(f"{k}.png")
        ...             info.size = len(file.getvalue())
        ...             tar.addfile(info, io.BytesIO(file.getvalue()))
        >>> source = shards("part-*.tar", size=8)
        >>> source.summary, source.train.image_shape
        ('part-*.tar: 6 images in 2 shards', (3, 8, 8))
        >>> source.train.gather(torch.tensor([5]))[0][0, 0, 0, 0]
        tensor(80, dtype=torch.uint8)
    """
    from mmdprior.data.pillow import Decoder, background_colour

    check_count("size", size)
    check_count("shuffle", shuffle)
    if crop is not None:
        check_count("crop", crop)
    decoder = Decoder(size, channels, crop, background_colour(background))
    train = ShardedImages(_open("path", path), decoder, shuffle)
    held_out = None if test_path is None else ShardedImages(_open("test_path", test_path), decoder, shuffle)
    texts = [
        f"{place}: {len(images)} images in {len(images.parts)} shards"
        for place, images in ((path, train), (test_path, held_out))
        if images is not None
    ]
    return Source(train, test=held_out, summary="; ".join(texts))


class Shard(ABC):
    """Some images of one file.

    Attributes:
        path: the file.
        labels: (n, k) labels of its images; k is 0 without labels.
    """

    path: Path
    labels: Tensor

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Iterator[bytes]:
        """Yield the encoded images of some rows, in the order of ``rows``."""


class TarShard(Shard):
    """A tar file. Its headers are read once; images are then read at their positions."""

    def __init__(self, path: Path) -> None:
        from mmdprior.data.pillow import readable_suffixes

        self.path = path
        positions: dict[str, tuple[int, int]] = {}
        classes: dict[str, int] = {}
        known = readable_suffixes()
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, suffix = member.name.rpartition(".")
                if not member.isfile() or PurePosixPath(key).name.startswith("."):
                    continue  # hidden files, such as those that macOS adds to archives
                if f".{suffix.lower()}" in known:
                    positions[key] = (member.offset_data, member.size)
                elif suffix == "cls":
                    file = tar.extractfile(member)
                    assert file is not None  # it is for a file
                    classes[key] = _class_of(file.read(), f"{path}: {member.name}")
        if not positions:
            raise InputError(f"{path}: no images; give tar files of png or jpg files")
        labelled = [key for key in positions if key in classes]
        if labelled and len(labelled) < len(positions):
            counts = f"{len(labelled)} of {len(positions)} images"
            raise InputError(f"{path}: {counts} have a .cls file; give all or none")
        self.positions = torch.tensor(list(positions.values()))
        numbers = [[classes[key]] if labelled else [] for key in positions]
        self.labels = torch.tensor(numbers, dtype=torch.long)

    def read(self, rows: Sequence[int]) -> Iterator[bytes]:
        """Yield the encoded images of some rows, in the order of ``rows``."""
        with self.path.open("rb") as file:
            for offset, size in self.positions[list(rows)].tolist():
                file.seek(offset)
                yield file.read(size)


class ParquetShard(Shard):
    """A row group of a Parquet file, which is read as a whole."""

    def __init__(self, path: Path, group: int, column: str, labels: Tensor) -> None:
        self.path = path
        self.group = group
        self.column = column
        self.labels = labels

    def read(self, rows: Sequence[int]) -> Iterator[bytes]:
        """Yield the encoded images of some rows, in the order of ``rows``."""
        parquet = _pyarrow_parquet(self.path)
        table = parquet.ParquetFile(self.path).read_row_group(self.group, columns=[self.column])
        column = table.column(self.column)
        for row in rows:
            cell = column[row].as_py()
            yield cell["bytes"] if isinstance(cell, dict) else cell


class ShardedImages(ImageSet):
    """Images of several shards, one after another, decoded on access.

    Args:
        parts: the shards.
        decoder: from encoded images to tensors.
        shuffle: number of shards that `read_order` mixes.

    Raises:
        InputError: only some shards have labels.
    """

    def __init__(self, parts: Sequence[Shard], decoder: "Decoder", shuffle: int = 16) -> None:
        self.parts = list(parts)
        self.decoder = decoder
        self.shuffle = shuffle
        self.image_shape = (decoder.channels, decoder.size, decoder.size)
        widths = {part.labels.shape[1] for part in parts}
        if len(widths) > 1:
            bare = next(part.path for part in parts if part.labels.shape[1] == 0)
            raise InputError(f"{bare}: no labels, unlike other shards; give all shards labels, or none")
        self.labels = torch.cat([part.labels for part in parts])
        self.label_names = ("class",) * widths.pop()
        self._ends = torch.tensor([len(part.labels) for part in parts]).cumsum(0)

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return decoded images and their labels; each shard is opened once, and read from front to back.

        Raises:
            InputError: a shard is missing or damaged, or an entry is not an image.
        """
        rows = indices.cpu()
        images = torch.empty((len(rows), *self.image_shape), dtype=torch.uint8)
        places = torch.searchsorted(self._ends, rows, right=True)
        for place in places.unique().tolist():
            part = self.parts[place]
            chosen = (places == place).nonzero().flatten()
            local = rows[chosen] - (self._ends[place] - len(part.labels))
            local, order = local.sort()
            for target, data in zip(chosen[order].tolist(), _read(part, local.tolist()), strict=True):
                images[target] = self._decoded(part.path, data)
        return images, self.labels[rows]

    def read_order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return a permutation in which a few shards at a time are mixed."""
        places = torch.searchsorted(self._ends, rows, right=True)
        windows = torch.randperm(len(self.parts), generator=generator) // self.shuffle
        keys = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        return (windows[places] + keys).argsort(stable=True)

    def _decoded(self, path: Path, data: bytes) -> Tensor:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data)) as image:
                return self.decoder.decode(image)
        except Exception as error:  # Pillow raises many types for bad files
            text = f"{path}: an entry is not a readable image ({reason(error)}); repair it"
            raise InputError(text) from None


def _read(part: Shard, rows: list[int]) -> Iterator[bytes]:
    """Yield the encoded images of a shard; a file that cannot be read becomes a one-line error."""
    try:
        yield from part.read(rows)
    except InputError:
        raise
    except Exception as error:  # OSError, and many types of pyarrow
        raise InputError(f"{part.path}: not readable ({reason(error)}); repair or remove it") from None


def _open(argument: str, place: str) -> list[Shard]:
    """Return the shards of a folder or a pattern, in the order of their names."""
    folder = Path(place).expanduser()
    names = [str(file) for file in folder.iterdir()] if folder.is_dir() else glob.glob(str(folder))
    files = [Path(name) for name in sorted(names) if name.endswith((".tar", ".parquet"))]
    if not files:
        raise InputError(
            f"{argument}: {place!r} received; give a folder or a pattern of tar or parquet files"
        )
    parts = [part for file in files for part in _parts(file)]
    if not parts:
        raise InputError(f"{argument}: {len(files)} files without images received; give files of images")
    return parts


def _parts(file: Path) -> list[Shard]:
    """Return the shards of one file."""
    try:
        return [TarShard(file)] if file.suffix == ".tar" else list(_row_groups(file))
    except InputError:
        raise
    except Exception as error:  # tarfile and pyarrow raise many types for bad files
        kind = f"not a readable {file.suffix[1:]} file ({reason(error)})"
        raise InputError(f"{file}: {kind}; give complete files, and tar files without compression") from None


def _row_groups(file: Path) -> Iterator[ParquetShard]:
    """Yield the row groups of a Parquet file, with their labels."""
    parquet = _pyarrow_parquet(file)
    from pyarrow import types

    content = parquet.ParquetFile(file)

    def holds_images(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    columns = [
        field.name
        for field in content.schema_arrow
        if holds_images(field.type)
        or (types.is_struct(field.type) and any(inner.name == "bytes" for inner in field.type))
    ]
    if len(columns) != 1:
        raise InputError(f"{file}: {len(columns)} columns of encoded images received; give one")
    labelled = "label" in content.schema_arrow.names
    for group in range(content.num_row_groups):
        rows = content.metadata.row_group(group).num_rows
        labels = torch.empty(rows, 0, dtype=torch.long)
        if labelled:
            numbers = content.read_row_group(group, columns=["label"]).column("label").to_pylist()
            wrong = [number for number in numbers if not _is_whole(number)]
            if wrong:
                raise InputError(f"{file}: column label holds {wrong[0]!r}; give an integer in every row")
            labels = torch.tensor(numbers, dtype=torch.long)[:, None]
        if rows:
            yield ParquetShard(file, group, columns[0], labels)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _class_of(content: bytes, entry: str) -> int:
    """Return the class in a .cls file."""
    text = content.decode(errors="replace").strip()
    if not text.removeprefix("-").isdecimal():
        raise InputError(f"{entry} holds {text[:40]!r}; give an integer")
    return int(text)


def _pyarrow_parquet(file: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        text = f'{file}: needs pyarrow; pip install "mmdprior[tables]", or give tar files'
        raise InputError(text) from None
    return parquet

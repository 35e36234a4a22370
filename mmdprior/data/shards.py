"""Images in shards: many images per tar or Parquet file, for data sets larger than memory."""

import glob
import io
import tarfile
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
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
    image: str | None = None,
) -> Source:
    """Open a data set of shards, whose images are read and decoded on access.

    A tar file is a shard of the WebDataset format: files whose names are equal up to the first dot are a
    sample. It has one image, such as ``000017.jpg``, and may have a file ``000017.cls`` with its class, an
    integer. Other files and hidden ones are left out. A Parquet file has a column of encoded images, of bytes
    or of structs with a field ``bytes`` (the form of Hugging Face), and may have a column ``label`` of
    integers.

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
        image: ending of the images in tar files, such as ``left.png``, if samples have several; None, the
            default, if they have one.

    Raises:
        InputError: no shards, a damaged or compressed one, one without images, a sample with several images,
            labels of some images only, or a label that is not an integer.

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
    train = ShardedImages(_open("path", path, image), decoder, shuffle)
    test = None if test_path is None else _open("test_path", test_path, image)
    held_out = None if test is None else ShardedImages(test, decoder, shuffle)
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

    @abstractmethod
    def entry(self, row: int) -> str:
        """Return what a row is in its file, for errors."""


class TarShard(Shard):
    """A tar file. Its headers are read once; images are then read at their positions."""

    def __init__(self, path: Path, image: str | None = None) -> None:
        from mmdprior.data.pillow import readable_suffixes

        self.path = path
        known = readable_suffixes()
        positions: dict[str, tuple[int, int]] = {}
        classes: dict[str, int] = {}
        entries: dict[str, tuple[int, int]] = {}
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile():
                    entries[member.name] = (member.offset_data, member.size)
                elif member.islnk() and member.linkname in entries:
                    entries[member.name] = entries[member.linkname]
                else:
                    continue
                key, ending = _sample(member.name)
                if not key:
                    continue
                if ending.rpartition(".")[2].lower() == "cls":
                    file = tar.extractfile(member)
                    assert file is not None  # it is for files and links to them
                    number = _class_of(file.read(), f"{path}: {member.name}")
                    classes[key if ending.lower() == "cls" else _stem(member.name)] = number
                elif f".{ending.rpartition('.')[2].lower()}" in known and image in (None, ending):
                    positions[member.name] = entries[member.name]
            _check_end(path, tar.offset)
        _check_samples(path, list(positions), image)
        found = [classes.get(_stem(name), classes.get(_sample(name)[0])) for name in positions]
        numbers = [number for number in found if number is not None]
        if numbers and len(numbers) < len(positions):
            counts = f"{len(numbers)} of {len(positions)} images"
            raise InputError(f"{path}: {counts} have a .cls file; give all or none")
        self.positions = torch.tensor(list(positions.values()))
        self.labels = torch.tensor(numbers, dtype=torch.long).reshape(len(positions), -1)

    def read(self, rows: Sequence[int]) -> Iterator[bytes]:
        """Yield the encoded images of some rows, in the order of ``rows``."""
        with self.path.open("rb") as file:
            for offset, size in self.positions[list(rows)].tolist():
                file.seek(offset)
                yield file.read(size)

    def entry(self, row: int) -> str:
        """Return the name of an image in the tar file."""
        offset = int(self.positions[row, 0])
        with tarfile.open(self.path, "r:") as tar:
            return next((member.name for member in tar if member.offset_data == offset), f"image {row}")


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

    def entry(self, row: int) -> str:
        """Return the row group and the row in it."""
        return f"row {row} of row group {self.group}"


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
            wanted = zip(chosen[order].tolist(), local.tolist(), _read(part, local.tolist()), strict=True)
            for target, row, data in wanted:
                images[target] = self._decoded(part, row, data)
        return images, self.labels[rows]

    def read_order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return a permutation in which a few shards at a time are mixed."""
        places = torch.searchsorted(self._ends, rows, right=True)
        windows = torch.randperm(len(self.parts), generator=generator) // self.shuffle
        keys = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        return (windows[places] + keys).argsort(stable=True)

    def _decoded(self, part: Shard, row: int, data: bytes | None) -> Tensor:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data or b"")) as image:
                return self.decoder.decode(image)
        except MemoryError:
            raise
        except InputError as error:
            raise InputError(f"{part.path}: {part.entry(row)}: {error}") from None
        except Exception as error:  # Pillow raises many types for bad files
            detail = "unknown format" if isinstance(error, UnidentifiedImageError) else reason(error)
            text = f"{part.path}: {part.entry(row)} is not a readable image ({detail}); repair or remove it"
            raise InputError(text) from None


def _read(part: Shard, rows: list[int]) -> Iterator[bytes]:
    """Yield the encoded images of a shard; a file that cannot be read becomes a one-line error."""
    try:
        yield from part.read(rows)
    except InputError:
        raise
    except Exception as error:  # OSError, and many types of pyarrow
        raise InputError(f"{part.path}: not readable ({reason(error)}); repair or remove it") from None


def _open(argument: str, place: str, image: str | None) -> list[Shard]:
    """Return the shards of a folder, a file or a pattern, in the order of their names."""
    path = Path(place).expanduser()
    if path.is_dir():
        found = list(path.iterdir())
    else:
        found = [path] if path.is_file() else [Path(name) for name in glob.glob(str(path))]
    found = sorted(file for file in found if not file.name.startswith("."))
    files = [file for file in found if file.suffix.lower() in (".tar", ".parquet")]
    if not files:
        others = ", ".join(file.name for file in found[:3])
        contents = f", which holds {others}" if others and path.is_dir() else ""
        raise InputError(
            f"{argument}: {place!r} received{contents}; give a folder or a pattern of .parquet files, or of "
            ".tar files without compression"
        )
    parts = [part for file in files for part in _parts(file, image)]
    if not parts:
        raise InputError(f"{argument}: {len(files)} files without images received; give files of images")
    return parts


def _parts(file: Path, image: str | None) -> list[Shard]:
    """Return the shards of one file."""
    try:
        return [TarShard(file, image)] if file.suffix.lower() == ".tar" else list(_row_groups(file))
    except InputError:
        raise
    except Exception as error:  # tarfile and pyarrow raise many types for bad files
        kind = f"not a readable {file.suffix[1:]} file ({reason(error)})"
        raise InputError(f"{file}: {kind}; give complete files, and tar files without compression") from None


def _sample(name: str) -> tuple[str, str]:
    """Return the sample of an entry, with its folder, and the ending of its name; both empty if hidden."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return (f"{folder}{slash}{stem}", ending) if stem else ("", "")


def _stem(name: str) -> str:
    """Return the name of an entry up to its last dot."""
    return name.rpartition(".")[0]


def _check_end(path: Path, offset: int) -> None:
    """Check that an archive ends where `tarfile` stopped, which takes a damaged header for the end."""
    with path.open("rb") as file:
        file.seek(offset)
        rest = iter(lambda: file.read(2**20), b"")
        first = next(rest, b"")
        if not first:
            raise InputError(f"{path}: cut off at byte {offset}; give complete tar files")
        if any(any(block) for block in (first, *rest)):
            raise InputError(
                f"{path}: damaged at byte {offset}, or several archives in one file; give one intact archive"
            )


def _check_samples(path: Path, names: Sequence[str], image: str | None) -> None:
    """Check that there are images, and one per sample.

    Images whose names have further dots, such as ``photo.1.5.png``, are samples of their own if their endings
    are those of no other sample.
    """
    if not names:
        wanted = "png or jpg files" if image is None else f"files that end in .{image}"
        raise InputError(f"{path}: no images; give tar files of {wanted}")
    endings: dict[str, list[str]] = defaultdict(list)
    for key, ending in map(_sample, names):
        endings[key].append(ending)
    total = Counter(ending for found in endings.values() for ending in found)
    for key, found in endings.items():
        if len(found) > 1 and any("." not in ending or total[ending] > 1 for ending in found):
            several = " and ".join(sorted(found))
            raise InputError(f"{path}: sample {key} has images {several}; give the ending of one as image")


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
            wrong = [number for number in numbers if not _is_label(number)]
            if wrong:
                raise InputError(f"{file}: column label holds {wrong[0]!r}; give an integer in every row")
            labels = torch.tensor(numbers, dtype=torch.long)[:, None]
        if rows:
            yield ParquetShard(file, group, columns[0], labels)


def _is_label(value: object) -> bool:
    """Return whether a value is an integer of 64 bits."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and -(2**63) <= value < 2**63  # type: ignore[operator]


def _class_of(content: bytes, entry: str) -> int:
    """Return the class in a .cls file."""
    text = content.decode(errors="replace").strip()
    if not text.removeprefix("-").isdecimal() or not _is_label(int(text)):
        raise InputError(f"{entry} holds {text[:40]!r}; give an integer of 64 bits")
    return int(text)


def _pyarrow_parquet(file: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        text = f'{file}: needs pyarrow; pip install "mmdprior[tables]", or give tar files'
        raise InputError(text) from None
    return parquet

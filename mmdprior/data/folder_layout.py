"""The splits and classes of a folder of images, from the names of its folders."""

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmdprior.data.folder_scan import FolderScan, visible_folders
from mmdprior.errors import InputError, InputWarning

__all__ = ["FolderLayout", "read_layout"]

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Split -> names of its folder, in lower case."""

_FEW = 0.1
"""Share of images in no class folder up to which they are left out without a warning."""


@dataclass(frozen=True)
class FolderLayout:
    """The image files below a folder, by split and class.

    Attributes:
        folders: folder of each split: ``train``, and ``validation`` and ``test`` where the folder has them.
        files: sorted files of each split.
        classes: names of the classes of all splits, sorted; a class may be missing from a split.
        notes: how the folder was read, where that is not obvious.
        left_out: what was left out, with reasons; empty if nothing was.
    """

    folders: Mapping[str, Path]
    files: Mapping[str, Sequence[Path]]
    classes: Sequence[str]
    notes: Sequence[str]
    left_out: str

    def labels(self, split: str) -> list[int] | None:
        """Return the class number of each file of a split; None if its files are in no classes."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        classes = [_class_of(file, self.folders[split]) for file in self.files[split]]
        return None if None in classes else [numbers[str(name)] for name in classes]

    def describe(self) -> str:
        """Return numbers of images and classes, then notes and what was left out, in one line."""
        if len(self.files) == 1:
            counts = f"{len(self.files['train'])} images"
        else:
            names = {"train": "training", "validation": "validation", "test": "test"}
            counts = ", ".join(f"{len(files)} {names[split]}" for split, files in self.files.items())
            counts += " images"
        if self.classes:
            counts += f" in {len(self.classes)} class{'es' if len(self.classes) > 1 else ''}"
        left_out = [f"left out: {self.left_out}"] if self.left_out else []
        return "; ".join([counts, *self.notes, *left_out])


def read_layout(top: Path, suffixes: Collection[str]) -> FolderLayout:
    """Search a folder for images.

    Args:
        top: the folder.
        suffixes: suffixes of image files, in lower case.

    Raises:
        InputError: a split holds no images, or two folders have the name of the same split.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.data.folder_layout import read_layout
        >>> for file in ("Train/ant/0.png", "Train/bee/0.png", "TEST/bee/1.png"):
        ...     Path("insects", file).parent.mkdir(parents=True)
        ...     _ = Path("insects", file).write_bytes(b"x")
        >>> layout = read_layout(Path("insects"), {".png"})
        >>> layout.labels("test"), layout.describe()
        ([1], '2 training, 1 test images in 2 classes')
    """
    folders, notes = _split_folders(top)
    scan = FolderScan(suffixes)
    files = {split: scan.files(folder) for split, folder in folders.items()}
    for split, folder in folders.items():
        if not files[split]:
            left_out = scan.left_out()
            raise InputError(
                f"root: {folder} holds no images ({', '.join(sorted(suffixes))})"
                + (f"; left out: {left_out}" if left_out else "")
            )
    if folders["train"] == top:
        inner = _inner_top(top, files["train"])
        if inner is not None:
            return read_layout(inner, suffixes)
    else:
        for path in visible_folders(top):
            if path not in folders.values():
                scan.skip("next to the folders of the splits", path.name)
        for path in top.iterdir():
            if path.is_file() and path.suffix.lower() in suffixes:
                scan.skip("next to the folders of the splits", path.name)
    for split, folder in folders.items():
        files[split], note = _without_strays(files[split], folder, scan)
        notes += note
    classes = {_class_of(file, folder) for split, folder in folders.items() for file in files[split]}
    if None in classes and len(folders) == 1:
        classes = set()
    named = sorted(name for name in classes if name is not None)
    return FolderLayout(folders, files, named, notes, scan.left_out())


def _split_folders(top: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, and notes; the whole folder is the training split without others."""
    folders: dict[str, Path] = {}
    for split, names in _SPLITS.items():
        matches = [path for path in visible_folders(top) if path.name.lower() in names]
        if len(matches) > 1:
            raise InputError(
                f"root: folders {matches[0].name} and {matches[1].name} in {top} are both the {split} split; "
                "rename or remove one"
            )
        if matches:
            folders[split] = matches[0]
    if "train" not in folders:
        if len(folders) > 1:
            _warn(f"{top} holds {_names(folders)} but no train; all its images are one set")
        return {"train": top}, []
    if len(folders) == 1:
        return {"train": top}, []  # possibly a class of that name; `_inner_top` decides
    if "validation" in folders and "test" not in folders:
        folders["test"] = folders.pop("validation")
        return folders, [f"{folders['test'].name} is the test split"]
    return folders, []


def _inner_top(top: Path, files: Sequence[Path]) -> Path | None:
    """Return the folder that holds the splits, or a folder train with all images, if that is below ``top``.

    Warn about splits inside classes.
    """
    common = Path(os.path.commonpath([file.parent for file in files]))
    for folder in [*reversed(common.parents), common]:
        if folder.is_relative_to(top) and _holds_splits(folder):
            return folder
    classes = {_class_of(file, top) for file in files}
    if len(classes) == 1 and str(*classes).lower() in _SPLITS["train"]:
        return top / str(*classes)
    inside = [top / name for name in sorted(filter(None, classes)) if _holds_splits(top / name)]
    if inside:
        _warn(
            f"{len(inside)} folders such as {inside[0]} hold train and test images, which are pooled; give "
            "one of these folders as root"
        )
    return None


def _holds_splits(folder: Path) -> bool:
    """Return whether a folder holds a folder of training images and one of other images."""
    names = {path.name.lower() for path in visible_folders(folder)}
    return not names.isdisjoint(_SPLITS["train"]) and not names.isdisjoint(
        _SPLITS["validation"] + _SPLITS["test"]
    )


def _without_strays(files: list[Path], folder: Path, scan: FolderScan) -> tuple[list[Path], list[str]]:
    """Return the files in class folders, if they are the majority; otherwise all files, with a note."""
    strays = [file for file in files if _class_of(file, folder) is None]
    in_classes = len(files) - len(strays)
    if not strays or not in_classes:
        return files, []
    if len(strays) >= in_classes:
        return files, [f"no labels, because {len(strays)} images of {folder.name} are in no class folder"]
    if len(strays) > _FEW * len(files):
        _warn(
            f"{len(strays)} of {len(files)} images of {folder} are in no class folder and left out, such as "
            f"{strays[0].name}"
        )
    for file in strays:
        scan.skip("in no class folder", file.name)
    return [file for file in files if _class_of(file, folder) is not None], []


def _class_of(file: Path, folder: Path) -> str | None:
    """Return the first-level folder of a file; None if it is directly in the folder."""
    below = file.parts[len(folder.parts) :]
    return below[0] if len(below) > 1 else None


def _names(folders: Mapping[str, Path]) -> str:
    return " and ".join(path.name for path in folders.values())


def _warn(text: str) -> None:
    warnings.warn(f"data: {text}", InputWarning, stacklevel=2)

"""Search folders for files: every real file once, without hidden and system files."""

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FolderScan", "is_hidden", "visible_folders"]

_SYSTEM_NAMES = {
    *("$recycle.bin", "@eadir", "__macosx", "__pycache__", "desktop.ini", "lost+found", "thumbs.db"),
    "system volume information",
}
"""Names, in lower case, that operating systems and tools leave in folders."""

_LISTED = 6
"""Reasons that `FolderScan.left_out` lists, at most."""
_EXAMPLES = 2
"""Names that it lists per reason, at most."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder has the name of a hidden or system file."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def visible_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, links included and hidden ones not, in order of their names."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())


@dataclass
class FolderScan:
    """A search of one or more folders that returns each real file once.

    Attributes:
        suffixes: suffixes of the files to return, in lower case.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.data.folder_scan import FolderScan
        >>> Path("shots/.trash").mkdir(parents=True)
        >>> for name in ("a.png", "b.PNG", "notes.txt"):
        ...     _ = Path("shots", name).write_bytes(b"x")
        >>> scan = FolderScan({".png"})
        >>> [path.name for path in scan.files(Path("shots"))], scan.left_out()
        (['a.png', 'b.PNG'], '1 hidden (.trash), 1 .txt')
    """

    suffixes: Collection[str]
    _visited: set[str] = field(default_factory=set, init=False)
    """Real paths of the folders that were read, and of the files that links led to."""
    _skipped: dict[str, list[str]] = field(default_factory=dict, init=False)
    """Names that were left out, by reason."""

    def files(self, folder: Path) -> list[Path]:
        """Return the files below a folder, sorted, without those of earlier calls.

        Links are followed after all real folders have been read, so that a file in the folder is returned
        under its own path. A link to a folder that contains the link is not followed.
        """
        chosen, links = list[Path](), list[Path]()
        folders, folder_links = [folder], list[Path]()
        while folders or folder_links:
            if not folders:
                folder_links.sort(reverse=True)
                folders = self._unread_target(folder_links.pop())
                continue
            files, inner, more_links = self._read(folders.pop())
            chosen += files
            folders += inner
            links += more_links
            folder_links += [link for link in more_links if link.is_dir()]
        chosen += [link for link in sorted(links) if not link.is_dir() and self._is_unread_file(link)]
        return sorted(chosen)

    def skip(self, reason: str, name: str) -> None:
        """Record that a file or folder was left out."""
        self._skipped.setdefault(reason, []).append(name)

    def left_out(self) -> str:
        """Return what was left out as text: counts by reason with examples; empty if nothing was."""
        reasons = sorted(self._skipped.items(), key=_order)
        texts = [f"{len(names)} {reason}{_examples(reason, names)}" for reason, names in reasons[:_LISTED]]
        others = sum(len(names) for _, names in reasons[_LISTED:])
        return ", ".join([*texts, *([f"{others} others"] if others else [])])

    def _read(self, folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
        """Return the files, the folders and the links directly in a folder."""
        real = os.path.realpath(folder)
        files, folders, links = list[Path](), list[Path](), list[Path]()
        if real in self._visited:
            self.skip("read already", folder.name)
            return files, folders, links
        self._visited.add(real)
        try:
            entries = list(os.scandir(folder))
        except OSError:
            self.skip("unreadable", folder.name)
            return files, folders, links
        for entry in entries:
            path = folder / entry.name
            if is_hidden(entry.name):
                self.skip("hidden", entry.name)
            elif entry.is_symlink():
                links.append(path)
            elif entry.is_dir():
                folders.append(path)
            elif os.path.join(real, entry.name) not in self._visited and self._is_wanted(path):
                files.append(path)
        return files, folders, links

    def _unread_target(self, link: Path) -> list[Path]:
        """Return a link to a folder as a list of one, or an empty list if the folder is not to be read."""
        real, around = os.path.realpath(link), os.path.realpath(link.parent)
        if real in self._visited or os.path.commonpath([real, around]) == real:
            self.skip("read already", link.name)
            return []
        return [link]

    def _is_unread_file(self, link: Path) -> bool:
        """Return whether a link leads to a file that is to be read and was not read yet."""
        if not self._is_wanted(link):
            return False
        real = os.path.realpath(link)
        if real in self._visited or os.path.dirname(real) in self._visited:
            self.skip("read already", link.name)
            return False
        self._visited.add(real)
        return True

    def _is_wanted(self, path: Path) -> bool:
        """Return whether a path is a file with one of the suffixes that is not empty."""
        suffix = path.suffix.lower()
        reason = "" if suffix in self.suffixes else suffix or "without a suffix"
        try:
            status = path.stat()
        except OSError:
            reason = "broken"
        else:
            if not stat.S_ISREG(status.st_mode):
                reason = "not files"
            elif not status.st_size:
                reason = reason or "empty"
        if reason:
            self.skip(reason, path.name)
        return not reason


def _order(reason_and_names: tuple[str, list[str]]) -> tuple[bool, int, str]:
    """Return a sort key: suffixes last, then the most frequent reasons first."""
    reason, names = reason_and_names
    return reason.startswith("."), -len(names), reason


def _examples(reason: str, names: list[str]) -> str:
    if reason.startswith("."):
        return ""
    shown = sorted(set(names))
    return f" ({', '.join(shown[:_EXAMPLES])}{', ...' if len(shown) > _EXAMPLES else ''})"

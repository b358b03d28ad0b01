"""Find files in folders and by patterns; tells unavailable folders from deleted files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chainkit.base.errors import NO_SUCH_FILE, NO_SUCH_PATH, of_system
from chainkit.knowledge.readers.web import is_page, without_secrets

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
LEFT_OUT = frozenset(("__pycache__", "node_modules"))
"""Folders that are passed over, as are all whose name begins with a dot."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark on a file: why it was skipped, or how it was read.

    Attributes:
        path: The file.
        reason: In a few words.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Found:
    """The files found for some paths.

    Attributes:
        files: Absolute, in a stable order, each once.
        pages: Addresses of web pages, each once.
        skipped: Names and patterns without a readable file.
        away: Folders that are unavailable now, such as those of an unplugged disk.
        folders: Each folder that was asked for, its device, and whether it holds nothing at all.
    """

    files: tuple[Path, ...]
    skipped: tuple[Remark, ...] = ()
    pages: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    folders: tuple[tuple[str, int, bool], ...] = ()

    def keeps(self, path: str) -> str | None:
        """The folder that is away and that a file would lie in; None where the file is gone for good."""
        return next((folder for folder in self.away if path.startswith(os.path.join(folder, ""))), None)


def find(paths: Paths, *, follow_links: bool = False) -> Found:
    """Find files: a file path names itself, a folder all files below it, a pattern its matches.

    Hidden files and folders are passed over unless they are named. Links inside a folder are followed, each folder
    once; those that lead out of it only if `follow_links`, since the folder's author may have set them.
    """
    named = listed(paths)
    search = _Search(follow_links)
    for path in named:
        if not is_page(path):
            search.add(path)
    pages = tuple(dict.fromkeys(filter(is_page, named)))
    return Found(tuple(search.files), tuple(search.skipped), pages, tuple(search.away), tuple(search.folders))


def listed(paths: Paths) -> list[str]:
    """One path or several, as a list of texts."""
    return [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]


def absolute(path: str) -> str:
    """A path or pattern that means the same from every folder; of the address of a web page, secrets are masked."""
    if is_page(path):
        return without_secrets(path)
    return os.path.abspath(os.path.expanduser(path)) if path and "\0" not in path else path


def shown(path: str) -> str:
    """A path for people: from the current folder where it is below it, with control characters escaped."""
    here = os.path.join(os.getcwd(), "")
    short = path.removeprefix(here) or path
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in short)


@dataclass(slots=True)
class _Search:
    """One search for files: those found, and remarks on the others."""

    follow_links: bool
    files: dict[Path, None] = field(default_factory=dict[Path, None])
    skipped: list[Remark] = field(default_factory=list[Remark])
    away: list[str] = field(default_factory=list[str])
    folders: list[tuple[str, int, bool]] = field(default_factory=list[tuple[str, int, bool]])

    def add(self, path: str) -> None:
        """Add all files of one path."""
        if not path or "\0" in path or not _valid(path):
            self._skip(path, "is not a path that can be stored")
            return
        place = Path(path).expanduser()
        try:
            self._add(path, place)
        except OSError as error:
            self._skip(path, plain(error))
            self.away.append(os.path.abspath(place))

    def _add(self, path: str, place: Path) -> None:
        if place.is_dir():
            folder = os.path.abspath(place)
            self.folders.append((folder, place.stat().st_dev, not os.listdir(folder)))
            self._below(folder)
        elif place.is_file():
            self.files.setdefault(Path(os.path.abspath(place)))
        elif place.exists():
            self._skip(path, "is neither a file nor a folder")
        elif glob.has_magic(path):
            self._matches(str(place))
        else:
            self._skip(path, "is a broken link" if place.is_symlink() else NO_SUCH_PATH)
            self.away.append(_missing(os.path.abspath(place)))

    def _matches(self, pattern: str) -> None:
        root = _fixed_part(pattern)
        if not os.path.isdir(root):
            self.away.append(_missing(root))
        matches = sorted(glob.glob(pattern, recursive=True))
        if not matches:
            self._skip(pattern, "matches no file")
        for match in matches:
            passed_over = LEFT_OUT.intersection(Path(match).parts).difference(Path(pattern).parts)
            if not passed_over and not os.path.isdir(match) and self._inside(match, os.path.realpath(root)):
                self._visible(Path(match))

    def _below(self, folder: str) -> None:
        visited: set[str] = set()
        root = os.path.realpath(folder)
        for place, folders, names in os.walk(folder, followlinks=True, onerror=self._refused):
            real = os.path.realpath(place)
            if real in visited:  # a link leads back, or to a folder that was walked before
                folders.clear()
                continue
            visited.add(real)
            seen = sorted(name for name in folders if not name.startswith(".") and name not in LEFT_OUT)
            folders[:] = [name for name in seen if self._inside(os.path.join(place, name), root)]
            for name in sorted(names):
                file = os.path.join(place, name)
                if not name.startswith(".") and self._inside(file, root):
                    self._visible(Path(file))

    def _inside(self, path: str, root: str) -> bool:
        """Whether a path is not a link, or a link that stays below the root; others get a remark."""
        if self.follow_links or not _linked(path, root):
            return True
        real = os.path.realpath(path)
        if real == root or real.startswith(os.path.join(root, "")) or not os.path.exists(real):
            return True
        self._skip(path, "is a link that leads out of the folder, and links are followed only if asked (follow_links)")
        return False

    def _visible(self, file: Path) -> None:
        if not _valid(str(file)):
            self._skip(str(file), "has a name that is not valid Unicode")
        elif file.is_file():
            self.files.setdefault(Path(os.path.abspath(file)))
        else:
            self._skip(str(file), "is a broken link" if file.is_symlink() else "is not a regular file")

    def _refused(self, error: OSError) -> None:
        self._skip(str(error.filename), plain(error))
        self.away.append(os.path.abspath(str(error.filename)))

    def _skip(self, path: str, reason: str) -> None:
        self.skipped.append(Remark(path, reason))


def _linked(path: str, root: str) -> bool:
    """Whether a path is a link, or was reached through one below the root (by a pattern)."""
    return os.path.islink(path) or not os.path.realpath(os.path.dirname(path)).startswith(root)


def _fixed_part(pattern: str) -> str:
    """The folder that all matches of a pattern lie in."""
    parts = Path(pattern).parts
    fixed = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return os.path.abspath(os.path.join(*parts[:fixed]) if fixed else ".")


def _missing(path: str) -> str:
    """The highest folder that is missing above a path that is; the path itself where only that is gone."""
    above = os.path.dirname(path)
    while above != path and not os.path.exists(above):
        path, above = above, os.path.dirname(above)
    return path


def _valid(path: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in path)


def plain(error: OSError) -> str:
    """Why a file or folder cannot be opened, in a few words."""
    return NO_SUCH_FILE if isinstance(error, FileNotFoundError) else f"cannot be read: {of_system(error)}"

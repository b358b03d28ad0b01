"""Results kept in a file, so that work that was interrupted is not done twice."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from pathlib import Path

from chainkit.base.errors import ChainkitError
from chainkit.base.sqlite import KeyValueFile, reason, translated

log = logging.getLogger("chainkit.chains")

_NUMBER = 3


class KeptResults:
    """Texts by the hash of what they were made from, in one SQLite file; None keeps nothing.

    Threads and processes may share a file, and entries survive the end of the process. A file that fails
    later, such as on a full disk, is a warning in the log: the results are still given.

    Raises:
        ChainkitError: The file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = path
        self._cache: KeyValueFile | None = None
        if path is not None:
            with translated(lambda why: ChainkitError(f"{path}: cannot be used to keep results: {why}")):
                self._cache = KeyValueFile(Path(path), _NUMBER, folders=False)

    def load(self, key: str) -> str | None:
        """The text of a key, or None."""
        if self._cache is None:
            return None
        try:
            found = self._cache.get(key.encode())
            return None if found is None else found.decode("utf-8", "surrogatepass")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            log.warning("%s: a result that was kept cannot be read: %s", self._path, error)
            return None

    def store(self, key: str, text: str) -> None:
        """Keep a text."""
        if self._cache is None:
            return
        try:
            self._cache.put(key.encode(), text.encode("utf-8", "surrogatepass"))
        except sqlite3.Error as error:
            log.warning("%s: a result is not kept: %s", self._path, reason(error))

    def close(self) -> None:
        """Let go of the file."""
        if self._cache is not None:
            self._cache.close()


def key_of(*parts: str) -> str:
    """The hash of some texts.

    >>> key_of("ab", "c") == key_of("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()

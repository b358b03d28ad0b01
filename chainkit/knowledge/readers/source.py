"""A file being read, with its limits and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers import charsets
from chainkit.knowledge.readers.blocks import Block


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Limits on reading one document; beyond them it is cut or skipped, with a remark.

    Attributes:
        seconds: Of the processor, for one document.
        memory_bytes: That a reader may take in addition to what its process has anyway.
        characters: Of text, whatever the size of the file.
        growth: Characters of text for each byte of the file, above `free_characters`: documents that unfold to more
            are made to do harm.
        free_characters: That every document may have.
    """

    seconds: float = 8.5  # embedding and storing what a harmful file holds takes another second and a half at most
    memory_bytes: int = 400_000_000
    characters: int = 200_000_000
    growth: int = 40
    free_characters: int = 5_000_000

    def characters_of(self, size: int) -> int:
        """How much text a file of `size` bytes may hold."""
        return min(self.characters, max(self.free_characters, self.growth * size))


@dataclass(slots=True)
class Source:
    """A file that a reader turns into blocks.

    Attributes:
        path: The file.
        kind: What messages call it, such as "PDF".
        notes: What a reader of the answers should know, such as pages without text; each once.
    """

    path: Path
    kind: str = "text"
    notes: list[str] = field(default_factory=list[str])

    def note(self, reason: str) -> None:
        """Say how the file was read, once."""
        if reason not in self.notes:
            self.notes.append(reason)

    def encoding(self) -> charsets.Encoding:
        """The encoding of a text file.

        Raises:
            DocumentError: It is not text.
        """
        found = charsets.of_file(self.path)
        if found.note:
            self.note(found.note)
        return found

    def whole_text(self) -> str:
        """The whole text, with `\\n` for every kind of line end.

        Raises:
            DocumentError: It is not text, or not valid in the encoding that its own mark names.
        """
        found = self.encoding()
        try:
            return self.path.read_text(found.name, found.errors)
        except UnicodeError as error:
            raise DocumentError(self.path, f"is not valid {found.name.upper()}") from error


Reader = Callable[[Source], Iterator[Block]]

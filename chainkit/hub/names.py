"""The name of a model on a hub: `ORG/REPO`, `ORG/REPO:Q4_K_M` or `ORG/REPO:file.gguf`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from chainkit.base.errors import SpecError

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_FILES = (".gguf", ".bin", ".safetensors", ".json")
_REVISION = re.compile(r"\w[\w./-]{0,199}")


@dataclass(frozen=True)
class HubName:
    """A model on a hub.

    Attributes:
        repo: `ORG/REPO`.
        pick: A quantization or the name of a file; empty if the repository is to have one model only.
        revision: A branch, tag or commit.
    """

    repo: str
    pick: str = ""
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a name apart; `@` before a revision may follow the repository.

        >>> HubName.parse("TheBloke/Llama-2-7B-Chat-GGUF:Q4_K_M")
        HubName(repo='TheBloke/Llama-2-7B-Chat-GGUF', pick='Q4_K_M', revision='main')

        Raises:
            SpecError: It is not such a name.
        """
        where, _, pick = text.strip().partition(":")
        repo, at, revision = where.partition("@")
        if not _REPO.fullmatch(repo) or ".." in where or (at and not _REVISION.fullmatch(revision)):
            raise SpecError(f"'{text}' is not a model on a hub; write it as ORG/REPO, ORG/REPO:Q4_K_M or ORG/REPO:FILE")
        if ".." in pick.split("/") or pick.startswith("/"):
            raise SpecError(f"'{text}' names a file outside its repository")
        return cls(repo, pick.strip(), revision or "main")

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"{self.repo}{revision}" + (f":{self.pick}" if self.pick else "")


def is_hub_name(text: str) -> bool:
    """Whether a text could name a model on a hub, by its form alone; what ends as a file does is a file.

    >>> is_hub_name("TheBloke/Llama-2-7B-GGUF:Q4_K_M"), is_hub_name("./llama.gguf"), is_hub_name("models/llama.gguf")
    (True, False, False)
    """
    try:
        name = HubName.parse(text)
    except SpecError:
        return False
    return not name.repo.lower().endswith(_FILES)

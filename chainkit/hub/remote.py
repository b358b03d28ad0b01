"""The memory that a model on a hub needs, from the first bytes of its files."""

from __future__ import annotations

from dataclasses import replace

from chainkit.hub.choice import Choice
from chainkit.hub.repository import Repository, token
from chainkit.sizing.model import ModelShape
from chainkit.sizing.remote import remote_gguf, remote_transformers


def remote_model(repository: Repository, choice: Choice, dtype: str = "auto") -> ModelShape:
    """The model of a choice; a few ranges of its files are read.

    Raises:
        ModelFileError: A header is damaged.
        ConnectionFailed: No answer came.
    """
    if choice.format == "gguf":
        found = remote_gguf([repository.address(file.name) for file in choice.files], token())
        return replace(found, name=choice.files[0].name)
    names = [file.name for file in choice.files]
    return remote_transformers(repository.name.repo, repository.address, names, token(), dtype)

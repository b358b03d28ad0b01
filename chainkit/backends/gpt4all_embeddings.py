"""`gpt4all:` as embeddings: the models of the gpt4all package."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from chainkit.base.errors import MissingLibrary, ModelFileError
from chainkit.base.vectors import Storage, stored_as, texts_of, unit
from chainkit.local.kept import Kept

Array = np.ndarray[Any, Any]


class GPT4AllEmbeddings(BaseModel, Embeddings):
    """Vectors of texts from the gpt4all package; its files are GGUF, so that `gguf:` reads most of them as well.

    Attributes:
        model: A file, or the name of one of its models; empty for its all-MiniLM-L6-v2.
        device: "cpu", "gpu" and others that the package knows; None is its own choice.
        n_threads: None lets the library choose.
        dimensions: Truncate vectors to this dimension, for models trained for it (Matryoshka).
        query_prefix: The task of a query, such as "search_query" for Nomic Embed; None lets the package choose.
        document_prefix: Likewise of a document.
        long_texts: Of a text that is too long, "mean" averages the vectors of its pieces, "truncate" cuts it.
        normalize: Vectors have length 1, so that their dot product is the cosine.
        download: Let the package fetch a model that is not on this machine.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    device: str | None = None
    n_threads: int | None = Field(default=None, ge=1)
    dimensions: int | None = Field(default=None, ge=1)
    query_prefix: str | None = None
    document_prefix: str | None = None
    long_texts: Literal["mean", "truncate"] = "mean"
    normalize: bool = True
    download: bool = True

    _kept: Kept[tuple[Any, threading.Lock]] = PrivateAttr(default_factory=Kept)

    def embed_array(self, texts: Sequence[str], *, storage: Storage = "float32") -> Array:
        """The vectors of texts, N x D.

        Args:
            texts: N texts.
            storage: "float32", "float16" or "int8"; see `chainkit.base.vectors.stored_as`.

        Raises:
            BadTexts: Things that are not texts.
            MissingLibrary: gpt4all is not installed.
            ModelFileError: The model cannot be found or loaded.
        """
        return stored_as(self._vectors(texts, self.document_prefix), storage)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts as lists."""
        return self.embed_array(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text, as a question."""
        return self._vectors([text], self.query_prefix)[0].tolist()

    def _vectors(self, texts: Sequence[str], prefix: str | None) -> Array:
        wanted = texts_of(texts)
        if not wanted:
            return np.zeros((0, 0), np.float32)
        key = (self.model, self.device, self.n_threads, self.download)
        model, busy = self._kept.value(key, lambda: (self._load(), threading.Lock()))
        with busy:  # one computation at a time is what the library allows
            try:
                made = model.embed(
                    # it takes no empty text
                    [text or " " for text in wanted],
                    prefix=prefix,
                    dimensionality=self.dimensions,
                    long_text_mode=self.long_texts,
                )
            except RuntimeError as error:
                raise ModelFileError(self.model or "gpt4all's own model", _reason(error)) from error
        vectors = np.asarray(made, np.float32)
        return unit(vectors) if self.normalize else vectors

    def _load(self) -> Any:
        try:
            gpt4all = importlib.import_module("gpt4all")
        except ImportError as error:
            raise MissingLibrary("gpt4all", extra="gpt4all") from error
        path = Path(self.model).expanduser()
        place = {"model_path": str(path.parent)} if path.parent != Path() else {}
        settings = {"n_threads": self.n_threads, "device": self.device, "allow_download": self.download and not place}
        try:
            return gpt4all.Embed4All(path.name or None, **settings, **place)
        except (OSError, ValueError, RuntimeError) as error:  # a missing file, a failed download, a file it cannot read
            raise ModelFileError(self.model or "gpt4all's own model", f"cannot be loaded: {error}") from error


def _reason(error: RuntimeError) -> str:
    if "specify a prefix" in str(error):
        return (
            "is not known to gpt4all, which asks for its prefixes: give query_prefix and document_prefix, '' for none"
        )
    return f"gives no vectors: {error}"

"""`spacy:` as embeddings: the word vectors of a spaCy package, averaged over a text."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, PrivateAttr

from chainkit.base.errors import MissingLibrary, ModelFileError, SpecError, Unsupported
from chainkit.base.vectors import Storage, stored_as, texts_of, unit
from chainkit.local.kept import Kept

Array = np.ndarray[Any, Any]

_UNUSED = ("tagger", "parser", "senter", "attribute_ruler", "lemmatizer", "ner")


class SpacyEmbeddings(BaseModel, Embeddings):
    """The mean of the vectors of a text's words, from a spaCy package such as en_core_web_md.

    It knows nothing of the order of words and no word that the package lacks: small and fast, and much weaker than a
    sentence model. A text of unknown words has a vector of zeros, which is like nothing.

    Attributes:
        model: The name of an installed package, or a folder.
        normalize: Vectors have length 1, so that their dot product is the cosine.

    Raises:
        SpecError: The model has no name.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    normalize: bool = True

    _kept: Kept[tuple[Any, threading.Lock]] = PrivateAttr(default_factory=Kept)

    def model_post_init(self, context: Any, /) -> None:
        """Refuse a model without a name."""
        if not self.model.strip():
            raise SpecError("spacy needs the name of a package, as in 'spacy:en_core_web_md'")

    def embed_array(self, texts: Sequence[str], *, storage: Storage = "float32") -> Array:
        """The vectors of texts, N x D.

        Args:
            texts: N texts.
            storage: "float32", "float16" or "int8"; see `chainkit.base.vectors.stored_as`.

        Raises:
            BadTexts: Things that are not texts.
            MissingLibrary: spaCy is not installed.
            ModelFileError: The package is not installed.
            Unsupported: The package has no vectors.
        """
        wanted = texts_of(texts)
        model, busy = self._kept.value(self.model, lambda: (_load(self.model), threading.Lock()))
        with busy:  # spaCy adds new words to the vocabulary while it reads
            rows = [document.vector for document in model.pipe(wanted)]
        found = np.stack(rows).astype(np.float32) if rows else np.zeros((0, model.vocab.vectors_length), np.float32)
        return stored_as(unit(found) if self.normalize else found, storage)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts as lists."""
        return self.embed_array(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_array([text])[0].tolist()

    def token_counts(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
        """The number of words and signs of each text; raises as `embed_array`."""
        wanted = texts_of(texts)
        model, busy = self._kept.value(self.model, lambda: (_load(self.model), threading.Lock()))
        with busy:
            return [len(model.make_doc(text)) for text in wanted]


def _load(name: str) -> Any:
    try:
        spacy = importlib.import_module("spacy")
    except ImportError as error:
        raise MissingLibrary("spacy", extra="spacy") from error
    try:
        model = spacy.load(name, exclude=list(_UNUSED))
    except OSError as error:
        raise ModelFileError(name, f"is not installed; run: python -m spacy download {name}") from error
    if not model.vocab.vectors_length:
        raise Unsupported(f"{name} has no word vectors; take one whose name ends in _md or _lg")
    return model

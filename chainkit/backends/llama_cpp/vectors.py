"""`gguf:` as embeddings: BERT-like models, and decoders that were trained for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from langchain_core.embeddings import Embeddings
from pydantic import PrivateAttr

from chainkit.backends.llama_cpp.embedder import Embedder, EmbedderSettings, Matrix, roomy_weights
from chainkit.backends.llama_cpp.settings import FileSettings
from chainkit.local.kept import Kept


class GGUFEmbeddings(FileSettings, Embeddings):
    """Vectors of texts from a GGUF file.

    Attributes:
        pooling: How the vectors of a text's tokens become one; None: as the file says, or the mean.
        normalize: Scale each vector to length 1.
        query_prefix: Put before the text of a query; some models were trained with one ("query: ").
        document_prefix: Likewise before a document.
    """

    pooling: Literal["mean", "cls", "last"] | None = None
    normalize: bool = True
    query_prefix: str = ""
    document_prefix: str = ""

    _embedder: Kept[Embedder] = PrivateAttr(default_factory=Kept)

    @property
    def embedder(self) -> Embedder:
        """The loaded model; it shares its weights with every other model of the same file.

        Raises:
            ModelFileError: The file is not a model, or a damaged one.
            MissingLibrary: llama.cpp is not installed.
        """
        settings = EmbedderSettings(
            context_length=self.context_length,
            n_threads=self.n_threads,
            flash_attention=self.flash_attention,
            pooling=self.pooling,
        )
        key = (self.path, self.loading, settings)
        return self._embedder.value(key, lambda: Embedder(roomy_weights(self), settings))

    def load(self) -> None:
        """Load now what the first text would load.

        Raises:
            NotEnoughMemory: It does not fit in the memory that is free, and `force` was not given.
        """
        _ = self.embedder

    def token_counts(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
        """How many tokens the model reads of each text, N: special tokens and the prefix included.

        Args:
            texts: N texts.
            query: Whether they are queries; else they are documents.
        """
        prefix = self.query_prefix if query else self.document_prefix
        vocabulary = self.embedder.vocabulary
        return [len(vocabulary.tokenize(prefix + text, whole=True)) for text in texts]

    def unload(self) -> None:
        """Free the memory; the next call loads the model again."""
        self._embedder.clear()

    def vectors(self, texts: Sequence[str]) -> Matrix:
        """The vectors as one array, [N, D] of float32.

        Raises:
            ContextOverflow: A text is longer than the model can read.
        """
        found = self.embedder.embed(texts)
        if not self.normalize:
            return found
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return (found / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector per text, in the same order."""
        return self.vectors([self.document_prefix + text for text in texts]).tolist() if texts else []

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return self.vectors([self.query_prefix + text])[0].tolist()

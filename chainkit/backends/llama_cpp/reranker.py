"""`gguf:` as a reranker: models that were made to say how well a passage answers a question."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from pydantic import PrivateAttr

from chainkit.backends.llama_cpp.embedder import Embedder, EmbedderSettings, roomy_weights
from chainkit.backends.llama_cpp.settings import FileSettings
from chainkit.backends.llama_cpp.vocabulary import LlamaVocabulary
from chainkit.base.errors import ModelFileError
from chainkit.local.kept import Kept
from chainkit.local.reranker import Reranker

_TEMPLATE_KEY = "tokenizer.chat_template.rerank"
_PLACES = re.compile(r"\{(query|document)\}")
_WORDPIECE = 3
_CHANCES = ("qwen3",)  # llama.cpp gives the probability of "yes" for these
_RANK = "rank"


class GGUFReranker(FileSettings, Reranker):
    """A GGUF reranker: bge-reranker, jina-reranker, Qwen3-Reranker and the like.

    Attributes:
        normalize: Scores from 0 to 1; otherwise as the model says them.
    """

    normalize: bool = True

    _embedder: Kept[Embedder] = PrivateAttr(default_factory=Kept)

    @property
    def embedder(self) -> Embedder:
        """The loaded model.

        Raises:
            ModelFileError: The file is not a reranker, or a damaged one.
            MissingLibrary: llama.cpp is not installed.
        """
        settings = EmbedderSettings(
            context_length=self.context_length,
            n_threads=self.n_threads,
            flash_attention=self.flash_attention,
            pooling=_RANK,
        )
        return self._embedder.value((self.path, self.loading, settings), lambda: self._opened(settings))

    def load(self) -> None:
        """Load now what the first question would load.

        Raises:
            NotEnoughMemory: It does not fit in the memory that is free, and `force` was not given.
        """
        _ = self.embedder

    def unload(self) -> None:
        """Free the memory; the next call loads the model again."""
        self._embedder.clear()

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers, in their order.

        Raises:
            ContextOverflow: A text is too long to be read with the question; nothing has been computed then.
        """
        if not texts:
            return []
        embedder = self.embedder
        found = embedder.embed_tokens([self._tokens(embedder.vocabulary, query, text) for text in texts])[:, 0]
        if self.normalize and self.header.architecture not in _CHANCES:
            found = 1.0 / (1.0 + np.exp(-found.astype(np.float64)))
        return [float(score) for score in found]

    def token_counts(self, query: str, texts: Sequence[str]) -> list[int]:
        """How many tokens the model reads for each text, the question included."""
        vocabulary = self.embedder.vocabulary
        return [len(self._tokens(vocabulary, query, text)) for text in texts]

    def _opened(self, settings: EmbedderSettings) -> Embedder:
        names = ("cls.weight", "cls.output.weight", "classifier.weight")
        if not any(name in self.header.tensors for name in names):
            raise ModelFileError(self.path, "is not a reranker: it has no layer that makes a score")
        return Embedder(roomy_weights(self), settings)

    def _tokens(self, vocabulary: LlamaVocabulary, query: str, text: str) -> list[int]:
        template = self.header.get(_TEMPLATE_KEY)
        if isinstance(template, str) and "{query}" in template and "{document}" in template:
            return _from_template(vocabulary, template, {"query": query, "document": text})
        question, passage = vocabulary.tokenize(query, whole=True), vocabulary.tokenize(text, whole=True)
        between = [vocabulary.separator] if vocabulary.kind != _WORDPIECE and vocabulary.separator is not None else []
        begins = bool(passage) and passage[0] == vocabulary.bos
        return question + between + passage[int(begins) :]


def _from_template(vocabulary: LlamaVocabulary, template: str, texts: dict[str, str]) -> list[int]:
    """The template's own special tokens, and none that a text names."""
    tokens = [vocabulary.bos] if vocabulary.adds_bos and vocabulary.bos is not None else []
    position = 0
    for place in _PLACES.finditer(template):
        tokens += vocabulary.tokenize(template[position : place.start()], special=True)
        tokens += vocabulary.tokenize(texts[place[1]])
        position = place.end()
    return tokens + vocabulary.tokenize(template[position:], special=True)

"""Sentence embeddings as langchain-core `Embeddings`."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from chainkit.backends.sentence.recipe import Recipe, read_recipe
from chainkit.backends.sentence.runtimes import Precision, Runtime, load_runtime
from chainkit.backends.sentence.tokens import TextTruncated, Tokens
from chainkit.backends.sentence.vectors import pooled
from chainkit.backends.sentence.weights import find_folder, sha256_of
from chainkit.base.errors import ContextOverflow, Unsupported
from chainkit.base.vectors import Storage, first_dimensions, stored_as, texts_of, unit

Array = np.ndarray[Any, Any]

Progress = Callable[[int, int], None]

_TEXTS_AT_ONCE = 16_384  # number of texts tokenized at a time


class SentenceEmbeddings(BaseModel, Embeddings):
    """Sentence embeddings on the CPU: all-MiniLM-L6-v2, or another BERT-like model of sentence-transformers.

    The files are found when the object is made, the weights are mapped when the first text comes. Threads may share
    one object; the async methods run in a worker thread.

    Attributes:
        model: A folder, a name on the Hugging Face hub, or empty for all-MiniLM-L6-v2.
        revision: Branch, tag or commit on the hub.
        runtime: "onnxruntime", "openvino", or "auto": OpenVINO where it is installed.
        precision: "auto" computes in bfloat16 where OpenVINO runs on a CPU that multiplies it, else in float32. "int8"
            is faster and keeps most matrices in a quarter of the memory; the vectors of all-MiniLM-L6-v2 have a cosine
            of 0.9995 to those of float32, on average.
        n_threads: None takes all CPUs that the process may use.
        truncate: A text longer than the model reads is cut with a `TextTruncated` warning, or refused ("error").
        normalize: Vectors have length 1, so that their dot product is the cosine.
        dimensions: Truncate vectors to this dimension, for models trained for it (Matryoshka); None keeps all.
        query_prompt: Text before a query; None uses that of the model's files, usually none.
        document_prompt: Likewise before a document.

    Raises:
        ModelFileError: The model was not found, or its files cannot be used.
        MissingLibrary: tokenizers, onnxruntime or onnx is not installed.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    revision: str = "main"
    runtime: Literal["auto", "onnxruntime", "openvino"] = "auto"
    precision: Precision = "auto"
    n_threads: int | None = Field(default=None, ge=1)
    truncate: Literal["warn", "error"] = "warn"
    normalize: bool = True
    dimensions: int | None = Field(default=None, ge=1)
    query_prompt: str | None = None
    document_prompt: str | None = None

    _recipe: Recipe = PrivateAttr()
    _tokens: Tokens = PrivateAttr()
    _runtime: Runtime | None = PrivateAttr(default=None)
    _loading: Any = PrivateAttr(default_factory=threading.Lock)

    @field_validator("model", mode="before")
    @classmethod
    def _text(cls, model: Any) -> Any:
        return str(model) if hasattr(model, "__fspath__") else model

    def model_post_init(self, context: Any, /) -> None:
        """Find the files and read what they say."""
        self._recipe = read_recipe(find_folder(self.model, self.revision))
        if self._recipe.dense:
            raise Unsupported(f"{self._recipe.folder}: layers after the pooling (Dense) are not known")
        if self.dimensions is not None and self.dimensions > self.width:
            raise Unsupported(f"{self.dimensions} dimensions were asked for, and the vectors have {self.width}")
        self._tokens = Tokens(
            self._recipe.folder, self._recipe.max_tokens, int(self._recipe.config.get("pad_token_id") or 0)
        )

    def embed_array(
        self, texts: Sequence[str], *, storage: Storage = "float32", progress: Progress | None = None
    ) -> Array:
        """The vectors of texts, N x D; the same set of texts gives the same vectors in any order.

        Args:
            texts: N texts.
            storage: "float32", "float16" or "int8"; see `chainkit.base.vectors.stored_as`.
            progress: Called with the number of different texts that are done, and how many there are.

        Raises:
            BadTexts: Not a list of texts, or a text that is not valid Unicode.
            ContextOverflow: A text is too long and `truncate` is "error".
        """
        prompt = self._prompt(self.document_prompt, "document", "passage", "corpus")
        return stored_as(self._vectors(texts, prompt, progress), storage)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts as lists; `embed_array` is faster and takes a tenth of the memory."""
        return self._vectors(texts, self._prompt(self.document_prompt, "document", "passage", "corpus")).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self._vectors([text], self._prompt(self.query_prompt, "query"))[0].tolist()

    def token_counts(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
        """How many tokens the model reads of each text, N: special tokens and the prompt before it included.

        Args:
            texts: N texts.
            query: Whether they are queries; else they are documents.
        """
        names = ("query",) if query else ("document", "passage", "corpus")
        prompt = self._prompt(self.query_prompt if query else self.document_prompt, *names)
        return [len(ids) for ids in self._tokens.encoded([prompt + text for text in texts_of(texts)]).ids]

    def load(self) -> None:
        """Load now what the first text would load."""
        self._loaded()

    def unload(self) -> None:
        """Free the memory; the next text loads the model again."""
        with self._loading:
            self._runtime = None

    def fluency(self, texts: Sequence[str]) -> float:
        """How well the model knows the languages of texts, 0 to 1; judged by how it splits their words."""
        return self._tokens.fluency(texts_of(texts))

    @property
    def width(self) -> int:
        """The length of the model's own vectors; D is `dimensions` where that is given."""
        return int(self._recipe.config["hidden_size"]) * len(self._recipe.pooling)

    @property
    def fingerprint(self) -> str:
        """What tells this model and its settings from others: it changes where vectors would."""
        weights = next(name for name in ("model.safetensors", "onnx/model.onnx") if (self.folder / name).is_file())
        settings = self.model_dump(exclude={"model", "revision", "n_threads", "truncate"})
        recipe = (self._recipe.max_tokens, self._recipe.pooling, self._recipe.prompts, self._recipe.normalized)
        key = repr((sha256_of(self.folder / weights), sorted(settings.items()), recipe))
        return f"sentence {hashlib.sha256(key.encode()).hexdigest()}"

    def _prompt(self, chosen: str | None, *names: str) -> str:
        found = (self._recipe.prompts[name] for name in names if name in self._recipe.prompts)
        return next(found, "") if chosen is None else chosen

    def _vectors(self, texts: Sequence[str], prompt: str, progress: Progress | None = None) -> Array:
        texts = [prompt + text for text in texts_of(texts)]
        # longest first, so that texts that are too long, or too little memory, show at the beginning
        unique = sorted(set(texts), key=lambda text: (-len(text), text))
        vectors = np.zeros((len(unique), self.width), np.float32)
        cut: dict[str, int] = {}
        done = 0
        for start in range(0, len(unique), _TEXTS_AT_ONCE):
            encoded = self._tokens.encoded(unique[start : start + _TEXTS_AT_ONCE])
            cut |= {unique[start + row]: tokens for row, tokens in encoded.cut.items()}
            if self.truncate == "error":
                self._refuse(cut, texts)
            for batch in self._tokens.batches(encoded):
                states = self._loaded().states(batch.ids, batch.mask)
                vectors[start + batch.rows] = pooled(states, batch.mask, self._recipe.pooling)
                done += len(batch.rows)
                if progress:
                    progress(done, len(unique))
        if cut:
            places = [row for row, text in enumerate(texts) if text in cut]
            warnings.warn(TextTruncated(places, len(texts), self._tokens.limit), stacklevel=3)
        rows = {text: row for row, text in enumerate(unique)}
        vectors = first_dimensions(vectors, self.dimensions)
        found = vectors[[rows[text] for text in texts]] if texts else vectors
        return unit(found) if self.normalize or self._recipe.normalized else found

    def _refuse(self, cut: dict[str, int], texts: Sequence[str]) -> None:
        for row, text in enumerate(texts):
            if text in cut:
                advice = f"split text {row}, or pass truncate='warn' to use its beginning"
                raise ContextOverflow(cut[text], self._tokens.limit, advice)

    @property
    def folder(self) -> Path:
        """Where the model's files are."""
        return self._recipe.folder

    def __getstate__(self) -> dict[Any, Any]:
        # neither locks nor sessions can be pickled; the other side loads its own
        state = super().__getstate__()
        return state | {"__pydantic_private__": {}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.__pydantic_private__ = {"_runtime": None, "_loading": threading.Lock()}
        self.model_post_init(None)

    def _loaded(self) -> Runtime:
        with self._loading:
            if self._runtime is None:
                self._runtime = load_runtime(self._recipe, self.runtime, self.precision, self.n_threads)
            return self._runtime

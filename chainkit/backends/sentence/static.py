"""Static word vectors: a text is the mean of its tokens' vectors, with no model to run."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from chainkit.backends.sentence.tensors import read_tensors
from chainkit.backends.sentence.tokens import read_tokenizer, unknown_token, unwritable
from chainkit.backends.sentence.weights import STATIC_FOLDER, cached_folder, find_folder, sha256_of
from chainkit.base.errors import BadTexts, ModelFileError, Unsupported
from chainkit.base.vectors import Storage, first_dimensions, stored_as, texts_of, unit
from chainkit.local.tokenizer_bounds import named_tokenizer_faults

Array = np.ndarray[Any, Any]

PACKAGE = "wordllama"
DEFAULT = "minishlab/potion-base-8M"

_TEXTS_AT_ONCE = 4096
_TOKENS_AT_ONCE = 1024  # their vectors stay in the CPU's cache: 3 to 5 times the speed of one piece
_OWNER = "minishlab"  # of the models that are named without an owner


@dataclass(frozen=True, eq=False)
class _Table:
    """The vectors of a vocabulary.

    Attributes:
        vectors: R x D.
        rows: Which of them each token has, V; None for its own.
        weights: What each token counts, V; None for all the same.
        ignored: A token that is left out of texts.
    """

    vectors: Array
    rows: Array | None
    weights: Array | None
    ignored: int | None

    def means(self, texts: Sequence[Sequence[int]]) -> Array:
        """The mean vector of each list of tokens, float32, N x D; zeros for an empty list."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        tokens = np.fromiter(chain.from_iterable(texts), np.int64, int(lengths.sum()))
        found = np.zeros((len(texts), self.vectors.shape[1]), np.float32)
        some = np.flatnonzero(lengths)
        starts = np.cumsum(lengths)[some] - lengths[some]
        _, firsts = np.unique(starts // _TOKENS_AT_ONCE, return_index=True)
        for rows in np.split(np.arange(len(some)), firsts[1:]) if len(some) else []:
            first, last = rows[0], rows[-1]
            piece = tokens[starts[first] : starts[last] + lengths[some[last]]]
            sums = np.add.reduceat(self._of(piece), starts[rows] - starts[first], axis=0)
            found[some[rows]] = sums / lengths[some[rows], None]
        return found

    def _of(self, tokens: Array) -> Array:
        """The vector of each token, times what it counts, float32, T x D."""
        vectors = self.vectors[tokens if self.rows is None else self.rows[tokens]].astype(np.float32, copy=False)
        return vectors if self.weights is None else vectors * self.weights[tokens, None].astype(np.float32)


class StaticEmbeddings(BaseModel, Embeddings):
    """Static vectors in the formats of model2vec, sentence-transformers' StaticEmbedding and wordllama.

    Thousands of texts in a second of one CPU: for slow machines, and for a first look at very many texts. Similarity is
    that of words in a text, so word order and negation do not count. Tokens are read in full, however long a text is.

    Attributes:
        model: A folder, a safetensors file, a name on the Hugging Face hub, "wordllama" for the vectors of that Python
            package, or empty: potion-base-8M, and without it those of wordllama.
        revision: Branch, tag or commit on the hub.
        tokenizer: The tokenizer's file, where it does not stand beside the vectors.
        normalize: Vectors have length 1; None as the model's files say.
        dimensions: Truncate vectors to this dimension, for models trained for it (Matryoshka); None keeps all.

    Raises:
        ModelFileError: The model was not found, or its files cannot be used.
        MissingLibrary: tokenizers is not installed.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    revision: str = "main"
    tokenizer: str | None = None
    normalize: bool | None = None
    dimensions: int | None = Field(default=None, ge=1)

    _files: tuple[Path, Path] = PrivateAttr()
    _table: _Table = PrivateAttr()
    _tokenizer: Any = PrivateAttr()

    @field_validator("model", "tokenizer", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if hasattr(value, "__fspath__") else value

    def model_post_init(self, context: Any, /) -> None:
        """Find the files and read them."""
        self._files = _located(self.model, self.revision, self.tokenizer)
        self._tokenizer = read_tokenizer(self._files[1])
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._table = _table(self._files[0], self._tokenizer)
        if self.dimensions is not None and self.dimensions > self.width:
            raise Unsupported(f"{self.dimensions} dimensions were asked for, and the vectors have {self.width}")

    def embed_array(
        self, texts: Sequence[str], *, storage: Storage = "float32", progress: Callable[[int, int], None] | None = None
    ) -> Array:
        """The vectors of texts, N x D; a text without a known token gets zeros.

        Args:
            texts: N texts.
            storage: "float32", "float16" or "int8"; see `chainkit.base.vectors.stored_as`.
            progress: Called with the number of texts that are done, and how many there are.

        Raises:
            BadTexts: Not a list of texts, or a text that is not valid Unicode.
        """
        texts = texts_of(texts)
        found = np.zeros((len(texts), self.width), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            found[start : start + _TEXTS_AT_ONCE] = self._table.means(
                self._tokens(texts[start : start + _TEXTS_AT_ONCE])
            )
            if progress:
                progress(min(start + _TEXTS_AT_ONCE, len(texts)), len(texts))
        found = first_dimensions(found, self.dimensions)
        return stored_as(unit(found) if self.normalized else found, storage)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts as lists; `embed_array` is faster and takes a tenth of the memory."""
        return self.embed_array(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_array([text])[0].tolist()

    def token_counts(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
        """How many tokens the vector of each text is the mean of, N; of queries and documents alike."""
        return [len(tokens) for tokens in self._tokens(texts_of(texts))]

    @property
    def width(self) -> int:
        """The length of the model's own vectors; D is `dimensions` where that is given."""
        return int(self._table.vectors.shape[1])

    @property
    def normalized(self) -> bool:
        """Whether vectors have length 1: as `normalize` says, else the model's config.json, else yes."""
        if self.normalize is not None:
            return self.normalize
        settings = self._files[0].with_name("config.json")
        found = json.loads(settings.read_text("utf-8")) if settings.is_file() else {}
        return bool(found.get("normalize", True))

    @property
    def fingerprint(self) -> str:
        """What tells this model and its settings from others: it changes where vectors would."""
        key = repr((*map(sha256_of, self._files), self.normalized, self.dimensions))
        return f"static {hashlib.sha256(key.encode()).hexdigest()}"

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        try:
            with named_tokenizer_faults(self._files[1]):
                found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise BadTexts(unwritable(texts)) from error
        ignored = self._table.ignored
        if ignored is None:
            return [encoding.ids for encoding in found]
        return [[token for token in encoding.ids if token != ignored] for encoding in found]

    def __getstate__(self) -> dict[Any, Any]:
        # the other side reads the files again
        return super().__getstate__() | {"__pydantic_private__": {}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.__pydantic_private__ = {}
        self.model_post_init(None)


def _located(model: str, revision: str, tokenizer: str | None) -> tuple[Path, Path]:
    """The file of the vectors and that of the tokenizer."""
    if model.endswith(".safetensors") and Path(model).expanduser().is_file():
        vectors = Path(model).expanduser()
    elif model == PACKAGE or (not model and _packaged() and not _kept(revision)):
        return _of_package(tokenizer)
    else:
        name = model or DEFAULT
        folder = find_folder(name if "/" in name or Path(name).is_dir() else f"{_OWNER}/{name}", revision)
        nested = folder / STATIC_FOLDER
        vectors = (folder if (folder / "model.safetensors").is_file() else nested) / "model.safetensors"
    beside = Path(tokenizer).expanduser() if tokenizer else vectors.with_name("tokenizer.json")
    for path in (vectors, beside):
        if not path.is_file():
            raise ModelFileError(path, "is missing; static vectors need a safetensors file and a tokenizer.json")
    return vectors, beside


def _kept(revision: str) -> bool:
    """Whether the default model is in the Hugging Face cache already."""
    return cached_folder(DEFAULT, revision) is not None


def _packaged() -> Path | None:
    # find_spec, not an import: importing the package imports much
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent if spec and spec.origin else None


def _of_package(tokenizer: str | None) -> tuple[Path, Path]:
    home = _packaged()
    if home is None:
        raise ModelFileError(PACKAGE, "is not installed; run: pip install --no-deps wordllama, or name another model")
    vectors = sorted((home / "weights").glob("*.safetensors"))
    tokenizers = sorted((home / "tokenizers").glob("*tokenizer*.json"))
    if not vectors or not (tokenizers or tokenizer):
        raise ModelFileError(home, "holds no vectors or no tokenizer; this version of the package is not known")
    return vectors[0], Path(tokenizer).expanduser() if tokenizer else tokenizers[0]


def _table(path: Path, tokenizer: Any) -> _Table:
    tensors = read_tensors(path)
    name = next((name for name in ("embeddings", "embedding.weight") if name in tensors), None)
    if name is None or tensors[name].ndim != 2:
        raise ModelFileError(path, "holds neither 'embeddings' (model2vec) nor 'embedding.weight' (wordllama)")
    vectors, rows, weights = tensors[name], tensors.get("mapping"), tensors.get("weights")
    tokens = tokenizer.get_vocab_size()
    covered = min([len(found) for found in (rows, weights) if found is not None] or [len(vectors)])
    if covered < tokens or (rows is not None and rows.max(initial=0) >= len(vectors)):
        raise ModelFileError(path, f"has vectors for {covered:,} tokens, and the tokenizer has {tokens:,}")
    # model2vec leaves unknown tokens out; the others do not
    return _Table(vectors, rows, weights, unknown_token(tokenizer) if name == "embeddings" else None)

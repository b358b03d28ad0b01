"""Vectors kept on disk, so that no text is embedded twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from pydantic import BaseModel, SecretStr

from chainkit.base import opening
from chainkit.base.errors import BadVectors, IndexFileError
from chainkit.base.hiding import hides_given_keys
from chainkit.base.paths import cache_dir
from chainkit.base.sqlite import FileLayout, connect, transaction, translated
from chainkit.vectors.given import checked_texts, checked_vectors

Array = np.ndarray[Any, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS models (id INTEGER PRIMARY KEY, mark TEXT NOT NULL UNIQUE, width INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (
    model INTEGER NOT NULL, text BLOB NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (model, text)
) WITHOUT ROWID;
"""
_LAYOUT = FileLayout(2, _SCHEMA, "vectors")
_ASKED_AT_ONCE = 500  # SQLite's oldest limit of parameters is 999
_EMBEDDED_AT_ONCE = 2048  # vectors are stored after this many texts, so that an interruption loses little
_BUSY_SECONDS = 30.0
_IRRELEVANT = {"n_threads", "batch_size", "device", "timeout", "max_retries", "truncate", "cache"}


class CachedEmbeddings(Embeddings):
    """Embeddings that ask a model only for texts that are not in a file yet.

    The file is SQLite; processes and threads may share it. Vectors are found by the model's mark and the text, so a
    file may hold those of many models. Nothing is ever thrown away before `clear`.

    Attributes:
        embeddings: What turns texts into vectors.
        path: The file.
        mark: What tells this model and its settings from others.
        hits: How many texts were found in the file.
        misses: How many the model was asked for.
    """

    @hides_given_keys
    def __init__(
        self, embeddings: Embeddings | str, path: str | Path | None = None, *, mark: str | None = None
    ) -> None:
        """Keep the vectors of a model in a file.

        Args:
            embeddings: What turns texts into vectors, an object or a spec.
            path: The file; None is one in the user's cache folder.
            mark: What tells this model from others; None takes its `fingerprint`, else its class and settings.

        Raises:
            ValueError: The model has neither, and no mark was given.
        """
        self.embeddings: Embeddings = opening.embeddings(embeddings)
        self.path = Path(path).expanduser() if path is not None else cache_dir() / "vectors.sqlite"
        self.mark = mark or mark_of(self.embeddings)
        self.hits = self.misses = 0
        self._counting = threading.Lock()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts as lists."""
        return self.embed_array(texts).tolist()

    def embed_array(self, texts: Sequence[str]) -> Array:
        """The vectors of texts, float32, N x D.

        Raises:
            BadTexts: Things that are not texts.
            BadVectors: The model gave vectors of another length than before.
            IndexFileError: The file cannot be used.
        """
        wanted = _Wanted(texts, "document")
        with self._opened() as store:
            wanted.found = store.get(wanted.keys)
            for batch in wanted.missing():
                direct = getattr(self.embeddings, "embed_array", None)
                made = direct(batch) if callable(direct) else self.embeddings.embed_documents(batch)
                wanted.keep(store, batch, made)
        return self._counted(wanted)

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text, as a question."""
        wanted = _Wanted([text], "query")
        with self._opened() as store:
            wanted.found = store.get(wanted.keys)
            for batch in wanted.missing():
                wanted.keep(store, batch, [self.embeddings.embed_query(text)])
        return self._counted(wanted)[0].tolist()

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`; the model's own async method is used."""
        wanted = _Wanted(texts, "document")
        wanted.found = await run_in_executor(None, self._stored, lambda store: store.get(wanted.keys))
        for batch in wanted.missing():
            made = await self.embeddings.aembed_documents(batch)
            await run_in_executor(None, self._stored, lambda store, b=batch, m=made: wanted.keep(store, b, m))
        return self._counted(wanted).tolist()

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`; the model's own async method is used."""
        wanted = _Wanted([text], "query")
        wanted.found = await run_in_executor(None, self._stored, lambda store: store.get(wanted.keys))
        for batch in wanted.missing():
            made = [await self.embeddings.aembed_query(text)]
            await run_in_executor(None, self._stored, lambda store, b=batch, m=made: wanted.keep(store, b, m))
        return self._counted(wanted)[0].tolist()

    def token_counts(self, texts: Sequence[str], *, query: bool = False) -> list[int] | None:
        """The tokens of texts as the model counts them, those in the file too; None if it does not count."""
        count: Any = getattr(self.embeddings, "token_counts", None)
        return None if count is None else count(texts, query=query)

    def clear(self) -> int:
        """Throw away this model's vectors; how many they were."""
        return self._stored(lambda store: store.clear())

    def _stored(self, work: Callable[[_Store], Any]) -> Any:
        with self._opened() as store:
            return work(store)

    def _counted(self, wanted: _Wanted) -> Array:
        with self._counting:
            self.hits += wanted.hits
            self.misses += wanted.misses
        return wanted.vectors()

    @contextmanager
    def _opened(self) -> Iterator[_Store]:
        with translated(lambda why: IndexFileError(self.path, f"cannot be used to keep vectors in: {why}")):
            connection = connect(self.path, _LAYOUT, wait_seconds=_BUSY_SECONDS)
            with closing(connection):
                yield _Store(connection, self.mark)


def mark_of(embeddings: Embeddings) -> str:
    """What tells a model from others: its `fingerprint`, else its class and those settings that change vectors.

    Raises:
        ValueError: It has neither.
    """
    fingerprint = getattr(embeddings, "fingerprint", None)
    if isinstance(fingerprint, str) and fingerprint:
        return fingerprint
    kind = f"{type(embeddings).__module__}.{type(embeddings).__qualname__}"
    if not isinstance(embeddings, BaseModel):
        raise ValueError(f"{kind} does not say which model it is; give a mark: CachedEmbeddings(..., mark='name')")
    fields = {name: _plain(getattr(embeddings, name)) for name in sorted(type(embeddings).model_fields)}
    settings = {name: value for name, value in fields.items() if name not in _IRRELEVANT and value is not None}
    return f"{kind} {json.dumps(settings, sort_keys=True)}"


def _plain(value: Any) -> Any:
    """A setting as JSON; None for a key and for an object, which are no part of what the vectors are."""
    if isinstance(value, SecretStr):
        return None
    if isinstance(value, (str, Path)):
        return _file(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else None


def _file(value: str | Path) -> str:
    """A text; of the path of a file, also its size and time of change, since another model may take its place."""
    try:
        stat = Path(value).stat()
    except (OSError, ValueError):
        return str(value)
    return f"{Path(value).resolve()} {stat.st_size} {stat.st_mtime_ns}"


class _Store:
    """An open file, and the model whose vectors are wanted."""

    def __init__(self, connection: sqlite3.Connection, mark: str) -> None:
        self._connection = connection
        self._mark = mark
        row = connection.execute("SELECT id FROM models WHERE mark = ?", (mark,)).fetchone()
        self._model: int | None = row[0] if row else None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Array]:
        """The vectors that are there."""
        found: dict[bytes, Array] = {}
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            some = keys[start : start + _ASKED_AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._connection.execute(
                f"SELECT text, vector FROM vectors WHERE model = ? AND text IN ({marks})",  # noqa: S608 - only "?"
                (self._model, *some),
            )
            found.update((text, np.frombuffer(vector, "<f4")) for text, vector in rows)
        return found

    def put(self, vectors: Mapping[bytes, Array]) -> None:
        """Keep vectors, all of them or none.

        Raises:
            BadVectors: Their length is not that of the model's earlier ones.
        """
        width = len(next(iter(vectors.values())))
        with transaction(self._connection):
            self._connection.execute("INSERT OR IGNORE INTO models (mark, width) VALUES (?, ?)", (self._mark, width))
            self._model, known = self._connection.execute(
                "SELECT id, width FROM models WHERE mark = ?", (self._mark,)
            ).fetchone()
            if known != width:
                raise BadVectors(f"the model gave vectors of {width} numbers, and those kept of it have {known}")
            self._connection.executemany(
                "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)",
                [(self._model, text, vector.astype("<f4").tobytes()) for text, vector in vectors.items()],
            )

    def clear(self) -> int:
        """Forget the model and its vectors."""
        with transaction(self._connection):
            gone = self._connection.execute("DELETE FROM vectors WHERE model = ?", (self._model,)).rowcount
            self._connection.execute("DELETE FROM models WHERE id = ?", (self._model,))
        return gone


class _Wanted:
    """Texts whose vectors are wanted, and those found in the cache."""

    def __init__(self, texts: Sequence[str], kind: str) -> None:
        if isinstance(texts, str):
            texts = [texts]
        self._texts = checked_texts(texts, blank_too=True)
        self._key = {text: _key(kind, text) for text in dict.fromkeys(self._texts)}
        self.found: dict[bytes, Array] = {}
        self.misses = 0

    @property
    def keys(self) -> list[bytes]:
        """One for each different text."""
        return list(self._key.values())

    @property
    def hits(self) -> int:
        """How many different texts were there."""
        return len(self._key) - self.misses

    def missing(self) -> Iterator[list[str]]:
        """The texts that are not there, in pieces."""
        missing = [text for text, key in self._key.items() if key not in self.found]
        self.misses = len(missing)
        missing.sort(key=len, reverse=True)  # texts of like length are computed together
        return (missing[start : start + _EMBEDDED_AT_ONCE] for start in range(0, len(missing), _EMBEDDED_AT_ONCE))

    def keep(self, store: _Store, texts: Sequence[str], made: Any) -> None:
        """Take what the model made, and store it."""
        vectors = checked_vectors(made)
        if len(vectors) != len(texts):
            raise BadVectors(f"the model gave {len(vectors)} vectors for {len(texts)} texts")
        new = {self._key[text]: vector for text, vector in zip(texts, vectors, strict=True)}
        store.put(new)
        self.found.update(new)

    def vectors(self) -> Array:
        """One for each text as it was given, float32, N x D."""
        rows = [self.found[self._key[text]] for text in self._texts]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), np.float32)


def _key(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "surrogatepass")).digest()[:16]

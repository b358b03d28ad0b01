"""Copy an index to a vector store: vectors are reused, and only new passages are sent."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from chainkit.base.errors import Unsupported
from chainkit.knowledge.index.store import Row, Store

if TYPE_CHECKING:
    from langchain_core.vectorstores import VectorStore

    from chainkit.knowledge.index.indexing import Progress

BATCH = 64
_SPACE = uuid.UUID("6d9f2c0e-3a52-4a86-9f0b-2f6a8c1c7e11")


@dataclass(frozen=True, slots=True)
class Copied:
    """The report of a copy.

    Attributes:
        sent: Passages that were not in the store yet.
        kept: Passages that had been sent before.
        removed: Passages that were taken back, because the index holds them no longer.
    """

    sent: int
    kept: int
    removed: int


class Carried(Embeddings):
    """Gives the vectors that are already known, in the order of the texts; other texts go to the model itself."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self._known: deque[tuple[str, list[float]]] = deque()

    def carry(self, texts: Sequence[str], vectors: Sequence[list[float]]) -> None:
        """Give these vectors when these texts are asked for next."""
        self._known = deque(zip(texts, vectors, strict=True))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Known vectors where the texts are the next ones, else the model's."""
        if [text for text, _ in list(self._known)[: len(texts)]] == list(texts):
            return [self._known.popleft()[1] for _ in texts]
        return self._embeddings.embed_documents(list(texts))

    def embed_query(self, text: str) -> list[float]:
        """The model's."""
        return self._embeddings.embed_query(text)


def copy(store: Store, target: VectorStore, carried: Carried, name: str, progress: Progress | None = None) -> Copied:
    """Make a vector store hold the passages of an index.

    Progress is noted in the index after each batch, so that an interrupted copy resumes, and the next one sends only
    changes. Sending a passage twice leaves one.

    Args:
        carried: The embeddings that `target` was made with.
        name: Of the target, in the notes.

    Raises:
        Unsupported: The store did not take back passages that the index holds no longer.
    """
    known = _still_there(store, target, name)
    ids = store.passage_ids()
    current: dict[str, int] = {}
    for row in _rows(store, ids):
        current.setdefault(_name(row), row.id)
    gone = sorted(known - current.keys())
    for start in range(0, len(gone), BATCH):
        if target.delete(gone[start : start + BATCH]) is False:
            raise Unsupported(f"{name} does not remove passages; copy the index into an empty collection")
        store.forget_sent(name, gone[start : start + BATCH])
    waiting = [(one, number) for one, number in current.items() if one not in known]
    for start in range(0, len(waiting), BATCH):
        _send(store, target, carried, name, dict(waiting[start : start + BATCH]))
        if progress:
            progress("copying", min(start + BATCH, len(waiting)), len(waiting))
    return Copied(len(waiting), len(current) - len(waiting), len(gone))


def _still_there(store: Store, target: VectorStore, name: str) -> set[str]:
    """The passages that were sent before, unless the store has been emptied since."""
    known = store.sent(name)
    if not known:
        return set()
    try:
        found: Any = target.get_by_ids([min(known)])
    except NotImplementedError:
        return known
    if not found:
        store.forget_sent(name, sorted(known))
        return set()
    return known


def _rows(store: Store, ids: Sequence[int]) -> Iterator[Row]:
    for start in range(0, len(ids), 500):
        yield from store.passages(ids[start : start + 500]).values()


def _name(row: Row) -> str:
    passage = row.passage
    return str(uuid.uuid5(_SPACE, "\0".join([passage.path, str(passage.position), passage.context])))


def _send(store: Store, target: VectorStore, carried: Carried, name: str, batch: dict[str, int]) -> None:
    rows, vectors = store.passages(list(batch.values())), store.vectors(list(batch.values()))
    names = [one for one, number in batch.items() if number in rows and number in vectors]
    texts = [rows[batch[one]].passage.text for one in names]
    carried.carry(texts, [vectors[batch[one]].tolist() for one in names])
    target.add_texts(texts, [about(rows[batch[one]]) for one in names], ids=names)
    store.note_sent(name, names)


def about(row: Row) -> dict[str, Any]:
    """Metadata of a passage, so that it can be cited from the store."""
    passage = row.passage
    places = {"page": passage.page, "first_line": passage.first_line, "last_line": passage.last_line}
    own = {"source": passage.path, "headings": list(passage.headings), "position": passage.position}
    return {**row.metadata, **own, **{name: value for name, value in places.items() if value is not None}}

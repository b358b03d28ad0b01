"""Vector stores by a string: qdrant://... and postgresql://..., each through its LangChain package."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit, urlunsplit

from chainkit.base.errors import ChainkitError, ConnectionFailed, MissingLibrary, SpecError, nearest
from chainkit.base.hiding import hides_given_keys
from chainkit.base.redaction import Redaction

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore

    from chainkit.knowledge.index.filters import Filter


_SAFE = 3  # sqlite3.threadsafety: threads may share connections


@dataclass(frozen=True, slots=True)
class Opened:
    """A vector store that is ready.

    Attributes:
        store: The store.
        translate: Turns a filter into the store's own.
        end: Lets go of the connection.
    """

    store: VectorStore
    translate: Callable[[Filter], Any]
    end: Callable[[], object]


def is_store(spec: str) -> bool:
    """Whether this names a vector store rather than a file.

    >>> is_store("qdrant://localhost:6333/notes"), is_store("notes.sqlite"), is_store("C:/notes.sqlite")
    (True, False, False)
    """
    return "://" in spec


@hides_given_keys
def open_store(spec: str, embeddings: Embeddings, *, width: int | None = None) -> Opened:
    """The store that a string names.

    Args:
        spec: `qdrant://HOST:PORT/COLLECTION` (with `?tls=1` for https; the key is read from QDRANT_API_KEY),
            `qdrant:///FOLDER?collection=NAME` for Qdrant's local mode, or
            `postgresql://USER@HOST/DATABASE?collection=NAME` for pgvector (the password is best left to PGPASSWORD;
            `host=/FOLDER` as a further option for a socket of this machine).
        width: Numbers in a vector: makes the collection where there is none. None asks for one that is there.

    Raises:
        SpecError: The string cannot be understood, or there is no such collection.
        ConnectionFailed: PostgreSQL does not answer or refuses.
        MissingLibrary: The store's package is not installed.
    """
    scheme = spec.partition("://")[0]
    if scheme not in STORES:
        hint = nearest(scheme, STORES)
        known = f"did you mean '{hint}'?" if hint else f"known stores: {', '.join(STORES)}"
        raise SpecError(
            f"no vector store '{scheme}'; {known} Any other LangChain store: VectorStoreIndex(store, embeddings)"
        )
    return STORES[scheme](spec, embeddings, width)


def without_password(spec: str) -> str:
    """The string as it may be shown and stored.

    >>> without_password("postgresql://ada:secret@db/notes")
    'postgresql://ada@db/notes'
    """
    parts = urlsplit(spec)
    user = f"{parts.username}@" if parts.username else ""
    place = parts.netloc.rpartition("@")[2]
    return spec.replace(parts.netloc, user + place, 1) if parts.netloc else spec


def _qdrant(spec: str, embeddings: Embeddings, width: int | None) -> Opened:
    try:
        from langchain_qdrant import QdrantVectorStore
        from qdrant_client import QdrantClient, models
    except ImportError as error:
        raise MissingLibrary("langchain-qdrant", extra="qdrant") from error
    parts = urlsplit(spec)
    options = _options(spec, {"collection", "tls"})
    name = options.get("collection", unquote(parts.path.strip("/")) if parts.netloc else "chainkit")
    if not parts.netloc and not parts.path.strip("/"):
        raise SpecError(f"'{spec}' names neither a host nor a folder; write qdrant:///FOLDER?collection=NAME")
    if not name or "/" in name:
        raise SpecError(f"'{without_password(spec)}' names no collection; write qdrant://HOST:PORT/COLLECTION")
    if parts.netloc:
        scheme = "https" if options.get("tls", "") not in ("", "0") else "http"
        address = f"{scheme}://{parts.netloc.rpartition('@')[2]}"
        client = QdrantClient(url=address, api_key=os.environ.get("QDRANT_API_KEY"), check_compatibility=False)
    else:
        # where SQLite is safe for threads, it need not find that out by a connection that it never closes
        client = QdrantClient(path=unquote(parts.path), force_disable_check_same_thread=sqlite3.threadsafety == _SAFE)
    try:
        if not client.collection_exists(name):
            if width is None:
                raise SpecError(f"'{without_password(spec)}': there is no collection '{name}'")
            client.create_collection(
                name, vectors_config=models.VectorParams(size=width, distance=models.Distance.COSINE)
            )
        store = QdrantVectorStore(client, name, embeddings, validate_collection_config=width is not None)
    except BaseException:
        client.close()
        raise

    def translated(wanted: Filter) -> Any:
        tests = [(_name(name), value) for name, value in wanted.items()]
        return models.Filter(
            must=[
                models.FieldCondition(key=f"metadata.{name}", match=models.MatchAny(any=_values(value)))
                for name, value in tests
            ]
        )

    return Opened(store, translated, client.close)


def _postgres(spec: str, embeddings: Embeddings, width: int | None) -> Opened:
    try:
        from langchain_postgres import PGVector  # pyright: ignore
        from sqlalchemy import create_engine, exc  # pyright: ignore
    except ImportError as error:
        raise MissingLibrary("langchain-postgres", extra="postgres") from error
    options = _options(spec, {"collection", "host"})
    name, parts = options.get("collection", "chainkit"), urlsplit(spec)
    socket = urlencode({"host": options["host"]}) if "host" in options else ""
    address = urlunsplit(parts._replace(scheme="postgresql+psycopg", query=socket))

    class Reading(PGVector):
        """Makes nothing: who asks a question may have no right to write, and may have mistyped a name."""

        def create_tables_if_not_exists(self) -> None:
            pass

        def create_collection(self) -> None:
            pass

    kind, engine = Reading if width is None else PGVector, create_engine(address)
    try:
        store = kind(
            embeddings,
            connection=engine,
            collection_name=name,
            embedding_length=width,
            use_jsonb=True,
            create_extension=width is not None,
        )
        if width is None:
            _refuse_missing_collection(store, name, without_password(spec), exc.ProgrammingError)
    except ChainkitError:
        engine.dispose()
        raise
    except Exception as error:  # langchain-postgres wraps database errors in a bare Exception
        engine.dispose()
        raise _postgres_failed(error, spec) from error

    def translated(wanted: Filter) -> Any:
        return {_name(name): {"$in": _values(value)} for name, value in wanted.items()}

    return Opened(store, translated, engine.dispose)


def _refuse_missing_collection(store: Any, name: str, shown: str, absent: type[Exception]) -> None:
    with store._make_sync_session() as session:
        try:
            found = store.get_collection(session)
        except absent as error:
            if "does not exist" not in str(error):
                raise
            found = None
    if found is None:
        raise SpecError(f"'{shown}': there is no collection '{name}'; fill one with 'chainkit index FOLDER --to ...'")


def _postgres_failed(error: BaseException, spec: str) -> ChainkitError:
    """What the database said, without SQLAlchemy's and psycopg's own words around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    parts = urlsplit(spec)
    place = f"PostgreSQL at {parts.hostname or 'localhost'}, database '{parts.path.strip('/') or parts.username or ''}'"
    words = Redaction(parts.password or "").text(" ".join(str(error).split()))[:300]
    advice = "is it running, is the name right, and is the password in PGPASSWORD?"
    return ConnectionFailed(f"{place}: {words}; {advice}", provider="postgresql")


STORES: Mapping[str, Callable[[str, Any, int | None], Opened]] = {"qdrant": _qdrant, "postgresql": _postgres}
"""Scheme -> what opens it."""


def _options(spec: str, known: set[str]) -> dict[str, str]:
    given = {name: values[-1] for name, values in parse_qs(urlsplit(spec).query, keep_blank_values=True).items()}
    if unknown := given.keys() - known:
        names = ", ".join(sorted(unknown))
        raise SpecError(
            f"'{without_password(spec)}' has an option that is not known: {names}; known: {', '.join(sorted(known))}"
        )
    return given


def _name(name: str) -> str:
    return "source" if name == "path" else name


def _values(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]

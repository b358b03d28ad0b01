"""What tests run in processes of their own."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Index
from chainkit.knowledge.index import indexing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.knowledge.processes"])


class Slow(FakeEmbeddings):
    """Takes long enough for a kill to come between any two steps."""

    def embed_array(self, texts):
        time.sleep(0.002)
        return super().embed_array(texts)


def index(file: Path, folder: Path, told: Connection) -> None:
    """Index a folder, and tell before and after."""
    indexing.BATCH_PASSAGES = 16
    with Index(file, Slow(dimensions=64)) as index:
        told.send("ready")
        index.add(folder)
        told.send("done")


def write(file: Path, folder: Path, seconds: float, told: Connection) -> None:
    """Change, remove and add files of this folder, and index after each change."""
    ends = time.monotonic() + seconds
    turn = 0
    with Index(file, FakeEmbeddings(dimensions=64)) as index:
        while time.monotonic() < ends:
            (folder / f"{turn % 10}.txt").write_text(f"Turn {turn} of {folder.name}. " * 50, "utf-8")
            (folder / f"{(turn + 5) % 10}.txt").unlink(missing_ok=True)
            index.add_texts([f"{folder.name} text {turn}"], ids=[f"{folder.name}-{turn}"])
            index.add(folder)
            turn += 1
    told.send(turn)


def read(file: Path, folder: Path, seconds: float, told: Connection) -> None:
    """Search again and again."""
    ends = time.monotonic() + seconds
    turn = 0
    with Index(file, FakeEmbeddings(dimensions=64)) as index:
        while time.monotonic() < ends:
            hits = index.find("turn of one", 5)
            assert all(hit.passage.text for hit in hits)
            turn += bool(hits)
    told.send(turn)

"""What tests run in processes of their own: `python -m tests.knowledge.processes ROLE INDEX FOLDER [SECONDS]`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Index, indexing

indexing.BATCH_PASSAGES = 16


class Slow(FakeEmbeddings):
    """Takes long enough for a kill to come between any two steps."""

    def embed_array(self, texts):
        time.sleep(0.002)
        return super().embed_array(texts)


def index(file: Path, folder: Path) -> None:
    with Index(file, Slow(dimensions=64)) as index:
        print("ready", flush=True)
        index.add(folder)
        print("done", flush=True)


def write(file: Path, folder: Path, seconds: float) -> None:
    """Change, remove and add files of this folder, and index after each change."""
    ends = time.monotonic() + seconds
    turn = 0
    with Index(file, FakeEmbeddings(dimensions=64)) as index:
        while time.monotonic() < ends:
            (folder / f"{turn % 10}.txt").write_text(f"Turn {turn} of {folder.name}. " * 50, "utf-8")
            (folder / f"{(turn + 5) % 10}.txt").unlink(missing_ok=True)
            index.add_texts([f"{folder.name} text {turn}"], ids=[f"{folder.name}-{turn}"])
            report = index.add(folder)
            assert not report.skipped, report.skipped
            turn += 1
    print(turn, flush=True)


def read(file: Path, folder: Path, seconds: float) -> None:
    """Search again and again; every document that is found must be whole."""
    ends = time.monotonic() + seconds
    turn = 0
    with Index(file, FakeEmbeddings(dimensions=64)) as index:
        while time.monotonic() < ends:
            hits = index.find("turn of one", 5)
            assert all(hit.passage.text for hit in hits)
            turn += bool(hits)
    print(turn, flush=True)


if __name__ == "__main__":
    role, file, folder, *seconds = sys.argv[1:]
    {"index": index, "write": write, "read": read}[role](Path(file), Path(folder), *map(float, seconds))

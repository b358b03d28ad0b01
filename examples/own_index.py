"""An index of your own, searched and copied to another store: `python examples/own_index.py [FOLDER]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from langchain_core.vectorstores import InMemoryVectorStore

import chainkit
from chainkit.knowledge import Carried, Index, VectorStoreIndex

DOCS = Path(__file__).parent.parent / "docs"


def main(folder: str = str(DOCS / "ask.md"), embeddings_spec: str = "fake:") -> None:
    embeddings = chainkit.embeddings(embeddings_spec)
    with tempfile.TemporaryDirectory() as place, Index(Path(place) / "index.sqlite", embeddings) as index:
        report = index.add(folder)
        print(f"{len(index)} passages from {len(report.indexed)} files, {len(report.skipped)} could not be read")
        question = "How are passages found?"
        for hit in index.find(question, 3, join_adjacent=True, min_similarity=0.05):
            print(f"{hit.score:.2f}  {hit.passage.place}")
        store = InMemoryVectorStore(Carried(embeddings))
        print(index.copy_to(store))
        print(chainkit.ask(question, VectorStoreIndex(store, embeddings)))


if __name__ == "__main__":
    main(*sys.argv[1:])

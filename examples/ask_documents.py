"""Ask a question about files and folders: `python examples/ask_documents.py "How are keys stored?" docs README.md`.

Without a model the best sentences are quoted; name one with CHAINKIT_MODEL to have the answer written.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import chainkit
from chainkit.knowledge import ask_stream

ROOT = Path(__file__).parent.parent


def main(question: str = "How are API keys stored?", *paths: str | Path) -> None:
    model = chainkit.chat_model() if os.environ.get("CHAINKIT_MODEL") else None
    stream = ask_stream(question, paths or (ROOT / "docs", ROOT / "README.md"), model=model)
    for piece in stream:
        print(piece, end="", flush=True)
    print("\n")
    print(*dict.fromkeys(map(str, stream.answer.citations)), sep="\n")
    if stream.answer.notice:
        print(f"\n{stream.answer.notice}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A text longer than a model's context, summarised in parts: `python examples/long_text.py [FILE] [MODEL]`."""

from __future__ import annotations

import sys
from pathlib import Path

import chainkit
from chainkit import summarise

FILE = Path(__file__).parent.parent / "docs" / "knowledge.md"


def main(file: str = str(FILE), spec: str = "fake:?reply=A short summary.") -> None:
    chain = summarise(
        chainkit.chat_model(spec), instructions="In three sentences.", context_tokens=1_000, progress=True
    )
    print(chain.invoke(Path(file).read_text("utf-8")))
    print(f"{chain.last.parts} parts, {chain.last.calls} calls, put together {chain.last.rounds}x")


if __name__ == "__main__":
    main(*sys.argv[1:])

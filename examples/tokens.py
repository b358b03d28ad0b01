"""What a model thinks comes next, word by word: `python examples/tokens.py ["A text"]`."""

from __future__ import annotations

import sys
from pathlib import Path

import chainkit

DEMO = Path(__file__).parent / "demo_model" / "demo-q8_0.gguf"


def main() -> None:
    text = sys.argv[1] if len(sys.argv) > 1 else "The lighthouse keeper at Varmouth is"
    model = chainkit.llm(f"gguf:{DEMO}")
    print(" ".join(repr(token.text) for token in model.tokens(text)))
    for one in model.next_tokens(text, 5, temperature=0.7, top_p=0.95):
        print(f"{one.text!r:10} {one.chance:6.1%}  {'#' * round(one.chance * 40)}")


if __name__ == "__main__":
    main()

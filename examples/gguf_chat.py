"""Talk to a model on this machine: python examples/gguf_chat.py [SPEC]

SPEC is any chat model, as in `gguf:./llama-2-7b-chat.Q4_K_M.gguf?context_length=2048`; without one, the demo model
answers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import chainkit

DEMO = Path(__file__).parent / "demo_model" / "demo-q8_0.gguf"


def main(spec: str) -> None:
    model = chainkit.chat_model(spec)
    question = "Context: Ada lives in Paris. Ben lives in Rome.\nQuestion: Where does Ben live?"
    print(f"> {question}\n")
    total = None
    for chunk in model.stream(question, stop=["\n\n"]):
        print(chunk.text, end="", flush=True)
        total = chunk if total is None else total + chunk
    assert total is not None
    print(f"\n\n{total.usage_metadata}\nended by: {total.response_metadata['finish_reason']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else f"gguf:{DEMO}")

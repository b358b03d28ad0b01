"""SOLAR 10.7B: how it was made, from a config alone; and a conversation, if its GGUF file is given.

python examples/solar.py [SOLAR-10.7B-Instruct-v1.0.Q4_K_M.gguf]
"""

import json
import sys
import tempfile
from pathlib import Path

import chainkit

MISTRAL = {
    "model_type": "mistral",
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


def main(file: str | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "config.json"
        config.write_text(json.dumps(MISTRAL))
        print(chainkit.upscale(config, drop=8, dry_run=True))
    if file is not None:
        solar = chainkit.chat_model(f"gguf:{file}?max_tokens=200")
        for piece in solar.stream("Explain depth up-scaling in one sentence."):
            print(piece.text, end="", flush=True)
        print()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)

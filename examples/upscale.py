"""A deeper model from the demo model's own layers: the plan, the file, and that training must follow.

python examples/upscale.py
"""

import tempfile
from pathlib import Path

from demo_model.json_task import pairs

import chainkit

MODEL = Path(__file__).parent / "demo_model" / "demo-q8_0.gguf"


def main() -> None:
    print(chainkit.upscale(MODEL, drop=1, dry_run=True))
    with tempfile.TemporaryDirectory() as name:
        deeper = Path(name) / "deeper.gguf"
        chainkit.upscale(MODEL, deeper, drop=1)
        print(f"\n{MODEL.name}: {MODEL.stat().st_size:,} bytes; {deeper.name}: {deeper.stat().st_size:,} bytes")
        question = pairs(1, seed=7)[0][0]
        print(f"\n{question}")
        for path in (MODEL, deeper):
            print(f"{path.stem}: {chainkit.chat_model(f'gguf:{path}', max_tokens=20).invoke(question).text}")


if __name__ == "__main__":
    main()

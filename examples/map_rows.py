"""A chain over every row of a file, stopped in the middle and gone on with."""

import json
import tempfile
from pathlib import Path

import chainkit

folder = Path(tempfile.mkdtemp())
reviews = folder / "reviews.jsonl"
reviews.write_text("".join(json.dumps({"text": f"Review {n}: good"}) + "\n" for n in range(20)))

# any model, such as "smollm2" or "openai:gpt-4o-mini"; this one repeats what it hears
chain = chainkit.prompt("{text}?") | chainkit.chat_model("fake:")

first = chainkit.map_rows(chain, reviews, folder / "out.csv", into="said", max_tokens=60)
print("stopped:", first.stopped)
second = chainkit.map_rows(chain, reviews, folder / "out.csv", into="said")
print(f"{second.skipped} rows were there, {second.done} were done now")
print((folder / "out.csv").read_text("utf-8").splitlines()[-1])

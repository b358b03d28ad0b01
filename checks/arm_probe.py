"""What a Raspberry Pi user runs, as one JSON object: texts that must be the same on every processor, and vectors.

python checks/arm_probe.py [LIBRARY], from the folder of the clone. With a library, the texts of GGUF models alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import chainkit

ROOT = Path(__file__).parent.parent
MODEL = f"gguf:{ROOT / 'examples' / 'demo_model' / 'demo-q8_0.gguf'}?temperature=0&n_threads=1"
CONTEXT = "The lighthouse keeper at Varmouth is Odile Brandt. The ferry leaves at 7:40. A ticket costs 12 euros."
QUESTIONS = ("Who is the lighthouse keeper?", "How much does a ticket cost?", "When does the ferry leave?")
PROGRAM = """A ticket to {{gen 'town' pattern='[A-Z][a-z]{3,9}'}} costs {{gen 'price' pattern='[1-9][0-9]?'}} euros.
That is {{#select 'opinion'}}cheap{{or}}dear{{/select}}."""
SENTENCES = [
    *("The cat sleeps on the sofa.", "A dog runs through the garden.", "My rabbit eats carrots."),
    *("It will rain tomorrow.", "The sun is shining today.", "Snow is expected at the weekend."),
    *("Stocks fell sharply this morning.", "The bank raised its interest rate.", "The company reports higher profits."),
]


def main() -> None:
    """Print the object."""
    model = f"{MODEL}&engine={sys.argv[1]}" if sys.argv[1:] else MODEL
    chat = chainkit.chat_model(model)
    answers = [chat.invoke(f"Context: {CONTEXT}\n\nQuestion: {question}").text for question in QUESTIONS]
    run = chainkit.program(PROGRAM, chainkit.llm(model))()
    if sys.argv[1:]:
        json.dump({"answers": answers, "program": run.text}, sys.stdout)
        return
    embeddings = chainkit.embeddings("minilm")
    groups = chainkit.clusters(SENTENCES, embeddings)
    answer = chainkit.ask("Where are API keys stored?", [str(ROOT / "docs" / "models.md")])
    json.dump(
        {
            "answers": answers,
            "program": run.text,
            "groups": [int(label) for label in groups.labels],
            "ask": answer.text,
            "vector": embeddings.embed_query(SENTENCES[0]),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()

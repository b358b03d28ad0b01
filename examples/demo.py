"""What `make demo` shows: groups, a heatmap, cited answers, and a chain on a model that runs here and now.

Nothing is downloaded while it runs. Pictures go to `demo-output/`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from langchain_core.output_parsers import StrOutputParser
from nine_sentences import SENTENCES

import chainkit

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "demo-output"
MODEL = ROOT / "examples" / "demo_model" / "demo-q8_0.gguf"
QUESTIONS = [
    "Which environment variable names the model to use when none is given?",
    "How are API keys stored and who can read them?",
]
CONTEXT = """The lighthouse keeper at Varmouth is Odile Brandt. Her cat is called Pixel.
The ferry to Varmouth leaves at 7:40. A ticket costs 12 euros."""


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    show_groups()
    show_answers()
    show_chain()
    show_next_steps()


def headline(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def show_groups() -> None:
    headline("1. Nine sentences, grouped by meaning (MiniLM on this CPU, no torch)")
    embeddings = chainkit.embeddings("minilm")
    for line in str(chainkit.clusters(SENTENCES, embeddings)).splitlines():
        print(f"   {line}")
    picture = OUTPUT / "nine-sentences.png"
    chainkit.heatmap(SENTENCES, embeddings, path=picture)
    print(f"   heatmap: {picture.relative_to(ROOT)}")


def show_answers() -> None:
    headline("2. Two questions about chainkit, answered from its own docs")
    os.chdir(ROOT)
    for question in QUESTIONS:
        answer = chainkit.ask(question, ["README.md", "docs"])
        print(f"\n   {question}\n      {answer.text}")
        for citation in answer.citations:
            print(f"      {citation}")
    print(f"\n   {answer.notice}")


def show_chain() -> None:
    headline("3. A chain on the demo model (llama.cpp, a few MB, made by this project)")
    template = chainkit.prompt([("human", "Context: {context}\n\nQuestion: {question}")])
    chain = template | chainkit.chat_model(f"gguf:{MODEL}") | StrOutputParser()
    print("   " + CONTEXT.replace("\n", "\n   "))
    for question in ["Who is the lighthouse keeper at Varmouth?", "How much does a ticket cost?", "Where is Pixel?"]:
        print(f"   {question} ", end="", flush=True)
        for piece in chain.stream({"context": CONTEXT, "question": question}):
            print(piece, end="", flush=True)
        print()


def show_next_steps() -> None:
    headline("Next")
    print("""   . .venv/bin/activate
   chainkit models                                   what can be used here and now
   chainkit ask "How do I stream?" docs              a question about any folder
   chainkit chat --model examples/demo_model/demo-q8_0.gguf
   chainkit heatmap my-sentences.txt -o out.png      your own sentences
   OPENAI_API_KEY=... chainkit chat --model openai:gpt-4o-mini""")


if __name__ == "__main__":
    main()

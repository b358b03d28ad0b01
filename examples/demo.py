"""What `make demo` shows: groups, a heatmap, cited answers, and a chain on SmolLM2, which runs here and now.

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
MODEL = "smollm2"
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
    headline("2. Two questions about chainkit, answered from its own docs (SmolLM2-135M on this CPU)")
    os.chdir(ROOT)
    for question in QUESTIONS:
        answer = chainkit.ask(question, ["README.md", "docs"], model=MODEL)
        print(f"\n   {question}")
        for line in answer.text.splitlines():
            print(f"      {line}")
        for place in dict.fromkeys(map(str, answer.citations)):
            print(f"      {place}")


def show_chain() -> None:
    headline("3. A chain on SmolLM2-135M-Instruct (llama.cpp, 98 MB)")
    template = chainkit.prompt([("system", "Answer in one short sentence."), ("human", "{context}\n\n{question}")])
    chain = template | chainkit.chat_model(MODEL) | StrOutputParser()
    print("   " + CONTEXT.replace("\n", "\n   "))
    for question in [
        "When does the ferry to Varmouth leave?",
        "What is the keeper's cat called?",
        "How much does a ticket cost?",
    ]:
        print(f"   {question} ", end="", flush=True)
        for piece in chain.stream({"context": CONTEXT, "question": question}):
            print(piece, end="", flush=True)
        print()


def show_next_steps() -> None:
    headline("Next")
    print("""   . .venv/bin/activate
   chainkit models                                   which providers are usable
   chainkit ask "How do I stream?" docs              a question about any folder
   chainkit chat --model smollm2 --system "You are a helpful assistant."
   chainkit heatmap my-sentences.txt -o out.png      your own sentences
   OPENAI_API_KEY=... chainkit chat --model openai:gpt-4o-mini""")


if __name__ == "__main__":
    main()

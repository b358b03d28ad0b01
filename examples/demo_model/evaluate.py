"""Measure the demo model on names, values and phrasings it was not trained on.

`python -m examples.demo_model.evaluate` measures the GGUF file with llama.cpp; `--model examples/demo_model/hf`
measures the transformers folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from .data import Message, Recipe, conversations

HERE = Path(__file__).parent
GGUF = HERE / "demo-q8_0.gguf"
SEED = 20_000_003
MAX_TOKENS = 64
BATCH = 50

PLAIN = Recipe(unseen_words=True, unknown_share=0.0, json_share=0.0, follow_up_share=0.0)
SLICES: dict[str, Recipe] = {
    "answerable": PLAIN,
    "unanswerable": replace(PLAIN, unknown_share=1.0),
    "as JSON": replace(PLAIN, unknown_share=0.2, json_share=1.0),
    "follow-up question": replace(PLAIN, unknown_share=0.2, follow_up_share=1.0),
    "short contexts, up to 2 facts": replace(PLAIN, max_facts=2),
    "long contexts, up to 8 facts": replace(PLAIN, max_facts=8),
    "held-out statements": replace(PLAIN, unseen_statements=True),
    "held-out questions": replace(PLAIN, unseen_questions=True),
    "known words, new facts": replace(PLAIN, unseen_words=False),
}

Answerer = Callable[[Sequence[list[Message]]], list[str]]


def cases(recipe: Recipe, count: int) -> list[tuple[list[Message], str]]:
    """Conversations up to their last answer, with that answer."""
    turns = 2 if recipe.follow_up_share else 1
    fitting = (one for one in conversations(SEED, recipe) if sum(part["role"] == "user" for part in one) >= turns)
    return [(one[:-1], one[-1]["content"]) for one in islice(fitting, count)]


def gguf_answers(path: Path) -> Answerer:
    """Answers of a GGUF file, by chainkit."""
    import chainkit

    model = chainkit.chat_model(f"gguf:{path}?temperature=0&max_tokens={MAX_TOKENS}")

    def answers(prompts: Sequence[list[Message]]) -> list[str]:
        return [model.invoke(list(prompt)).text for prompt in prompts]

    return answers


def transformers_answers(folder: Path) -> Answerer:
    """Answers of a transformers folder, computed in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")

    def answers(prompts: Sequence[list[Message]]) -> list[str]:
        inputs = tokenizer.apply_chat_template(
            list(prompts), add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_TOKENS)
        return tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return answers


def exact_share(answers: Answerer, recipe: Recipe, count: int, show: int = 0) -> float:
    """Share of the answers that equal the expected text; the first wrong ones can be shown."""
    pairs = sorted(cases(recipe, count), key=lambda pair: len(pair[0][-1]["content"]))
    right = 0
    for start in range(0, count, BATCH):
        part = pairs[start : start + BATCH]
        for (prompt, expected), given in zip(part, answers([prompt for prompt, _ in part]), strict=True):
            right += given == expected
            if given != expected and show > 0:
                show -= 1
                print(f"--- {prompt[-1]['content']}\nexpected {expected!r}, got {given!r}")
    return right / count


def main() -> None:
    """Print the table of exact answers."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=GGUF, help="a GGUF file or a transformers folder")
    parser.add_argument("--count", type=int, default=500, help="examples of each slice")
    parser.add_argument("--show", type=int, default=0, help="how many wrong answers of each slice to print")
    chosen = parser.parse_args()
    answers = transformers_answers(chosen.model) if chosen.model.is_dir() else gguf_answers(chosen.model)
    begun = time.monotonic()
    print(f"| {chosen.count} examples each | exact |\n|---|---|")
    for name, recipe in SLICES.items():
        print(f"| {name} | {exact_share(answers, recipe, chosen.count, chosen.show):.1%} |", flush=True)
    print(f"\n{len(SLICES) * chosen.count / (time.monotonic() - begun):.0f} answers a second")


if __name__ == "__main__":
    main()

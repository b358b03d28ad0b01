"""How often each page has the words that people search for: `python -m tests.words`.

A page opens with its title, a line of search words and its smallest example. Beside its own words every page is counted
for those that the field uses, so that a page which says them all in other words is seen.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINE = re.compile(r"\A# .+\n\nSearch words: (.+)\.\n\n(?:<!-- no-run -->\n)?```", re.MULTILINE)

FIELD = (
    "RAG", "retrieval-augmented", "tool calling", "function calling", "fine-tuning", "KV cache", "prompt caching",
    "speculative decoding", "hybrid search", "semantic search", "structured output", "constrained decoding",
    "guided decoding", "OpenAI-compatible", "inference", "agent", "LangGraph", "BM25", "clustering", "LoRA", "quantiz",
)  # fmt: skip
"""Words that a practitioner types into a search box."""

OWN: Mapping[str, tuple[str, ...]] = {
    "README.md": (
        "RAG", "tool calling", "structured output", "quantiz", "fine-tuning", "LangGraph", "OpenAI-compatible",
    ),
    "docs/architecture.md": ("KV cache", "structured output"),
    "docs/agents.md": ("tool calling", "agent", "LangGraph", "structured output"),
    "docs/ask.md": ("RAG", "retrieval-augmented"),
    "docs/chains.md": ("LangGraph", "LangChain"),
    "docs/cli.md": ("inference", "chat"),
    "docs/clusters.md": ("clustering", "heatmap"),
    "docs/coming_from.md": ("LangChain", "LangGraph", "semantic search"),
    "docs/ctransformers.md": ("GGML", "ctransformers"),
    "docs/decide.md": ("classification", "calibration"),
    "docs/decisions.md": ("benchmark", "architecture"),
    "docs/documents.md": ("PDF", "encoding"),
    "docs/embeddings.md": ("semantic search", "sentence-transformers"),
    "docs/ggml.md": ("GGUF", "quantiz"),
    "docs/gguf.md": (
        "KV cache", "prompt caching", "speculative decoding", "constrained decoding", "structured output",
        "tool calling", "LoRA", "quantiz", "inference",
    ),
    "docs/glossary.md": FIELD,
    "docs/hosted.md": ("OpenAI-compatible", "tool calling", "function calling", "structured output"),
    "docs/huggingface.md": ("transformers", "inference", "LoRA"),
    "docs/knowledge.md": ("hybrid search", "semantic search", "BM25", "retriever"),
    "docs/map_reduce.md": ("map-reduce", "context length"),
    "docs/models.md": ("provider", "chat model"),
    "docs/programs.md": ("constrained decoding", "guided decoding", "structured output", "tool calling", "agent"),
    "docs/providers.md": ("plugin", "entry point"),
    "docs/tested_providers.md": ("provider", "OpenAI"),
    "docs/pull.md": ("quantiz", "download"),
    "docs/compatibility.md": ("transformers", "Python"),
    "docs/raspberry-pi.md": ("Raspberry Pi", "quantiz", "inference"),
    "docs/scale.md": ("batch inference", "resume", "budget"),
    "docs/serve.md": ("OpenAI-compatible", "RAG", "inference", "KV cache"),
    "docs/sizing.md": ("KV cache", "context length", "quantiz"),
    "docs/solar.md": ("depth up-scaling", "quantiz"),
    "docs/terminal.md": ("chat", "prompt templates", "completion"),
    "docs/testing.md": ("pytest", "OpenAI-compatible"),
    "docs/structured_output.md": ("structured output", "JSON schema", "pydantic"),
    "docs/tokens.md": ("tokenizer", "logprobs"),
    "docs/trace.md": ("tracing", "cost"),
    "docs/tuning.md": ("fine-tuning", "LoRA", "prompt tuning"),
    "docs/upscale.md": ("depth up-scaling", "merge"),
}  # fmt: skip
"""Page to the words that it must have."""


MANNERED = ("whoever", "what is no")
"""Words that a colleague would not say, and no file of the package says."""

MANNERED_IN_ROOMS = (*MANNERED, "told", "so many", "goes on", "foretell", "in one go")
ROOMS = (
    "base", "hub", "sizing", "observe", "chains", "prompts", "tuning", "upscaling", "testing", "doctor", "backends",
    "cli", "conversations", "local", "programs", "server", "scale",
)  # fmt: skip
"""Rooms that are free of more of them."""


def mannered() -> list[str]:
    """Each place in the package that says a word which it should not."""
    found = []
    for path in sorted((ROOT / "chainkit").rglob("*.py")):
        room = path.relative_to(ROOT / "chainkit").parts[0]
        refused = "|".join(MANNERED_IN_ROOMS if room in ROOMS else MANNERED)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if said := re.search(rf"\b({refused})\b", line, re.IGNORECASE):
                found.append(f"{path.relative_to(ROOT)}:{number} says '{said[1]}'")
    return found


def pages() -> list[str]:
    """The README and all pages, as paths from the root."""
    return ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def count(page: str, words: tuple[str, ...]) -> dict[str, int]:
    """How often each word stands in a page, in any case; plurals and other endings count."""
    text = (ROOT / page).read_text("utf-8")
    return {word: len(re.findall(rf"(?<!\w){re.escape(word)}", text, re.IGNORECASE)) for word in words}


def faults(page: str) -> list[str]:
    """What a page lacks."""
    if page not in OWN:
        return [f"{page} is not in tests/words.py; say which words it must have"]
    found = [f"{page} does not say '{word}'" for word, times in count(page, OWN[page]).items() if not times]
    if page != "README.md" and not LINE.search((ROOT / page).read_text("utf-8")):
        found.append(f"{page} does not open with '# title', 'Search words: ...' and its smallest example")
    return found


if __name__ == "__main__":
    for page in pages():
        own = {word: times for word, times in count(page, OWN.get(page, ())).items() if word not in FIELD}
        seen = {word: times for word, times in count(page, FIELD).items() if times} | own
        print(f"{page}: {', '.join(f'{word} {times}' for word, times in seen.items()) or 'none'}")
    problems = [fault for page in pages() for fault in faults(page)] + mannered()
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    sys.exit(bool(problems))

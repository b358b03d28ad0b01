"""Questions for the demo model whose answers are wanted as JSON, though nobody says so."""

from collections.abc import Iterator

from .data import JSON_REQUEST, Recipe, conversations

Pair = tuple[str, str]


def pairs(count: int, seed: int, *, unseen: bool = False) -> list[Pair]:
    """So many questions with their answers as JSON.

    Args:
        count: How many.
        seed: Other seeds give other questions.
        unseen: With names that the model was never trained on.
    """
    found = _pairs(seed, unseen)
    return [next(found) for _ in range(count)]


def _pairs(seed: int, unseen: bool) -> Iterator[Pair]:
    recipe = Recipe(max_facts=3, unknown_share=0.2, json_share=1.0, follow_up_share=0.0, unseen_words=unseen)
    for messages in conversations(seed, recipe):
        question = messages[-2]["content"]
        if messages[0]["role"] == "user" and JSON_REQUEST in question:
            plain = question.replace(JSON_REQUEST, "").strip()
            yield plain[plain.index("Context") :], messages[-1]["content"]

"""Decisions of hosted models: from the log-probabilities of letters, or from the model's stated confidence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from chainkit.decisions.local import instructions
from chainkit.decisions.questions import AskedQuestion
from chainkit.decoding.answers import made

_LETTERS = "ABCDEFGHIJKLMNOPQRST"  # services list 20 likely tokens at most
_LEAST = 1e-4  # the chance of an option that a service does not list


def by_letters(model: Any, text: str, name: str, options: AskedQuestion) -> list[float] | None:
    """The log-probabilities of a question's options, each standing for a letter; None where the service tells none."""
    if len(options.texts) > len(_LETTERS):
        return None
    lines = [
        f"{letter}: {option}" + (f" ({about})" if about else "")
        for letter, option, about in zip(_LETTERS, options.texts, options.about, strict=False)
    ]
    system = "You answer a question about a text by one letter and nothing else."
    asked = f"Text:\n{text}\n\nQuestion ({name}): {options.question}\n" + "\n".join(lines)
    bound = model.bind(logprobs=True, top_logprobs=len(_LETTERS), max_tokens=1)
    answer = bound.invoke([SystemMessage(system), HumanMessage(asked)])
    logprobs = (answer.response_metadata.get("logprobs") or {}).get("content") or []
    if not logprobs or not logprobs[0].get("top_logprobs"):
        return None
    chances = dict.fromkeys(_LETTERS[: len(lines)], 0.0)
    for rival in logprobs[0]["top_logprobs"]:
        letter = rival["token"].strip().upper()
        if letter in chances:
            chances[letter] += math.exp(rival["logprob"])
    return [math.log(max(chance, _LEAST)) for chance in chances.values()]


def by_form(model: Any, text: str, asked: Mapping[str, AskedQuestion]) -> dict[str, list[float]]:
    """The log-probabilities of options as the model states them: one answer to each question, and how sure it is."""
    parts = {name: _part(options) for name, options in asked.items()}
    schema = {
        "title": "Answers",
        "description": "The answer to each question and how likely it is right, from 0 to 1.",
        "type": "object",
        "properties": parts,
        "required": list(parts),
        "additionalProperties": False,
    }
    messages = [SystemMessage(instructions(asked)), HumanMessage(text)]
    if _structures(model):
        answers = model.with_structured_output(schema).invoke(messages)
    else:
        form = f"Answer with nothing but JSON of this schema:\n{json.dumps(schema)}"
        answers = made(schema, model.invoke([*messages, HumanMessage(form)]).text)
    return {name: _spread(answers[name], options) for name, options in asked.items()}


def _structures(model: Any) -> bool:
    names = ("with_structured_output", "bind_tools")
    return any(getattr(type(model), name) is not getattr(BaseChatModel, name) for name in names)


def _part(options: AskedQuestion) -> dict[str, Any]:
    fields = {"answer": {"type": "string", "enum": options.texts}, "probability": {"type": "number"}}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _spread(answer: Mapping[str, Any], options: AskedQuestion) -> list[float]:
    """The other options share the remaining probability."""
    count = len(options.texts)
    sure = min(max(float(answer["probability"]), 1 / count), 1 - _LEAST) if count > 1 else 1.0
    rest = (1 - sure) / max(1, count - 1)
    return [math.log(sure if text == answer["answer"] else rest) for text in options.texts]

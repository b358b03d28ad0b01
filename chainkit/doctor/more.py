"""Settings of a call, errors, completions and vectors."""

from __future__ import annotations

import base64 as base64_codec
import binascii
import re
from collections import Counter
from typing import Any, cast

from chainkit.base.errors import ModelNotFound, RequestTooLong
from chainkit.doctor.examination import Examination
from chainkit.doctor.finding import Finding
from chainkit.doctor.reading import judged, refused, said
from chainkit.doctor.wire import WireReply, dug, number

COUNT = "count to 9 in digits, separated by spaces"
LETTER_TIMES = 3
"""A letter that an answer has as often as this is expected in the next one as well."""
MOST_OVERFLOW = 40_000
"""Tokens of a prompt that is meant to be too long; a server that takes it may want to be paid for it."""


def stop(exam: Examination) -> Finding:
    """Whether a stop text ends the answer."""
    reply = exam.ask(COUNT, stop=["5"])
    text = said(reply)
    if reply.good and "4" not in text and "5" not in text:
        return _stop_in_its_own_words(exam, text)
    return judged("stop", reply, "5" not in text, f"ended with {text[-12:]!r}", f"went on to {text[-12:]!r}")


def _stop_in_its_own_words(exam: Examination, before: str) -> Finding:
    """For a model that does not count: the most frequent letter of its own answer as the stop text."""
    counts = Counter(letter for letter in said(exam.ask(COUNT)) if letter.isalnum())
    letter, times = counts.most_common(1)[0] if counts else ("", 0)
    if times >= LETTER_TIMES:
        reply = exam.ask(COUNT, stop=[letter])
        text = said(reply)
        return judged("stop", reply, letter not in text, f"ended before {letter!r}", f"went on past {letter!r}")
    detail = f"it never came to the stop text: {before[:60]!r}"
    return Finding(feature="stop", state="unclear", detail=detail, status=200)


def temperature(exam: Examination) -> Finding:
    """Whether `temperature` is taken."""
    reply = exam.ask("Hello", temperature=0)
    return judged("temperature", reply, True, "0 is taken", "")


def seed(exam: Examination) -> Finding:
    """Whether the same seed gives the same answer, and another seed another; at temperature 1 if need be."""
    question = "Write one random word of five letters."
    for warmth in (None, 1):
        replies = [exam.ask(question, seed=number, temperature=warmth) for number in (1, 1)]
        if (bad := refused("seed", replies[0]) or refused("seed", replies[1])) is not None:
            return bad
        first, second = map(said, replies)
        if first != second:
            return Finding(feature="seed", state="ignored", detail=f"{first[:20]!r}, then {second[:20]!r}", status=200)
        others = {said(exam.ask(question, seed=number, temperature=warmth)) for number in (2, 3)}
        if others != {first}:
            return Finding(feature="seed", state="works", detail="the same seed, the same answer", status=200)
    return Finding(feature="seed", state="unclear", detail="taken; every seed gives the same answer", status=200)


def logprobs(exam: Examination) -> Finding:
    """Whether log probabilities of tokens are given."""
    reply = exam.ask("Hello", logprobs=True, top_logprobs=2)
    found = dug(reply.body, "choices", 0, "logprobs", "content")
    value = dug(found, 0, "logprob")
    return judged("logprobs", reply, value is not None, f"for {len(found or [])} tokens", "none came")


def n(exam: Examination) -> Finding:
    """Whether one call can give two answers."""
    reply = exam.ask("Hello", n=2)
    choices = dug(reply.body, "choices")
    count = len(cast("list[Any]", choices)) if isinstance(choices, list) else 0
    return judged("n", reply, count == 2, "2 answers", f"{count} answer")


def wrong_model(exam: Examination) -> Finding:
    """How a model that is not there is refused."""
    reply = exam.wire.post(
        "/chat/completions",
        {"model": "no-such-model-0", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1},
    )
    if reply.good:
        return Finding(feature="wrong_model", state="ignored", detail="any name is answered", status=reply.status)
    return _error("wrong_model", reply, isinstance(reply.error, ModelNotFound))


def context_overflow(exam: Examination) -> Finding:
    """How a prompt that is too long is refused; asked only where it costs little if it is taken."""
    feature, size = "context_overflow", exam.context
    if size is None:
        detail = "the server does not tell its context; --context TOKENS tries it"
        return Finding(feature=feature, state="skipped", detail=detail)
    if size > MOST_OVERFLOW:
        detail = f"a prompt of more than {size:,} tokens would cost too much, were it taken"
        return Finding(feature=feature, state="skipped", detail=detail)
    reply = exam.ask("word " * (size + size // 10 + 100))
    if reply.good:
        detail = f"taken without a word, so the text was cut or the context is larger than {size:,} tokens"
        return Finding(feature=feature, state="ignored", detail=detail, status=reply.status)
    return _error(feature, reply, isinstance(reply.error, RequestTooLong))


def completions(exam: Examination) -> Finding:
    """Whether the server continues a text."""
    limit = {"max_tokens": 4} if exam.limit_field else {}
    reply = exam.wire.post("/completions", {"model": exam.model, "prompt": "Once upon a time", **limit})
    text = dug(reply.body, "choices", 0, "text")
    return judged("completions", reply, isinstance(text, str), f"{str(text)[:40]!r}", "an answer without a text")


def embeddings(exam: Examination) -> Finding:
    """Whether there are vectors, one for each text and in their order."""
    exam.embedding_model = exam.embedding_model or exam.model
    reply = _vectors(exam, ["one", "two"])
    width = _width(reply)
    seen = f"{exam.embedding_model}: {width} numbers"
    return judged("embeddings", reply, bool(width), seen, "an answer without vectors", dimensions=width)


def base64(exam: Examination) -> Finding:
    """Whether vectors come as base64 when asked so: a third of the bytes."""
    reply = _vectors(exam, ["one"], encoding_format="base64")
    data = dug(reply.body, "data", 0, "embedding")
    try:
        size = len(base64_codec.b64decode(data, validate=True)) // 4 if isinstance(data, str) else 0
    except binascii.Error:
        size = 0
    return judged("base64", reply, size > 0, f"{size} numbers", "vectors came as numbers")


def _vectors(exam: Examination, texts: list[str], **options: Any) -> WireReply:
    return exam.wire.post("/embeddings", {"model": exam.embedding_model, "input": texts, **options})


def _width(reply: WireReply) -> int:
    both = [dug(reply.body, "data", place, "embedding") for place in (0, 1)]
    lengths = {len(cast("list[Any]", one)) if isinstance(one, list) else 0 for one in both}
    return lengths.pop() if len(lengths) == 1 else 0


def _error(feature: str, reply: WireReply, recognised: bool) -> Finding:
    """An error is right if chainkit can tell what it means."""
    if reply.status >= 500 or reply.status in {401, 403, 429}:
        return Finding(feature=feature, state="failed", detail=f"{reply.status}: {reply.words}", status=reply.status)
    name = type(reply.error).__name__
    detail = f"{reply.status}, raised as {name}: {reply.words}"
    about = re.search(r"(\d+)", reply.words) if feature == "context_overflow" else None
    limit = number(int(about[1])) if about else None
    state = "works" if recognised else "unclear"
    return Finding(
        feature=feature, state=state, detail=detail, status=reply.status, facts={"raises": name, "limit": limit}
    )

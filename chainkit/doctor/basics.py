"""Whether there are models, chats, streams and limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from chainkit.doctor.examination import THINKING_TOKENS, Examination
from chainkit.doctor.finding import Finding
from chainkit.doctor.reading import finish, judged, read_tokens, said, written_tokens
from chainkit.doctor.wire import dug, number, told_usage

PLAIN = "Hello"
COUNT = "count to 40 in digits, separated by spaces"

_NOT_FOR_CHAT = re.compile(
    r"embed|whisper|tts|dall|moderation|rerank|image|audio|realtime|transcri|instruct$|davinci|babbage|guard|sora|bge",
    re.IGNORECASE,
)
ORDER = "Whatever the question is, answer with the one word BANANA."
PADDING = "This is meant seriously, and it holds for each answer from the first one to the last. " * 4
_SMALL = re.compile(r"nano|mini(?!max)|small|flash|lite|haiku|instant|\b[1-9]b\b", re.IGNORECASE)
_CONTEXT_NAMES = ("context_length", "max_model_len", "max_context_length", "context_window", "n_ctx")


def models(exam: Examination) -> Finding:
    """The list of models; chooses the ones to ask if none were named."""
    reply = exam.wire.get("/models")
    found = dug(reply.body, "data")
    rows = [row for row in cast("list[Any]", found) if isinstance(row, Mapping)] if isinstance(found, list) else []
    exam.listed = {row["id"]: row for row in rows if isinstance(row.get("id"), str)}
    exam.models = list(exam.listed)
    exam.model = exam.model or _smallest(name for name, row in exam.listed.items() if _chats(name, row))
    exam.embedding_model = exam.embedding_model or next((n for n, row in exam.listed.items() if _embeds(n, row)), "")
    exam.context = exam.context or _context(exam.listed.get(exam.model, {}))
    shown = ", ".join(exam.models[:5]) + (", ..." if len(exam.models) > 5 else "")
    return judged(
        "models", reply, bool(exam.models), f"{len(exam.models)}: {shown}", "an empty list", models=exam.models
    )


def chat(exam: Examination) -> Finding:
    """A plain question; finds out which limit on new tokens is taken."""
    if not exam.model:
        listed = exam.findings["models"]
        why = "no model for it is listed" if listed.works else f"models were not listed ({listed.detail})"
        return Finding(feature="chat", state="skipped", detail=f"{why}; name one with --model")
    for exam.limit_field in ("max_tokens", "max_completion_tokens", ""):
        reply = exam.ask(PLAIN)
        if reply.good or reply.status not in {400, 422}:
            break
    text = said(reply)
    if reply.good and ((not text and finish(reply) == "length") or text.startswith("<think>")):
        exam.answer_tokens = THINKING_TOKENS
        reply = exam.ask(PLAIN)
        text = said(reply)
    choice = isinstance(dug(reply.body, "choices", 0, "message"), Mapping)
    return judged("chat", reply, choice, _quoted(text), f"an answer without a message: {reply.words[:200]}")


def max_tokens(exam: Examination) -> Finding:
    """Whether `max_tokens` limits the answer."""
    return _limited(exam, "max_tokens")


def max_completion_tokens(exam: Examination) -> Finding:
    """Whether `max_completion_tokens` limits the answer."""
    return _limited(exam, "max_completion_tokens")


def _limited(exam: Examination, name: str) -> Finding:
    kept, exam.limit_field = exam.limit_field, ""
    try:
        reply = exam.ask(COUNT, **{name: 5})
    finally:
        exam.limit_field = kept
    written = written_tokens(reply)
    kept_to = finish(reply) == "length" or (written is not None and written <= 8)
    return judged(name, reply, kept_to, "5 tokens, then it ended", f"went on to {written or 'more'} tokens")


def system(exam: Examination) -> Finding:
    """Whether a system message reaches the model."""
    return _role(exam, "system")


def developer(exam: Examination) -> Finding:
    """Whether a developer message reaches the model."""
    return _role(exam, "developer")


def _role(exam: Examination, role: str) -> Finding:
    """Whether it is obeyed, or else read: of two messages the longer one takes more tokens.

    Not compared with no message at all: many chat templates put one of their own there, of about the same length.
    """
    reply = exam.chat(_ordered(role, ORDER))
    if "banana" in said(reply).lower() or not reply.good:
        return judged(role, reply, True, "obeyed", "")
    longer = exam.chat(_ordered(role, f"{ORDER} {PADDING}"))
    short, long = read_tokens(reply), read_tokens(longer)
    if not longer.good or short is None or long is None:
        return Finding(feature=role, state="unclear", detail="taken, but not obeyed", status=reply.status)
    seen = "read by the model, but not obeyed"
    return judged(role, longer, long > short, seen, "left out: a longer one takes no more tokens")


def _ordered(role: str, order: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": order}, {"role": "user", "content": PLAIN}]


def stream(exam: Examination) -> Finding:
    """Whether an answer comes in pieces, and when the first does."""
    reply = exam.ask(COUNT, stream=True)
    pieces = sum(bool(dug(event, "choices", 0, "delta", "content")) for event in reply.events)
    if reply.good and reply.events and not (reply.done or finish(reply)):
        detail = f"{pieces} pieces, then an end without a finish reason and without [DONE]"
        return Finding(feature="stream", state="failed", detail=detail, status=reply.status)
    took = f", the first after {reply.first_seconds:.2f} s" if reply.first_seconds is not None else ""
    remarks = [word for word, missing in (("[DONE]", not reply.done), ("finish reason", not finish(reply))) if missing]
    seen = f"{pieces} pieces{took}" + (f"; no {' and no '.join(remarks)}" if remarks else "")
    told_unasked = told_usage(reply) is not None
    facts = {"first_token_seconds": reply.first_seconds, "usage_unasked": told_unasked, "done": reply.done}
    return judged("stream", reply, bool(reply.events), seen, "the answer came whole, as plain JSON", **facts)


def usage_in_stream(exam: Examination) -> Finding:
    """Whether a stream tells its token counts when asked."""
    reply = exam.ask(PLAIN, stream=True, stream_options={"include_usage": True})
    usage = told_usage(reply)
    return judged("usage_in_stream", reply, usage is not None, f"{_counts(usage)}", "no event has a usage")


def _counts(usage: Mapping[str, Any] | None) -> str:
    usage = usage or {}
    return f"{usage.get('prompt_tokens')} tokens in, {usage.get('completion_tokens')} out"


def _chats(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a model is for chats: as the server tells, or else by its name."""
    abilities = row.get("abilities")
    return "chat" in abilities if isinstance(abilities, list) else not _NOT_FOR_CHAT.search(name)


def _embeds(name: str, row: Mapping[str, Any]) -> bool:
    abilities = row.get("abilities")
    return "embeddings" in abilities if isinstance(abilities, list) else "embed" in name.lower()


def _smallest(names: Iterable[str]) -> str:
    """A model that costs little, by its name; else the first."""
    known = list(names)
    return next((name for name in known if _SMALL.search(name)), known[0] if known else "")


def _context(row: Mapping[str, Any]) -> int | None:
    places = [row, row.get("meta"), row.get("top_provider")]
    found = (number(dug(place, name)) for place in places for name in _CONTEXT_NAMES)
    return next((value for value in found if value), None)


def _quoted(text: str) -> str:
    flat = " ".join(text.split())
    return f"'{flat if len(flat) <= 60 else flat[:60] + '...'}'" if flat else "an answer without text"

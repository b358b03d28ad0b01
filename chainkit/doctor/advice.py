"""Advice from the findings: a spec string, and caveats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from chainkit.doctor.examination import Examination


@dataclass(frozen=True, kw_only=True)
class Advice:
    """How to use the server.

    Attributes:
        chat: The spec of the chat model; empty if chats do not work. A key is `$NAME` at its end, for the shell.
        embeddings: The spec of the embeddings; empty if there are none.
        notes: What to mind.
    """

    chat: str
    embeddings: str
    notes: tuple[str, ...]


def advice(exam: Examination) -> Advice:
    """A spec string for the server, and caveats."""
    options: dict[str, str] = {}
    if exam.works("stream") and exam.findings["usage_in_stream"].state in {"refused", "failed"}:
        options["stream_usage"] = "false"
    vectors: dict[str, str] = {}
    if exam.works("embeddings") and exam.findings["base64"].state in {"refused", "failed"}:
        vectors["extra_body"] = '{"encoding_format":"float"}'
    return Advice(
        chat=_spec(exam, exam.model, options) if exam.works("chat") else "",
        embeddings=_spec(exam, exam.embedding_model, vectors) if exam.works("embeddings") else "",
        notes=tuple(_notes(exam)),
    )


def _spec(exam: Examination, model: str, options: dict[str, str]) -> str:
    service = exam.service
    place: dict[str, str] = {}
    if service is None or exam.base_url.rstrip("/") != service.base_url.rstrip("/"):
        place["base_url"] = exam.base_url
    written = {name: quote(value, safe=':/{}",') for name, value in (place | options).items()}
    if exam.key_variable and (service is None or exam.key_variable not in service.variables):
        written["api_key"] = f"${exam.key_variable}"
    pairs = "&".join(f"{name}={value}" for name, value in written.items())
    return f"{service.name if service else 'openai'}:{model}" + (f"?{pairs}" if pairs else "")


def _notes(exam: Examination) -> Iterator[str]:
    found = exam.findings
    if not exam.works("chat"):
        if {401, 403} & {found[name].status for name in ("models", "chat") if name in found}:
            yield "the key was not taken" if exam.wire.connection.access.source else "it wants a key: --key-env NAME"
        return
    if limit := _limit(exam):
        yield limit
    if not exam.works("json_schema"):
        yield _structured(exam)
    if unknown := [name for name, finding in found.items() if finding.state == "unknown"]:
        yield f"not found out, as no answer came in time: {', '.join(unknown)}; try a longer --timeout or --total"
    yield from (f"{name} is taken without effect" for name in ("stop", "seed", "n") if found[name].state == "ignored")
    if exam.works("stream") and exam.lacks("usage_in_stream") and not found["stream"].facts.get("usage_unasked"):
        yield "streams do not tell their token counts"
    if found["context_overflow"].state == "ignored":
        yield "too long prompts are cut in silence, or the context is larger than was said"


def _limit(exam: Examination) -> str | None:
    """What to mind about the limit on new tokens."""
    if exam.works("max_tokens"):
        return None
    if not exam.works("max_completion_tokens"):
        if not (exam.lacks("max_tokens") and exam.lacks("max_completion_tokens")):
            return None
        return "no limit on new tokens is kept to"
    if exam.service and exam.service.max_tokens_field == "max_completion_tokens":
        return None
    return 'limit answers with extra_body={"max_completion_tokens":500}; max_tokens has no effect here'


def _structured(exam: Examination) -> str:
    if exam.works("tools"):
        return 'structured output: with_structured_output(schema, method="function_calling")'
    if exam.works("json_object"):
        return 'structured output: with_structured_output(schema, method="json_mode"), with the form in the prompt'
    if all(exam.lacks(name) for name in ("json_schema", "json_object", "tools")):
        return "structured output: nothing holds answers to a form; with_structured_output will not work"
    return "structured output: it was not found out what holds answers to a form"

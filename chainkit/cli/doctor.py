"""`chainkit doctor`: what a server with OpenAI's API can do, and how to use it."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.faults import one_line, without_keys
from chainkit.cli.options import chosen, debug_option, json_option
from chainkit.cli.screen import note, say, say_json, table, waiting

if TYPE_CHECKING:
    from chainkit.doctor import Examination, Finding

_LONGEST = 160  # maximum characters of a finding in the table


@click.command()
@click.argument("base_url", metavar="BASE_URL")
@click.option("--model", metavar="NAME", default="", help="Model to ask; by default a small one that is listed.")
@click.option("--embedding-model", metavar="NAME", default="", help="Model to ask for vectors; by default looked for.")
@click.option("--key-env", metavar="NAME", default="", help="Environment variable that holds the API key.")
@click.option(
    "--context", type=click.IntRange(min=1), metavar="TOKENS", help="The model's context: try a prompt that exceeds it."
)
@click.option("--require", metavar="A,B", default="", help="Fail unless these features work, as in tools,json_schema.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=30, show_default=True, metavar="S", help="Seconds per answer."
)
@click.option(
    "--total", type=click.FloatRange(min=0.1), default=300, show_default=True, metavar="S", help="Seconds for it all."
)
@json_option
@debug_option
def doctor(
    base_url: str,
    model: str,
    embedding_model: str,
    key_env: str,
    context: int | None,
    require: str,
    timeout: float,
    total: float,
    as_json: bool,
) -> None:
    """Test which features the server at BASE_URL (up to and including /v1) supports.

    About 30 short requests show what works, what is taken without effect and what is refused, in the server's own
    words, and which spec string to use with it. The key of a known service is found as always; any other server gets
    one only with --key-env. Exit status 1 if chats, or features that are required, do not work.
    """
    from chainkit.doctor import PROBES, advice, examine, open_examination

    wanted = _wanted(require, [probe.feature for probe in PROBES])
    begin = time.monotonic()
    with open_examination(
        base_url,
        model=model,
        embedding_model=embedding_model,
        key_variable=key_env,
        context=context,
        timeout_seconds=timeout,
        total_seconds=total,
    ) as exam:
        try:
            with waiting("models", len(PROBES)) as bar:
                for done, finding in enumerate(examine(exam), 1):
                    bar.to(done, doing=finding.feature)
            whole = True
        except KeyboardInterrupt:
            whole = False
        hint = advice(exam) if whole else None
        if hint and hint.chat:
            exam.findings["chainkit"] = _tried(exam, hint.chat)
        spent = time.monotonic() - begin
    if as_json:
        say_json(_as_json(exam, hint, spent))
    else:
        _show(exam, hint, spent)
    if not whole:
        note(f"stopped after {len(exam.findings)} of {len(PROBES)} features")
        raise KeyboardInterrupt
    _judge(exam, wanted)


def _wanted(require: str, features: list[str]) -> list[str]:
    wanted = [name.strip() for name in require.split(",") if name.strip()]
    for name in wanted:
        if name not in features:
            raise click.UsageError(f"--require: no feature '{name}'; features: {', '.join(features)}")
    return wanted


def _tried(exam: Examination, spec: str) -> Finding:
    """Whether a chat model of chainkit, made from the spec, gets an answer."""
    from chainkit.doctor import Finding
    from chainkit.registry import chat_model

    key = os.environ[exam.key_variable].strip() if "api_key=$" in spec else None
    limit = {exam.limit_field: exam.answer_tokens} if exam.limit_field else {}
    left = exam.wire.deadline - time.monotonic()
    if left <= 0:
        return Finding(feature="chainkit", state="unknown", detail="the time was up")
    seconds = min(exam.wire.connection.timeout, left)
    try:
        plain = spec.partition("api_key=$")[0].rstrip("?&")
        model = chat_model(plain, timeout=seconds, total_timeout=seconds, max_retries=0, **chosen(api_key=key))
        answer = model.invoke("Hello", extra_body=limit)
    except ChainkitError as error:
        return Finding(feature="chainkit", state="failed", detail=str(error))
    exam.wire.requests += 1
    exam.wire.input_tokens += (answer.usage_metadata or {}).get("input_tokens", 0)
    exam.wire.output_tokens += (answer.usage_metadata or {}).get("output_tokens", 0)
    return Finding(feature="chainkit", state="works", detail="answers with the spec below")


def _show(exam: Examination, hint: Any, spent: float) -> None:
    say(without_keys(f"{exam.base_url}  {exam.model or 'no model'}\n"))
    table(["feature", "result", "seen"], [_row(finding) for finding in exam.findings.values()])
    say("")
    if hint:
        for kind, spec in (("chat", hint.chat), ("embeddings", hint.embeddings)):
            if spec:
                say(f"{kind}: {_quoted(spec)}")
        for text in hint.notes:
            say(f"mind: {text}")
    wire = exam.wire
    uncounted = f" ({wire.uncounted} answers detail no counts)" if wire.uncounted else ""
    say(
        f"spent: {wire.requests} requests, {wire.input_tokens:,} tokens in, {wire.output_tokens:,} out{uncounted}, "
        f"{spent:.1f} s"
    )


def _row(finding: Finding) -> list[str]:
    detail = one_line(finding.detail)
    return [finding.feature, finding.state, detail if len(detail) <= _LONGEST else f"{detail[:_LONGEST]}..."]


def _quoted(spec: str) -> str:
    """For a shell: a key's variable must be filled in, quotes in JSON must stay."""
    return '"' + spec.replace('"', '\\"') + '"' if "&" in spec or "?" in spec else spec


def _as_json(exam: Examination, hint: Any, spent: float) -> dict[str, Any]:
    wire = exam.wire
    return {
        "base_url": exam.base_url,
        "model": exam.model,
        "embedding_model": exam.embedding_model,
        "complete": hint is not None,
        "features": [{**asdict(finding), "detail": without_keys(finding.detail)} for finding in exam.findings.values()],
        "chat": hint.chat if hint else "",
        "embeddings": hint.embeddings if hint else "",
        "notes": list(hint.notes) if hint else [],
        "requests": wire.requests,
        "input_tokens": wire.input_tokens,
        "output_tokens": wire.output_tokens,
        "uncounted": wire.uncounted,
        "seconds": round(spent, 3),
    }


def _judge(exam: Examination, wanted: list[str]) -> None:
    if not exam.works("chat"):
        raise ChainkitError(f"chats do not work: {exam.findings['chat'].detail}")
    tried = exam.findings.get("chainkit")
    if tried and not tried.works:
        raise ChainkitError(f"chats worked, and a chat model of chainkit did not: {tried.detail}")
    if missing := [name for name in wanted if not exam.works(name)]:
        raise ChainkitError(f"required, and does not work: {', '.join(missing)}")

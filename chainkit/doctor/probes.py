"""The probes sent to a server, in order, and how their answers are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from chainkit.base.errors import ConnectionFailed, ProviderError
from chainkit.doctor import basics, forms, more, tools
from chainkit.doctor.examination import Examination
from chainkit.doctor.finding import Finding
from chainkit.doctor.wire import BudgetSpent


class Probe(NamedTuple):
    """One feature, the features it rests on, and how to find out about it."""

    feature: str
    needs: tuple[str, ...]
    ask: Callable[[Examination], Finding]


CHAT = ("chat",)
PROBES = (
    Probe("models", (), basics.models),
    Probe("chat", (), basics.chat),
    Probe("max_tokens", CHAT, basics.max_tokens),
    Probe("max_completion_tokens", CHAT, basics.max_completion_tokens),
    Probe("system", CHAT, basics.system),
    Probe("developer", CHAT, basics.developer),
    Probe("stream", CHAT, basics.stream),
    Probe("usage_in_stream", ("chat", "stream"), basics.usage_in_stream),
    Probe("stop", CHAT, more.stop),
    Probe("temperature", CHAT, more.temperature),
    Probe("seed", CHAT, more.seed),
    Probe("logprobs", CHAT, more.logprobs),
    Probe("n", CHAT, more.n),
    Probe("json_schema", CHAT, forms.json_schema),
    Probe("json_object", CHAT, forms.json_object),
    Probe("tools", CHAT, tools.one),
    Probe("parallel_tools", ("chat", "tools"), tools.parallel),
    Probe("parallel_tool_calls=false", ("chat", "tools", "parallel_tools"), tools.one_at_a_time),
    Probe("tools_in_stream", ("chat", "tools", "stream"), tools.streamed),
    Probe("tool_choice=required", ("chat", "tools"), tools.required),
    Probe("tool_choice=NAME", ("chat", "tools"), tools.named),
    Probe("tool_choice=none", ("chat", "tools"), tools.none),
    Probe("wrong_model", CHAT, more.wrong_model),
    Probe("context_overflow", CHAT, more.context_overflow),
    Probe("completions", (), more.completions),
    Probe("embeddings", (), more.embeddings),
    Probe("base64", ("embeddings",), more.base64),
)


def examine(exam: Examination) -> Iterator[Finding]:
    """Yield every finding as soon as it is known; a probe is skipped if a feature it needs does not work.

    Raises:
        ConnectionFailed: The server does not answer at all.
    """
    for probe in PROBES:
        missing = next((name for name in probe.needs if not exam.works(name)), None)
        if missing:
            finding = Finding(feature=probe.feature, state="skipped", detail=f"needs {missing}")
        else:
            finding = _found(probe, exam)
        exam.findings[probe.feature] = finding
        yield finding


def _found(probe: Probe, exam: Examination) -> Finding:
    try:
        return probe.ask(exam)
    except BudgetSpent as error:
        return Finding(feature=probe.feature, state="unknown", detail=str(error))
    except ProviderError as error:
        if isinstance(error, ConnectionFailed) and not exam.findings:
            raise
        state = "unknown" if isinstance(error, ConnectionFailed) else "failed"
        return Finding(feature=probe.feature, state=state, detail=str(error))

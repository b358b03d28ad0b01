"""Models that continue a text, over the legacy Completions API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, ClassVar, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from pydantic import Field

from chainkit.backends.openai import calls
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.errors import malformed
from chainkit.backends.openai.generating import Generating
from chainkit.backends.openai.hosted import JsonObject
from chainkit.backends.openai.reply import no_choices
from chainkit.backends.openai.request import COMPLETION_SETTINGS, completion_body
from chainkit.backends.openai.services import Kind
from chainkit.base.errors import StreamBroken, Unsupported

PATH = "/completions"
Json = Mapping[str, Any]


class OpenAIModel(Generating, BaseLLM):
    """A model that continues text, of OpenAI or of any service that speaks its Completions API.

    Settings that are None are left to the service (OpenAI then stops after 16 tokens). For the address, the key and
    the time limits see `Hosted`. Several prompts go out in one request.

    Attributes:
        temperature: 0 to 2; how far the model strays from the likeliest words.
        top_p: 0 to 1; only the likeliest words with this total probability are candidates.
        max_tokens: The limit on new tokens.
        stop: The model stops before the first of these texts.
        seed: The same seed gives mostly the same text.
        n: How many continuations of one prompt; more than one cannot be streamed.
        best_of: How many continuations the service tries for each that it gives.
        logprobs: 0 to 5; number of likeliest tokens to return at each position.
        suffix: Text after the continuation.
        echo: Whether the prompt is given back too.
        stream_usage: Whether a stream tells its token counts; some services refuse to.
    """

    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = None
    n: int | None = Field(default=None, ge=1)
    best_of: int | None = Field(default=None, ge=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logprobs: int | None = Field(default=None, ge=0, le=5)
    logit_bias: JsonObject | None = None
    user: str | None = None
    suffix: str | None = None
    echo: bool | None = None
    stream_usage: bool = True

    _kind: ClassVar[Literal["chat", "llm"]] = "llm"
    _names: ClassVar[tuple[str, ...]] = COMPLETION_SETTINGS

    @property
    def _llm_type(self) -> str:
        return "openai"

    def _needed(self) -> Kind:
        return "text"

    def _body(
        self, prompts: Sequence[str], stop: list[str] | None, options: Json, *, stream: bool = False
    ) -> dict[str, Any]:
        settings = {"model": self.model, **self._settings()}
        if stop:
            settings["stop"] = stop
        body = completion_body(prompts, settings, options, self._habits)
        if not stream:
            return body
        if max(body.get("n") or 1, body.get("best_of") or 1) > 1:
            raise Unsupported("several continuations cannot be streamed as one; use generate() or n=1")
        usage = {"stream_options": {"include_usage": True}} if self.stream_usage and self._habits.tells_usage else {}
        return {**body, "stream": True, **usage}

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        body, connection = self._body(prompts, stop, kwargs), self._connection()
        reply = calls.post(self._clients, connection, PATH, body)
        return reply.read(lambda reply: result(reply, len(prompts), connection))

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        body, connection = self._body(prompts, stop, kwargs), self._connection()
        reply = await calls.apost(self._clients, connection, PATH, body)
        return reply.read(lambda reply: result(reply, len(prompts), connection))

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        body, connection = self._body([prompt], stop, kwargs, stream=True), self._connection()
        with closing(calls.stream(self._clients, connection, PATH, body, TextReading(connection))) as chunks:
            for chunk in chunks:
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        body, connection = self._body([prompt], stop, kwargs, stream=True), self._connection()
        reading = TextReading(connection)
        async with aclosing(calls.astream(self._clients, connection, PATH, body, reading)) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk


def result(reply: calls.Reply, prompts: int, connection: Connection) -> LLMResult:
    """The continuations of each prompt, in the order of the prompts.

    Raises:
        MalformedReply: There are too few choices, or they cannot be shared out among the prompts.
    """
    choices = reply.data.get("choices")
    if not choices or not isinstance(choices, list):
        raise no_choices(reply.data, connection)
    if len(choices) % prompts:
        raise malformed(connection, f"{len(choices)} choices for {prompts} prompts")
    in_order = sorted(choices, key=lambda choice: choice.get("index") or 0)
    each = len(choices) // prompts
    generations = [
        [
            Generation(text=choice.get("text") or "", generation_info=_info(choice))
            for choice in in_order[at : at + each]
        ]
        for at in range(0, len(choices), each)
    ]
    output: dict[str, Any] = {"model_name": reply.data.get("model"), "token_usage": _counts(reply.data.get("usage"))}
    if reply.data.get("system_fingerprint"):
        output["system_fingerprint"] = reply.data["system_fingerprint"]
    if reply.retries:
        output["retries"] = reply.retries
    return LLMResult(generations=generations, llm_output=output)  # pyright: ignore[reportArgumentType]


def _counts(usage: Any) -> Mapping[str, Any]:
    """The token counts in the service's format; empty if they are malformed."""
    return usage if isinstance(usage, Mapping) else {}


def _info(choice: Json) -> dict[str, Any]:
    info: dict[str, Any] = {"finish_reason": choice.get("finish_reason")}
    return {**info, "logprobs": choice["logprobs"]} if choice.get("logprobs") else info


class TextReading:
    """Turns the events of a completion stream into chunks of text; see `calls.Reading`."""

    def __init__(self, connection: Connection) -> None:
        self.retries = 0
        self.complete = False
        self._texts: list[str] = []
        self._connection = connection
        self._last: dict[str, Any] = {}

    @property
    def partial(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def read(self, event: dict[str, Any]) -> GenerationChunk | None:
        """The chunk of one event, if it has text."""
        if counts := _counts(event.get("usage")):
            self._last["token_usage"] = counts
        if event.get("model"):
            self._last["model_name"] = event["model"]
        choices = event.get("choices")
        if not choices:
            return None
        if choices[0].get("finish_reason"):
            self._last["finish_reason"] = choices[0]["finish_reason"]
        text = choices[0].get("text") or ""
        if not text:
            return None
        if not isinstance(text, str):
            raise TypeError(f"a piece of text is of type {type(text).__name__}")
        self._texts.append(text)
        logprobs = choices[0].get("logprobs")
        return GenerationChunk(text=text, generation_info={"logprobs": logprobs} if logprobs else None)

    def end(self, *, announced: bool) -> GenerationChunk:
        """An empty chunk with the finish reason, the name of the model and the usage."""
        if not announced and "finish_reason" not in self._last:
            raise StreamBroken(
                f"the stream of {self._connection.provider} ended after {len(self.partial)} characters without a "
                "finish reason; .partial has them",
                provider=self._connection.provider,
                retries=self.retries,
            )
        info = {**self._last, "retries": self.retries} if self.retries else self._last
        return GenerationChunk(text="", generation_info=info)

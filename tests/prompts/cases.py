"""Chains for the comparisons: each case makes its steps anew, so that both sides begin alike."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import (
    CommaSeparatedListOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
    StrOutputParser,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import (
    ChatPromptTemplate,
    FewShotPromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
)
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableConfig,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnablePick,
)
from pydantic import BaseModel

from chainkit.backends.fake import FakeChat, FakeLLM
from chainkit.testing import Scripted, ScriptedChat

Chain = Runnable[Any, Any]
Steps = Callable[[], Sequence[Any]]


@dataclass(frozen=True)
class Case:
    name: str
    steps: Steps
    value: Any


class Native(BaseChatModel):
    """Sync and async of its own; metadata in every place where a model can put it."""

    @property
    def _llm_type(self) -> str:
        return "native"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        text = f"{messages[-1].text} {stop} {sorted(kwargs)}"
        message = AIMessage(text, response_metadata={"model_name": "native", "shared": "message"})
        generation = ChatGeneration(message=message, generation_info={"finish_reason": "stop", "shared": "info"})
        return ChatResult(generations=[generation], llm_output={"fingerprint": "f", "shared": "output"})

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        return self._generate(messages, stop, **kwargs)

    def _stream(self, messages, stop=None, run_manager=None, **kwargs) -> Iterator[ChatGenerationChunk]:
        for word in ["a ", "b ", f"{stop}"]:
            info = {"logprobs": len(word)} if word == "b " else None
            yield ChatGenerationChunk(message=AIMessageChunk(content=word), generation_info=info)

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, stop, **kwargs):
            yield chunk


class Blocks(Native):
    """Answers in content blocks, and has no argument for a run manager."""

    def _generate(self, messages, stop=None) -> ChatResult:  # type: ignore[override]
        message = AIMessage([{"type": "text", "text": "one"}, {"type": "text", "text": " two"}], id="given")
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages, stop=None) -> ChatResult:  # type: ignore[override]
        return self._generate(messages, stop)

    def _stream(self, messages, stop=None, run_manager=None, **kwargs) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content=[{"type": "text", "text": "one", "index": 0}]))


class Streaming(Native):
    streaming: bool = False


class Pair(BaseModel):
    left: int
    right: int


class Failing(Native):
    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        raise ConnectionError("no line")


class Flaky(Native):
    """Fails the first time."""

    calls: int = 0

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        self.calls += 1
        if self.calls == 1:
            raise ConnectionError("no line")
        return super()._generate(messages, stop, run_manager, **kwargs)


TEXT = {"a": "x", "b": "y"}


def chat_prompt() -> ChatPromptTemplate:
    return ChatPromptTemplate([("system", "Speak {a}. {{ok}}"), ("human", "{b}")])


def text_prompt() -> PromptTemplate:
    return PromptTemplate.from_template("Say {a} and {b}")


def pair_json() -> FakeListChatModel:
    return FakeListChatModel(responses=['{"left": 1, "right": 2}'])


def config_reader(value: Any, config: RunnableConfig) -> Any:
    assert config["recursion_limit"] == 25
    return value


def words(chunks: Iterator[Any]) -> Iterator[str]:
    for chunk in chunks:
        yield from str(chunk).split()


async def awords(chunks: AsyncIterator[Any]) -> AsyncIterator[str]:
    async for chunk in chunks:
        for word in str(chunk).split():
            yield word


async def later(value: Any) -> Any:
    return value


def generated(value: Any) -> Iterator[Any]:
    yield value
    yield value


def model_for(value: Any) -> Any:
    return FakeListChatModel(responses=["chosen"])


def limiter() -> InMemoryRateLimiter:
    return InMemoryRateLimiter(requests_per_second=1e6, max_bucket_size=100)


def few_shot() -> FewShotPromptTemplate:
    return FewShotPromptTemplate(
        examples=[{"q": "1", "r": "2"}],
        example_prompt=PromptTemplate.from_template("{q}={r}"),
        suffix="{a}=",
        input_variables=["a"],
    )


def partial_prompt() -> ChatPromptTemplate:
    return chat_prompt().partial(a=lambda: "now")


def image_prompt() -> ChatPromptTemplate:
    parts = [{"type": "text", "text": "{a}"}, {"type": "image_url", "image_url": "https://x/{b}.png"}]
    return ChatPromptTemplate([("human", parts)])  # type: ignore[list-item]


CASES = [
    Case("chat", lambda: [chat_prompt(), Native(), StrOutputParser()], TEXT),
    Case("chat without parser", lambda: [chat_prompt(), Native()], TEXT),
    Case("only a prompt and a function", lambda: [chat_prompt(), RunnableLambda(lambda v: v.to_string())], TEXT),
    Case("fake list", lambda: [chat_prompt(), FakeListChatModel(responses=["hello"]), StrOutputParser()], TEXT),
    Case("generic fake", lambda: [chat_prompt(), GenericFakeChatModel(messages=iter(["a b"] * 9))], TEXT),
    Case("fake chat", lambda: [chat_prompt(), FakeChat(reply="a b c"), StrOutputParser()], TEXT),
    Case("fake chat message", lambda: [chat_prompt(), FakeChat(reply="a b c")], TEXT),
    Case("scripted chat", lambda: [chat_prompt(), ScriptedChat("a b c")], TEXT),
    Case("text", lambda: [text_prompt(), FakeLLM(reply="a b"), StrOutputParser()], TEXT),
    Case("scripted text", lambda: [text_prompt(), Scripted("a b")], TEXT),
    Case("chat prompt into text model", lambda: [chat_prompt(), FakeLLM()], TEXT),
    Case("text prompt into chat model", lambda: [text_prompt(), Native(), StrOutputParser()], TEXT),
    Case("one variable", lambda: [PromptTemplate.from_template("Say {a}"), Native()], "bare"),
    Case("partial", lambda: [partial_prompt(), Native()], {"b": "y"}),
    Case("few shot", lambda: [few_shot(), FakeLLM()], TEXT),
    Case("image", lambda: [image_prompt(), RunnableLambda(lambda v: v.to_messages())], TEXT),
    Case("placeholder", lambda: [ChatPromptTemplate([MessagesPlaceholder("a")]), Native()], {"a": [("human", "x")]}),
    Case("numbers in a prompt", lambda: [text_prompt(), FakeLLM()], {"a": 1.5, "b": None}),
    Case("formatted fields", lambda: [PromptTemplate.from_template("{a:>4}{b!r}"), FakeLLM()], TEXT),
    Case("mustache", lambda: [PromptTemplate.from_template("{{a}}", template_format="mustache"), FakeLLM()], TEXT),
    Case("blocks", lambda: [chat_prompt(), Blocks(), StrOutputParser()], TEXT),
    Case("blocks message", lambda: [chat_prompt(), Blocks()], TEXT),
    Case("v1", lambda: [chat_prompt(), Native(output_version="v1")], TEXT),
    Case("streaming", lambda: [chat_prompt(), Streaming(streaming=True)], TEXT),
    Case("not streaming", lambda: [chat_prompt(), Streaming(streaming=False)], TEXT),
    Case("disable streaming", lambda: [chat_prompt(), Native(disable_streaming=True)], TEXT),
    Case(
        "no stream with tools", lambda: [chat_prompt(), Native(disable_streaming="tool_calling").bind(tools=[1])], TEXT
    ),
    Case("stream argument", lambda: [chat_prompt(), Native().bind(stream=True)], TEXT),
    Case("cache", lambda: [chat_prompt(), Native(cache=InMemoryCache()), StrOutputParser()], TEXT),
    Case("cached message", lambda: [chat_prompt(), Native(cache=InMemoryCache())], TEXT),
    Case("cached text", lambda: [text_prompt(), FakeLLM(cache=InMemoryCache())], TEXT),
    Case("rate limiter", lambda: [chat_prompt(), Native(rate_limiter=limiter())], TEXT),
    Case("bind", lambda: [chat_prompt(), Native().bind(stop=["q"], seed=1), StrOutputParser()], TEXT),
    Case("bind twice", lambda: [chat_prompt(), Native().bind(stop=["q"]).bind(seed=1)], TEXT),
    Case("bound text", lambda: [text_prompt(), FakeLLM().bind(stop=["and"])], TEXT),
    Case(
        "structured format",
        lambda: [chat_prompt(), Native().bind(ls_structured_output_format={"kwargs": {}, "schema": {"title": "x"}})],
        TEXT,
    ),
    Case("named step", lambda: [chat_prompt(), Native().with_config(run_name="me")], TEXT),
    Case("tagged step", lambda: [chat_prompt(), Native().with_config(tags=["me"])], TEXT),
    Case("json", lambda: [chat_prompt(), pair_json(), JsonOutputParser()], TEXT),
    Case("pydantic", lambda: [chat_prompt(), pair_json(), PydanticOutputParser(pydantic_object=Pair)], TEXT),
    Case(
        "list", lambda: [chat_prompt(), FakeListChatModel(responses=["a, b"]), CommaSeparatedListOutputParser()], TEXT
    ),
    Case("json fails", lambda: [chat_prompt(), Native(), PydanticOutputParser(pydantic_object=Pair)], TEXT),
    Case(
        "dictionary",
        lambda: [{"a": RunnableLambda(len), "b": RunnablePassthrough()}, chat_prompt(), Native(), StrOutputParser()],
        "question",
    ),
    Case("models side by side", lambda: [chat_prompt(), {"l": Native(), "r": Native() | StrOutputParser()}], TEXT),
    Case(
        "dictionary of models",
        lambda: [{"a": chat_prompt() | Native(), "b": RunnablePick("b")}, chat_prompt(), Native()],
        TEXT,
    ),
    Case(
        "slow dictionary", lambda: [{"a": RunnableLambda(str), "b": RunnableLambda(len)}, chat_prompt(), Native()], "q"
    ),
    Case("assign", lambda: [RunnablePassthrough.assign(a=itemgetter("c")), chat_prompt(), Native()], {"c": 1, "b": 2}),
    Case(
        "assign model", lambda: [RunnablePassthrough.assign(c=chat_prompt() | Native()), RunnablePick(["a", "c"])], TEXT
    ),
    Case("assign to no dictionary", lambda: [RunnablePassthrough.assign(c=len), RunnablePick("c")], "text"),
    Case("pick", lambda: [RunnablePick("a"), RunnableLambda(str.upper)], TEXT),
    Case("passthrough", lambda: [RunnablePassthrough(), RunnablePassthrough(lambda x: None), chat_prompt()], TEXT),
    Case("retry", lambda: [chat_prompt(), Flaky().with_retry(wait_exponential_jitter=False)], TEXT),
    Case("retry in vain", lambda: [chat_prompt(), Failing().with_retry(wait_exponential_jitter=False)], TEXT),
    Case("retry without need", lambda: [chat_prompt(), Native().with_retry()], TEXT),
    Case("fallbacks", lambda: [chat_prompt(), Failing().with_fallbacks([Native()])], TEXT),
    Case("fallbacks in vain", lambda: [chat_prompt(), Failing().with_fallbacks([Failing()])], TEXT),
    Case(
        "fallbacks for other errors",
        lambda: [chat_prompt(), Failing().with_fallbacks([Native()], exceptions_to_handle=(KeyError,))],
        TEXT,
    ),
    Case("fails", lambda: [chat_prompt(), Failing(), StrOutputParser()], TEXT),
    Case("missing variable", lambda: [chat_prompt(), Native()], {"a": 1}),
    Case("no mapping", lambda: [chat_prompt(), Native()], 5),
    Case("wrong input to model", lambda: [RunnableLambda(lambda _: 5), Native()], TEXT),
    Case("wrong input to parser", lambda: [RunnableLambda(lambda _: 5), StrOutputParser()], TEXT),
    Case("functions", lambda: [RunnableLambda(len), RunnableLambda(str), StrOutputParser()], TEXT),
    Case("function with config", lambda: [RunnableLambda(config_reader), chat_prompt()], TEXT),
    Case("generator function", lambda: [RunnableLambda(generated), RunnableLambda(str)], "text"),
    Case("function that chooses", lambda: [chat_prompt(), RunnableLambda(model_for), StrOutputParser()], TEXT),
    Case("function that fails", lambda: [RunnableLambda(lambda x: x["z"]), chat_prompt()], TEXT),
    Case("branch", lambda: [RunnableBranch((lambda x: "a" in x, chat_prompt()), text_prompt()), Native()], TEXT),
    Case("generator", lambda: [chat_prompt(), Native(), StrOutputParser(), RunnableGenerator(words, awords)], TEXT),
    Case("map", lambda: [RunnableLambda(list), RunnableLambda(str.upper).map()], TEXT),
    Case("nested", lambda: [chat_prompt(), Native() | StrOutputParser() | RunnableLambda(str.upper)], TEXT),
    Case("parallel last", lambda: [RunnableLambda(len), RunnableParallel(x=RunnableLambda(str))], TEXT),
]

# langchain-core has no name for what a function should do with no chunk at all: it fails with UnboundLocalError.
NOT_STREAMED = [
    Case("pick nothing", lambda: [RunnablePick("z"), RunnableLambda(str)], TEXT),
]

ASYNC_ONLY = [
    Case("coroutine function", lambda: [RunnableLambda(later), chat_prompt(), RunnableLambda(later)], TEXT),
    Case("both functions", lambda: [RunnableLambda(len, afunc=later), RunnableLambda(str)], TEXT),
]

_ID = re.compile(r"lc_run--[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def plain(value: Any) -> Any:
    """A value that can be compared: its type, and what it holds, ids by their form."""
    if isinstance(value, BaseException):
        return type(value).__name__, _ID.sub("lc_run--#", str(value))
    if isinstance(value, BaseMessage):
        return type(value).__name__, _ID.sub("lc_run--#", str(value.id)), plain(value.model_dump(exclude={"id"}))
    if isinstance(value, PromptValue):
        return type(value).__name__, plain(value.to_messages())
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return type(value).__name__, _ID.sub("lc_run--#", value) if isinstance(value, str) else value

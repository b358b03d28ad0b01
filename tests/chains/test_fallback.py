"""A fallback moves on for the errors that another model can make up for, and says what happened."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

import chainkit
from chainkit.base import errors
from chainkit.chains.fallback import Fallback, FallbackChat, fallback
from chainkit.chains.moving import moves_on
from chainkit.testing import Scripted, ScriptedChat


class Broken(BaseChatModel):
    """Fails at once, or after some chunks."""

    error: Any
    chunks: int = 0
    asked: list[str] = []

    @property
    def _llm_type(self) -> str:
        return "broken"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.asked.append(messages[-1].text)
        raise self.error

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        self.asked.append(messages[-1].text)
        for _ in range(self.chunks):
            yield ChatGenerationChunk(message=AIMessageChunk("half "))
        raise self.error

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools)


class Calling(BaseChatModel):
    """Answers with a call of the first tool."""

    @property
    def _llm_type(self) -> str:
        return "calling"

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, tools: Any = (), **kwargs: Any
    ) -> ChatResult:
        name = tools[0] if isinstance(tools[0], str) else tools[0].__name__
        call: Any = {"name": name, "args": {"n": 7}, "id": "1"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools)


class Foreign(Exception):
    def __init__(self, status: int) -> None:
        self.status_code = status


class APIConnectionError(Exception):
    pass


MOVES = [
    errors.ConnectionFailed("x"),
    errors.TimedOut("x"),
    errors.RateLimited("x"),
    errors.ServerFailed("x"),
    errors.MalformedReply("x"),
    errors.StreamStalled("x"),
    errors.AuthenticationFailed("x"),
    errors.PermissionDenied("x"),
    errors.ModelNotFound("x"),
    errors.MissingKey("openai", ["OPENAI_API_KEY"]),
    errors.MissingLibrary("x", "x"),
    ConnectionError("x"),
    TimeoutError("x"),
    Foreign(429),
    Foreign(503),
    Foreign(401),
    APIConnectionError("x"),
]
STAYS = [
    errors.BadRequest("x"),
    errors.RequestTooLong("x"),
    errors.ContextOverflow(2, 1),
    errors.Refused("x"),
    errors.Unsupported("x"),
    errors.TemplateError("x"),
    Foreign(400),
    Foreign(422),
    KeyError("x"),
    TypeError("x"),
    ValueError("x"),
]


def named(error: Exception) -> str:
    return f"{type(error).__name__}{getattr(error, 'status_code', '')}"


@pytest.mark.parametrize("error", MOVES, ids=named)
def test_it_moves_on_for(error: Exception) -> None:
    assert moves_on(error)
    answer = fallback(Broken(error=error), ScriptedChat("fine")).invoke("?")
    assert answer.content == "fine"
    assert answer.response_metadata["answered_by"] == "ScriptedChat"
    assert answer.response_metadata["errors"] == [f"Broken: {type(error).__name__}: {error}"]


@pytest.mark.parametrize("error", STAYS, ids=named)
async def test_it_does_not_move_on_for(error: Exception) -> None:
    second = ScriptedChat("fine")
    both = fallback(Broken(error=error), second)
    with pytest.raises(type(error)):
        both.invoke("?")
    with pytest.raises(type(error)):
        await both.ainvoke("?")
    with pytest.raises(type(error)):
        list(both.stream("?"))
    assert second.conversations == []


def test_the_first_that_can_answers_alone() -> None:
    second = ScriptedChat("second")
    answer = fallback(ScriptedChat("first"), second).invoke("?")
    assert answer.content == "first"
    assert "errors" not in answer.response_metadata
    assert answer.response_metadata["finish_reason"] == "stop"
    assert second.conversations == []


async def test_all_ways_to_run_move_on() -> None:
    both = fallback(Broken(error=errors.RateLimited("slow")), ScriptedChat("fine"))
    assert (await both.ainvoke("?")).content == "fine"
    assert [m.content for m in both.batch(["?", "!"])] == ["fine"] * 2
    assert [m.content for m in await both.abatch(["?", "!"])] == ["fine"] * 2
    whole = sum(list(both.stream("?"))[1:], next(iter(both.stream("?"))))
    assert whole.content == "fine"
    assert whole.response_metadata["answered_by"] == "ScriptedChat"
    assert "".join([chunk.content async for chunk in both.astream("?")]) == "fine"


async def test_it_answers_alike_whether_somebody_listens_or_not() -> None:
    """Unheard, the models are run without run managers."""

    class Silent(BaseCallbackHandler):
        pass

    def told(message: Any) -> tuple[Any, ...]:
        assert str(message.id).startswith("lc_run--")
        return message.content, message.response_metadata, message.usage_metadata

    both = fallback(Broken(error=errors.RateLimited("slow")), chainkit.chat_model("fake:fine"))
    heard: Any = {"callbacks": [Silent()]}
    assert told(both.invoke("?")) == told(both.invoke("?", heard))
    assert told(await both.ainvoke("?")) == told(await both.ainvoke("?", heard))
    assert list(map(told, both.stream("?"))) == list(map(told, both.stream("?", heard)))
    assert [told(one) async for one in both.astream("?")] == [told(one) async for one in both.astream("?", heard)]
    assert told(both.invoke("?", stop=["x"])) == told(both.invoke("?", heard, stop=["x"]))
    chain = chainkit.prompt("{text}") | both
    assert told(chain.invoke({"text": "?"})) == told(chain.invoke({"text": "?"}, heard))


async def test_a_stream_that_has_begun_is_not_begun_anew() -> None:
    second = ScriptedChat("fine")
    both = fallback(Broken(error=errors.ServerFailed("x"), chunks=1), second)
    chunks = both.stream("?")
    assert next(chunks).content == "half "
    with pytest.raises(errors.ServerFailed):
        next(chunks)
    with pytest.raises(errors.ServerFailed):
        [chunk async for chunk in both.astream("?")]
    assert second.conversations == []


def test_if_all_fail_the_last_error_tells_of_the_others() -> None:
    both = fallback(Broken(error=errors.RateLimited("slow")), Broken(error=errors.ServerFailed("down")))
    with pytest.raises(errors.ServerFailed) as caught:
        both.invoke("?")
    assert caught.value.__notes__ == ["asked before: Broken: RateLimited: slow"]


def test_what_somebody_must_set_right_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "chainkit.fallback"):
        fallback(Broken(error=errors.AuthenticationFailed("bad key")), ScriptedChat("x")).invoke("?")
        fallback(Broken(error=errors.TimedOut("late")), ScriptedChat("x")).invoke("?")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_tools_are_bound_to_each() -> None:
    def double(n: int) -> int:
        """Twice as much."""
        return 2 * n

    bound = fallback(Broken(error=errors.TimedOut("late")), Calling()).bind_tools([double])
    answer = bound.invoke("?")
    assert answer.tool_calls[0]["name"] == "double"
    assert answer.response_metadata["answered_by"] == "Calling"


class Answer(BaseModel):
    """A number."""

    n: int


def test_structured_output_is_made_by_each_in_its_own_way() -> None:
    both = fallback(Broken(error=errors.TimedOut("late")), Calling())
    assert both.with_structured_output(Answer).invoke("?") == Answer(n=7)
    raw = both.with_structured_output(Answer, include_raw=True).invoke("?")
    assert raw["parsed"] == Answer(n=7)
    assert raw["raw"].response_metadata["answered_by"] == "Calling"


def test_tokens_are_counted_once() -> None:
    counter = UsageMetadataCallbackHandler()
    fallback(Broken(error=errors.TimedOut("late")), ScriptedChat("fine")).invoke("?", {"callbacks": [counter]})
    assert counter.usage_metadata["scripted"]["total_tokens"] == 2


def test_it_is_a_step_like_any_model() -> None:
    both = fallback(Broken(error=errors.TimedOut("late")), ScriptedChat("fine"))
    assert isinstance(both, FallbackChat)
    assert isinstance(both, BaseChatModel)
    chain = chainkit.prompt("{x}") | both | StrOutputParser()
    assert chain.invoke({"x": 1}) == "fine"
    assert "".join(chain.stream({"x": 1})) == "fine"
    assert both.generate([[HumanMessage("?")]]).generations[0][0].text == "fine"
    assert fallback(ScriptedChat("x"), both).get_num_tokens("one two") == 2


async def test_models_of_any_kind_can_be_mixed() -> None:
    def fails(_: Any) -> Any:
        raise errors.ConnectionFailed("x")

    both = fallback(RunnableLambda(fails), Scripted("fine"))
    assert isinstance(both, Fallback)
    assert both.invoke("?") == "fine"
    assert await both.ainvoke("?") == "fine"
    assert "".join(both.stream("?")) == "fine"


def test_models_are_told_apart_by_their_names() -> None:
    first = chainkit.chat_model("fake:first")
    assert fallback(first, first).invoke("x").response_metadata["answered_by"] == "FakeChat first"


@pytest.mark.parametrize(
    ("models", "error"), [((), ValueError), ((ScriptedChat("x"),), ValueError), (("fake:", 1), TypeError)]
)
def test_wrong_models_are_refused(models: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="fallback takes"):
        fallback(*models)

"""Models with a service or a file behind them give the same directly as through langchain-core."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableSequence as CoreSequence
from pydantic import BaseModel

from chainkit.prompts.direct.parts import work
from chainkit.prompts.direct.step import StepRun
from chainkit.prompts.sequence import RunnableSequence
from chainkit.testing.server.openai import serve
from tests.prompts.cases import chat_prompt, plain

INPUT = {"a": "French", "b": "Say hello."}


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    chat = pytest.importorskip("chainkit.backends.openai")
    with serve() as base_url:
        yield chat.OpenAIChat(model="gpt-4o-mini", base_url=base_url, api_key="sk-test")


def told(value: Any) -> Any:
    """Without what the service makes anew each time."""
    if isinstance(value, dict):
        return {k: told(part) for k, part in value.items() if k not in {"id", "request_id", "created", "headers"}}
    return [told(part) for part in value] if isinstance(value, list | tuple) else value


async def test_a_hosted_model_gives_the_same(model: Any) -> None:
    assert type(work(model, {}, "invoke")) is not StepRun
    ours, core = RunnableSequence(chat_prompt(), model), CoreSequence(chat_prompt(), model)
    assert told(plain(ours.invoke(INPUT).model_dump())) == told(plain(core.invoke(INPUT).model_dump()))
    mine, theirs = await ours.ainvoke(INPUT), await core.ainvoke(INPUT)
    assert told(plain(mine.model_dump())) == told(plain(theirs.model_dump()))
    chunks = [[chunk.model_dump() for chunk in chain.stream(INPUT)] for chain in (ours, core)]
    assert told(plain(chunks[0])) == told(plain(chunks[1]))
    achunks = [[chunk.model_dump() async for chunk in chain.astream(INPUT)] for chain in (ours, core)]
    assert told(plain(achunks[0])) == told(plain(achunks[1]))


async def test_a_hosted_model_streams_text(model: Any) -> None:
    ours, core = (kind(chat_prompt(), model, StrOutputParser()) for kind in (RunnableSequence, CoreSequence))
    assert [chunk async for chunk in ours.astream(INPUT)] == [chunk async for chunk in core.astream(INPUT)]
    assert ours.batch([INPUT] * 3) == core.batch([INPUT] * 3)


class Greeting(BaseModel):
    """A greeting."""

    text: str


@pytest.mark.parametrize("include_raw", [False, True])
async def test_structured_output_is_the_same(model: Any, include_raw: bool) -> None:
    results = []
    for kind in (RunnableSequence, CoreSequence):
        chain = kind(chat_prompt(), model.with_structured_output(Greeting, include_raw=include_raw))
        results.append([chain.invoke(INPUT), await chain.ainvoke(INPUT), list(chain.stream(INPUT))[-1]])
    for mine, theirs in zip(*results, strict=True):
        assert type(mine) is type(theirs)
        mine, theirs = (one["parsed"] if isinstance(one, dict) and "parsed" in one else one for one in (mine, theirs))
        assert str(mine) == str(theirs)


async def test_tools_are_called_the_same(model: Any) -> None:
    def greet(name: str) -> str:
        """Say hello."""
        return name

    bound = model.bind_tools([greet], tool_choice="any")
    ours, core = (kind(chat_prompt(), bound) for kind in (RunnableSequence, CoreSequence))
    mine, theirs = ours.invoke(INPUT), core.invoke(INPUT)
    assert [(call["name"], call["args"]) for call in mine.tool_calls] == [
        (call["name"], call["args"]) for call in theirs.tool_calls
    ]
    assert mine.tool_calls

"""Models with a service or a file behind them give the same directly as through langchain-core."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableSequence as CoreSequence

from chainkit.prompts.direct.route import NORMAL, route_for
from chainkit.prompts.sequence import RunnableSequence
from tests.prompts.cases import chat_prompt, plain
from tests.servers.openai_server import serve

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
    assert route_for(model) is not NORMAL
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

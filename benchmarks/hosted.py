"""CPU time of a client of OpenAI's API: chainkit beside the openai package and langchain-openai.

All talk to the same scripted service on loopback, which runs in a process of its own; rounds are interleaved, and what
is counted is the CPU time of the client's process alone. Needs `pip install langchain-openai`.

    python -m benchmarks.hosted [rounds]
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import openai
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

import chainkit
from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings

TOKENS = 200
CALLS = 10
STORY = f"count to {TOKENS}"
TEXTS = [f"text number {i}" for i in range(32)]
KEY = "sk-benchmark"
MODEL = "gpt-4o-mini"
MESSAGES: list[Any] = [{"role": "user", "content": STORY}]
Once = Callable[[], Any]


def main(rounds: int = 15) -> None:
    service = subprocess.Popen(
        [sys.executable, "-m", "chainkit.testing.server.openai"], stdout=subprocess.PIPE, text=True
    )
    assert service.stdout is not None
    try:
        address = service.stdout.readline().strip()
        table("one call, µs", calls(address), rounds, CALLS)
        table("one streamed token, µs", streams(address), rounds, TOKENS, once=True)
        table("32 texts of 384 numbers, µs", vectors(address), rounds, 3)
    finally:
        service.terminate()
        service.wait()


def table(title: str, cases: dict[str, Once], rounds: int, count: int, *, once: bool = False) -> None:
    """Print the median and the least time of each case, and the ratio of the least to that of the first."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(rounds):
        for name, case in cases.items():
            begin = time.process_time()
            for _ in range(1 if once else count):
                case()
            times[name].append((time.process_time() - begin) / count * 1e6)
    first = min(times[next(iter(times))])
    print(f"\n{title:36}{'median':>9}{'least':>9}{'ratio':>8}")
    for name, taken in times.items():
        print(f"{name:36}{statistics.median(taken):9.0f}{min(taken):9.0f}{min(taken) / first:8.2f}")


def calls(address: str) -> dict[str, Once]:
    from langchain_openai import ChatOpenAI

    bare, own = openai.OpenAI(api_key=KEY, base_url=address), OpenAIChat(model=MODEL, api_key=KEY, base_url=address)
    abare = openai.AsyncOpenAI(api_key=KEY, base_url=address)
    other = ChatOpenAI(model=MODEL, api_key=KEY, base_url=address)
    short: list[Any] = [{"role": "user", "content": "Hello"}]
    return {
        "openai create": lambda: bare.chat.completions.create(model=MODEL, messages=short),
        "ChatOpenAI invoke": lambda: other.invoke("Hello"),
        "chainkit invoke": lambda: own.invoke("Hello"),
        "openai create, async": in_loop(lambda: abare.chat.completions.create(model=MODEL, messages=short)),
        "ChatOpenAI ainvoke": in_loop(lambda: other.ainvoke("Hello")),
        "chainkit ainvoke": in_loop(lambda: own.ainvoke("Hello")),
    }


def streams(address: str) -> dict[str, Once]:
    from langchain_openai import ChatOpenAI

    bare, own = openai.OpenAI(api_key=KEY, base_url=address), OpenAIChat(model=MODEL, api_key=KEY, base_url=address)
    abare = openai.AsyncOpenAI(api_key=KEY, base_url=address)
    other = ChatOpenAI(model=MODEL, api_key=KEY, base_url=address)
    prompt = ChatPromptTemplate.from_template("{text}")
    theirs, ours = prompt | other | StrOutputParser(), chainkit.prompt("{text}") | own | StrOutputParser()

    async def abare_stream() -> None:
        async for _ in await abare.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
            pass

    return {
        "openai stream": lambda: drain(bare.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)),
        "ChatOpenAI stream": lambda: drain(other.stream(STORY)),
        "prompt | ChatOpenAI | str, stream": lambda: drain(theirs.stream({"text": STORY})),
        "chainkit stream": lambda: drain(own.stream(STORY)),
        "chainkit.prompt | chainkit | str": lambda: drain(ours.stream({"text": STORY})),
        "openai astream": in_loop(abare_stream),
        "ChatOpenAI astream": in_loop(lambda: adrain(other.astream(STORY))),
        "prompt | ChatOpenAI | str, astream": in_loop(lambda: adrain(theirs.astream({"text": STORY}))),
        "chainkit astream": in_loop(lambda: adrain(own.astream(STORY))),
        "chainkit.prompt | chainkit | str, a": in_loop(lambda: adrain(ours.astream({"text": STORY}))),
    }


def vectors(address: str) -> dict[str, Once]:
    bare = openai.OpenAI(api_key=KEY, base_url=address)
    own = OpenAIEmbeddings(model="text-embedding-3-small", api_key=KEY, base_url=address, dimensions=384)
    options: dict[str, Any] = {"model": "text-embedding-3-small", "input": TEXTS, "dimensions": 384}
    plain = own.model_copy(update={"extra_body": {"encoding_format": "float"}})
    return {
        "openai, as numbers": lambda: bare.embeddings.create(**options, encoding_format="float"),
        "openai, as base64": lambda: bare.embeddings.create(**options),
        "chainkit, as numbers": lambda: plain.embed_documents(TEXTS),
        "chainkit, as base64": lambda: own.embed_documents(TEXTS),
    }


LOOP = asyncio.new_event_loop()


def in_loop(make: Callable[[], Awaitable[Any]]) -> Once:
    """A case that runs in one loop for all rounds, so that connections are reused."""

    async def run() -> None:
        await make()

    return lambda: LOOP.run_until_complete(run())


def drain(stream: Any) -> None:
    for _ in stream:
        pass


async def adrain(stream: Any) -> None:
    async for _ in stream:
        pass


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""What a chain costs beside its steps: chainkit's sequence and langchain-core's, side by side, CPU time.

`prompt | fake model | parser`, the same steps on both sides, in one process, in turns. Run it with
`python benchmarks/chains.py`; `--rounds` sets how often (the least of the rounds is compared, which is steadiest on a
machine that has other work).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time

os.environ.setdefault("LANGSMITH_TRACING", "false")

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

import chainkit

MESSAGES = [("system", "You answer in {language}."), ("human", "{question}")]
INPUT = {"language": "French", "question": "Why is the sky blue?"}
TWENTY = "twenty characters ok"
ITEMS = 100

# name -> the most that the ratio may be
LIMITS = {"invoke": 0.20, "ainvoke": 0.12, "batch": 0.20, "abatch": 0.12, "stream": 0.12, "astream": 0.12}


class InstantChat(BaseChatModel):
    """Answers at once, sync and async, one character at a time: what is measured is the chain."""

    @property
    def _llm_type(self):
        return "instant"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=AIMessage(TWENTY))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        return self._generate(messages)

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for character in TWENTY:
            yield ChatGenerationChunk(message=AIMessageChunk(content=character))

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for chunk in self._stream(messages):
            yield chunk


MODELS = {
    "instant": InstantChat,
    "fake": lambda: chainkit.chat_model("fake:?reply=" + " ".join(TWENTY)),  # sync only: a thread for each call
    "list": lambda: FakeListChatModel(responses=[TWENTY]),  # its batch is its own, and one after the other
}


def chain(template, model="instant", rag=False):
    steps = template | MODELS[model]() | StrOutputParser()
    if not rag:
        return steps
    context = RunnableLambda(lambda question: f"French for {len(question)}")
    return {"language": context, "question": RunnablePassthrough()} | steps


def invoke(runnable, value):
    def run(n):
        for _ in range(n):
            runnable.invoke(value)

    return run


def ainvoke(runnable, value):
    async def many(n):
        for _ in range(n):
            await runnable.ainvoke(value)

    return lambda n: asyncio.run(many(n))


def batch(runnable, value):
    def run(n):
        for _ in range(0, n, ITEMS):
            runnable.batch([value] * ITEMS)

    return run


def abatch(runnable, value):
    async def many(n):
        for _ in range(0, n, ITEMS):
            await runnable.abatch([value] * ITEMS)

    return lambda n: asyncio.run(many(n))


def stream(runnable, value):
    def run(n):
        for _ in range(n):
            assert len(list(runnable.stream(value))) > 15

    return run


def astream(runnable, value):
    async def many(n):
        for _ in range(n):
            assert len([chunk async for chunk in runnable.astream(value)]) > 15

    return lambda n: asyncio.run(many(n))


WAYS = {"invoke": invoke, "ainvoke": ainvoke, "batch": batch, "abatch": abatch, "stream": stream, "astream": astream}


def bare_stream(n):
    model, messages = InstantChat(), ChatPromptTemplate(MESSAGES).format_messages(**INPUT)
    for _ in range(n):
        list(model._stream(messages))


def cpu_microseconds(run, n):
    start = time.process_time()
    run(n)
    return (time.process_time() - start) / n * 1e6


def compare(ours, theirs, rounds, n):
    pairs = [(cpu_microseconds(ours, n), cpu_microseconds(theirs, n)) for _ in range(rounds + 1)][1:]
    mine, core = zip(*pairs, strict=True)
    return min(mine), min(core), statistics.median(mine) / statistics.median(core)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--calls", type=int, default=200)
    options.add_argument("--model", choices=MODELS, default="instant")
    chosen = options.parse_args()
    print(f"{'':24}{'chainkit':>10}{'core':>10}{'ratio':>8}{'medians':>9}{'at most':>9}   (us of CPU per item)")
    floor = min(cpu_microseconds(bare_stream, chosen.calls // 5) for _ in range(chosen.rounds))
    print(f"{'the model in a stream':24}{floor:10.1f}   (its own work, on both sides; the chain's comes on top)")
    for title, rag, value in [("", False, INPUT), ("rag ", True, "Why is the sky blue?")]:
        ours = chain(chainkit.prompt(MESSAGES), chosen.model, rag)
        theirs = chain(ChatPromptTemplate(MESSAGES), chosen.model, rag)
        for name, way in WAYS.items():
            n = chosen.calls // 5 if "stream" in name else chosen.calls
            mine, core, median = compare(way(ours, value), way(theirs, value), chosen.rounds, n)
            limit = "" if rag or chosen.model != "instant" else f"{LIMITS[name]:.2f}"
            print(f"{title + name:24}{mine:10.1f}{core:10.1f}{mine / core:8.3f}{median:9.3f}{limit:>9}")


if __name__ == "__main__":
    main()

"""A chain that nobody listens to gives what langchain-core's gives, in every way to run it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.runnables import RunnableSequence as CoreSequence

from chainkit.backends.fake import FakeLLM
from chainkit.prompts.sequence import RunnableSequence
from tests.prompts.cases import ASYNC_ONLY, CASES, NOT_STREAMED, Blocks, Case, Failing, Native, chat_prompt, plain


def outcome(run: Callable[[], Any]) -> Any:
    try:
        return plain(run())
    except Exception as error:  # noqa: BLE001 - whatever langchain-core raises
        return plain(error)


async def aoutcome(run: Callable[[], Any]) -> Any:
    try:
        return plain(await run())
    except Exception as error:  # noqa: BLE001 - whatever langchain-core raises
        return plain(error)


def both(case: Case) -> tuple[Any, Any]:
    return RunnableSequence(*case.steps()), CoreSequence(*case.steps())


def gathered(chunks: list[Any]) -> Any:
    """Dictionaries side by side arrive in any order: their sum has none."""
    if chunks and all(isinstance(chunk, dict) for chunk in chunks):
        total: dict[str, Any] = {}
        for chunk in chunks:
            for key, value in chunk.items():
                total.setdefault(key, []).append(value)
        return total
    return chunks


BATCHES: list[tuple[bool, Any]] = [
    (keep, config) for keep in (False, True) for config in (None, {"max_concurrency": 1})
]

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_async = pytest.mark.parametrize("case", CASES + ASYNC_ONLY, ids=lambda case: case.name)


@pytest.mark.parametrize("case", CASES + NOT_STREAMED, ids=lambda case: case.name)
def test_invoke_gives_the_same_twice(case: Case) -> None:
    ours, core = both(case)
    for _ in range(2):  # the second time a cache has something
        assert outcome(lambda: ours.invoke(case.value)) == outcome(lambda: core.invoke(case.value))


@each_async
async def test_ainvoke_gives_the_same_twice(case: Case) -> None:
    ours, core = both(case)
    for _ in range(2):
        assert await aoutcome(lambda: ours.ainvoke(case.value)) == await aoutcome(lambda: core.ainvoke(case.value))


@each
def test_stream_gives_the_same_chunks(case: Case) -> None:
    ours, core = both(case)
    assert outcome(lambda: gathered(list(ours.stream(case.value)))) == outcome(
        lambda: gathered(list(core.stream(case.value)))
    )


@each_async
async def test_astream_gives_the_same_chunks(case: Case) -> None:
    ours, core = both(case)

    async def chunks(chain: Any) -> Any:
        return gathered([chunk async for chunk in chain.astream(case.value)])

    assert await aoutcome(lambda: chunks(ours)) == await aoutcome(lambda: chunks(core))


@each
def test_transform_gives_the_same_chunks(case: Case) -> None:
    ours, core = both(case)
    assert outcome(lambda: gathered(list(ours.transform(iter([case.value]))))) == outcome(
        lambda: gathered(list(core.transform(iter([case.value]))))
    )


@each
def test_batch_gives_the_same(case: Case) -> None:
    for keep, config in BATCHES:
        batch_gives_the_same(case, keep, config)


def batch_gives_the_same(case: Case, keep: bool, config: Any) -> None:
    ours, core = both(case)
    inputs = [case.value, {"a": "odd"}] if "cache" in case.name else [case.value, case.value, {"a": "odd"}]
    assert outcome(lambda: ours.batch(inputs, config, return_exceptions=keep)) == outcome(
        lambda: core.batch(inputs, config, return_exceptions=keep)
    )


@each_async
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # langchain-core leaves what it cancels
async def test_abatch_gives_the_same(case: Case) -> None:
    for keep, config in BATCHES:
        await abatch_gives_the_same(case, keep, config)


async def abatch_gives_the_same(case: Case, keep: bool, config: Any) -> None:
    ours, core = both(case)
    # which of two equal requests finds the other's answer in a cache is a matter of time
    inputs = [case.value, {"a": "odd"}] if "cache" in case.name else [case.value, case.value, {"a": "odd"}]
    assert await aoutcome(lambda: ours.abatch(inputs, config, return_exceptions=keep)) == await aoutcome(
        lambda: core.abatch(inputs, config, return_exceptions=keep)
    )


def test_an_empty_batch_is_empty() -> None:
    assert RunnableSequence(*CASES[0].steps()).batch([]) == []


# Steps that fit behind any other, or fail on what it gives; each is made anew for each side.
STEPS: dict[str, Callable[[], Any]] = {
    "chat prompt": chat_prompt,
    "text prompt": lambda: PromptTemplate.from_template("Say {a!r} and {b:>3}"),
    "one variable": lambda: PromptTemplate.from_template("Say {a}"),
    "history": lambda: ChatPromptTemplate([MessagesPlaceholder("a", optional=True), ("human", "{b}")]),
    "model": Native,
    "bound model": lambda: Native().bind(stop=["q"], seed=1),
    "failing model": Failing,
    "blocks": Blocks,
    "text model": lambda: FakeLLM(reply="a b"),
    "text": StrOutputParser,
    "named": lambda: StrOutputParser().with_config(run_name="named"),
    "pass": RunnablePassthrough,
    "function": lambda: RunnableLambda(lambda value: {"a": str(value), "b": 1}),
    "getter": lambda: RunnableLambda(lambda value: value["a"]),
    "chooser": lambda: RunnableLambda(lambda value: chat_prompt() if isinstance(value, dict) else Native()),
    "dictionary": lambda: RunnableParallel(a=RunnablePassthrough(), b=RunnableLambda(len)),
    "dictionary of models": lambda: RunnableParallel(a=Native() | StrOutputParser(), b=RunnableLambda(str)),
    "assigned": lambda: RunnablePassthrough.assign(a=RunnableLambda(str)),
}
VALUES = [{"a": "x", "b": "y"}, {"a": "x"}, {"a": [("human", "x")], "b": 2.5}, "text", [HumanMessage("hello")], 5]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # langchain-core leaves what it cancels
@hypothesis.given(
    st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=5),
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=3),
    st.booleans(),
)
async def test_any_chain_gives_the_same_in_any_way(names: list[str], values: list[Any], keep: bool) -> None:
    hypothesis.event(names[-1])
    ours, core = both(Case("drawn", lambda: [STEPS[name]() for name in names], None))

    async def chunks(chain: Any) -> Any:
        return gathered([chunk async for chunk in chain.astream(values[0])])

    def same(mine: Any, theirs: Any) -> bool:
        # Of two steps side by side that both fail, either may be the first.
        both_fail = isinstance(mine, tuple) and isinstance(theirs, tuple)
        return mine == theirs or (both_fail and any("dictionary" in name for name in names))

    def streamed(chain: Any) -> Any:
        return gathered(list(chain.stream(values[0])))

    assert same(*(outcome(partial(chain.invoke, values[0])) for chain in (ours, core)))
    assert same(*(outcome(partial(chain.batch, values, return_exceptions=keep)) for chain in (ours, core)))
    assert same(*[await aoutcome(partial(chain.ainvoke, values[0])) for chain in (ours, core)])
    if not any("dictionary" in name for name in names):  # whose chunks come in any order
        assert outcome(partial(streamed, ours)) == outcome(partial(streamed, core))
        assert await aoutcome(partial(chunks, ours)) == await aoutcome(partial(chunks, core))

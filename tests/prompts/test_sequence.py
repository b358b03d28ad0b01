"""A chain that nobody listens to gives what langchain-core's gives, in every way to run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import RunnableSequence as CoreSequence

from chainkit.prompts.sequence import RunnableSequence
from tests.prompts.cases import ASYNC_ONLY, CASES, NOT_STREAMED, Case, plain


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

"""A limiter lets through what it may, and sleeps once for as long as it must."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import chainkit
from chainkit.chains import limits
from chainkit.chains.limits import RateLimiter
from chainkit.testing import ScriptedChat


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        monkeypatch.setattr(limits.time, "sleep", self.sleep)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_requests_of_a_minute_go_at_once_and_then_one_by_one(clock: Clock) -> None:
    limiter = RateLimiter(requests_per_minute=3, clock=clock)
    for _ in range(5):
        assert limiter.acquire()
    assert clock.sleeps == pytest.approx([20, 20])


def test_a_minute_of_rest_fills_it_and_no_more(clock: Clock) -> None:
    limiter = RateLimiter(requests_per_minute=2, clock=clock)
    clock.now += 1000
    assert [limiter.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_what_may_not_wait_is_not_counted(clock: Clock) -> None:
    limiter = RateLimiter(requests_per_minute=1, clock=clock)
    assert limiter.acquire(blocking=False)
    assert not limiter.acquire(blocking=False)
    clock.now += 60
    assert limiter.acquire(blocking=False)


def test_tokens_that_were_spent_are_paid_for_first(clock: Clock) -> None:
    limiter = RateLimiter(tokens_per_minute=600, clock=clock)
    limiter.acquire()
    limiter.spend(900)  # 300 too many: half a minute
    limiter.acquire()
    assert clock.sleeps == pytest.approx([30])


def test_a_model_tells_what_it_took(clock: Clock) -> None:
    limiter = RateLimiter(tokens_per_minute=60, clock=clock)
    plain = ScriptedChat("word " * 89)
    model = limiter.limit(plain)
    chain = chainkit.prompt("{x}") | model
    chain.invoke({"x": "one"})  # 1 + 90 tokens, 31 too many
    chain.invoke({"x": "one"})
    assert clock.sleeps == pytest.approx([31], abs=2)
    assert plain.rate_limiter is None


def test_a_streamed_answer_counts_too(clock: Clock) -> None:
    limiter = RateLimiter(tokens_per_minute=60, clock=clock)
    model = limiter.limit(ScriptedChat("word " * 89))
    list(model.stream("one"))
    assert not limiter.acquire(blocking=False)


async def test_tasks_wait_without_holding_up_others() -> None:
    limiter = RateLimiter(requests_per_minute=1200)  # one in 50 ms beyond the first minute's
    begin = time.monotonic()
    limiter._requests.taken(1200, begin)  # type: ignore[union-attr]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(limiter.aacquire() for _ in range(3)))
    assert time.monotonic() - begin >= 0.14
    ticking.cancel()
    assert ticks


async def test_a_cancelled_wait_gives_its_place_back(clock: Clock) -> None:
    limiter = RateLimiter(requests_per_minute=1, clock=clock)
    assert await limiter.aacquire()
    waiting = asyncio.create_task(limiter.aacquire())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    clock.now += 60
    assert limiter.acquire(blocking=False)


def test_threads_never_get_more_than_the_limit() -> None:
    limiter = RateLimiter(requests_per_minute=50, clock=lambda: 0.0)
    got: list[bool] = []
    threads = [threading.Thread(target=lambda: got.append(limiter.acquire(blocking=False))) for _ in range(80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 50


@pytest.mark.parametrize(
    "wrong",
    [{}, {"requests_per_minute": 0}, {"tokens_per_minute": -1}, {"requests_per_minute": float("inf")}],
)
def test_wrong_limits_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="per_minute"):
        RateLimiter(**wrong)

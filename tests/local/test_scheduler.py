"""The scheduler: who shares which pass, who waits, and what comes to whom."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from chainkit.base.generation import GenerationRequest
from chainkit.base.session import Counters, Piece
from chainkit.local.scheduler import Client, GenerationEnd, GenerationTask, Scheduler, scheduler_of
from chainkit.local.session import LocalSession
from chainkit.local.threads import Cancelled
from tests.local.scripted import ScriptedRuntime


def task(runtime: ScriptedRuntime, text: str = "a", count: int = 5, **options: Any) -> GenerationTask:
    session = LocalSession(runtime).append(text)
    return GenerationTask(session, session.steps(GenerationRequest(max_tokens=count)), **options)


def drained(client: Client) -> list[tuple[int, Any]]:
    found = []
    while client.open:
        found += [(one.number, update) for one, update in client.wait()]
    return found


def texts(found: list[tuple[int, Any]]) -> dict[int, str]:
    result: dict[int, str] = {}
    for number, update in found:
        result[number] = result.get(number, "") + (update.text if isinstance(update, Piece) else "")
    return result


def alone(text: str, count: int) -> str:
    session = LocalSession(ScriptedRuntime()).append(text)
    return "".join(piece.text for piece in session.generate(GenerationRequest(max_tokens=count)))


def test_generations_share_their_passes_and_write_what_each_writes_alone() -> None:
    runtime = ScriptedRuntime()
    client = Client(Scheduler(runtime), streaming=True)
    for number, text in enumerate(["a", "bc", "def"]):
        client.submit(task(runtime, text, 4 + number, number=number))
    found = texts(drained(client))
    assert found == {number: alone(text, 4 + number) for number, text in enumerate(["a", "bc", "def"])}
    assert [len(call) for call in runtime.calls] == [3, 3, 3, 3, 2, 1]


def test_one_that_comes_later_shares_the_passes_from_then_on() -> None:
    runtime = ScriptedRuntime()
    scheduler = Scheduler(runtime)
    first, second = Client(scheduler, streaming=True), Client(scheduler, streaming=True)
    first.submit(task(runtime, "a", 6, number=1))
    first.wait()
    second.submit(task(runtime, "b", 6, number=2))
    assert texts(drained(second))[2] == alone("b", 6)
    assert len(runtime.calls) == 7
    drained(first)
    assert len(runtime.calls) == 7  # its generation went on with the other one's


def test_a_pass_that_serves_two_texts_of_one_run_counts_once_for_it() -> None:
    runtime = ScriptedRuntime()
    client, run, other = Client(Scheduler(runtime), streaming=True), Counters(), Counters()
    for number, counters in enumerate((run, run, other)):
        one = task(runtime, "abc"[number], 3, number=number)
        one.session.counters = counters
        client.submit(one)
    drained(client)
    assert (run.passes, other.passes) == (3, 3)
    assert (run.sampled, other.sampled) == (6, 3)


def test_no_more_than_the_runtime_computes_well_at_once() -> None:
    runtime = ScriptedRuntime(parallel=2)
    client = Client(Scheduler(runtime), streaming=True)
    for number in range(5):
        client.submit(task(runtime, "abcde"[number], 2, number=number))
    found = drained(client)
    assert max(len(call) for call in runtime.calls) == 2
    ended = [number for number, update in found if isinstance(update, GenerationEnd)]
    assert ended == [0, 1, 2, 3, 4]
    assert len(runtime.calls) == 6


def test_no_more_than_a_client_wants_at_once() -> None:
    runtime = ScriptedRuntime(parallel=8)
    scheduler = Scheduler(runtime)
    tasks = [task(runtime, "abcdef"[number], 2, number=number) for number in range(6)]
    found = scheduler.gather(tasks, most=3)
    assert ["".join(piece.text for piece in pieces) for pieces in found] == [alone(text, 2) for text in "abcdef"]
    assert [len(call) for call in runtime.calls] == [3, 3, 3, 3]


def test_texts_wait_for_room_but_one_alone_never_does() -> None:
    runtime = ScriptedRuntime(room=20)
    client = Client(Scheduler(runtime), streaming=True)
    for number in range(3):
        client.submit(task(runtime, "abcde", 3, growth=5, number=number))
    client.submit(task(runtime, "x" * 30, 2, growth=2, number=3))
    drained(client)
    assert [len(call) for call in runtime.calls] == [2, 2, 2, 1, 1, 1, 1, 1]


def test_where_there_was_no_room_the_last_one_waits_until_another_has_ended() -> None:
    runtime = ScriptedRuntime()
    runtime.crowds = 2
    client = Client(Scheduler(runtime), streaming=True)
    for number in range(3):
        client.submit(task(runtime, "abc"[number], 4, number=number))
    found = drained(client)
    assert texts(found) == {number: alone("abc"[number], 4) for number in range(3)}
    assert [len(call) for call in runtime.calls][:4] == [3, 2, 2, 2]
    assert sum(len(call) for call in runtime.calls) == 12


def test_a_run_that_has_begun_goes_on_before_another_begins() -> None:
    """Four runs of three slots each on two sequences: a new run begins where one has ended, never in between."""
    runtime = ScriptedRuntime(parallel=2)
    client = Client(Scheduler(runtime), streaming=True)
    sessions = [LocalSession(runtime).append("abcd"[number]) for number in range(4)]
    left = [3] * 4

    def slot(number: int) -> None:
        steps = sessions[number].steps(GenerationRequest(max_tokens=2))
        client.submit(GenerationTask(sessions[number], steps, continues=True, number=number))

    for number in range(4):
        slot(number)
    order: list[int] = []
    while client.open:
        for one, update in client.wait():
            if isinstance(update, GenerationEnd):
                order.append(one.number)
                left[one.number] -= 1
                if left[one.number]:
                    slot(one.number)
                else:
                    one.session.close()
    assert order == [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]


def test_an_error_of_a_pass_ends_all_that_took_part_and_nothing_else() -> None:
    runtime = ScriptedRuntime()
    scheduler = Scheduler(runtime)
    runtime.fails = ValueError("the pass failed")
    with pytest.raises(ValueError, match="the pass failed"):
        scheduler.gather([task(runtime), task(runtime, "b")])
    runtime.fails = None
    assert "".join(piece.text for piece in scheduler.pieces(task(runtime, "a", 4))) == alone("a", 4)


def test_a_cancelled_generation_ends_and_the_others_go_on_in_the_same_pass() -> None:
    runtime = ScriptedRuntime()
    client = Client(Scheduler(runtime), streaming=True)
    tasks = [task(runtime, "ab"[number], 3, number=number) for number in range(2)]
    for one in tasks:
        client.submit(one)
    tasks[0].session.cancel()
    found = drained(client)
    assert [type(update) for number, update in found if number == 0] == [Cancelled]
    assert texts(found)[1] == alone("b", 3)


def test_a_stream_that_is_closed_is_withdrawn() -> None:
    runtime = ScriptedRuntime()
    scheduler = Scheduler(runtime)
    one = task(runtime, "a", 50)
    pieces = scheduler.pieces(one)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert (scheduler._active, scheduler._driver) == ([], None)
    assert runtime.paused == [one.session.sequence]
    assert one.client is not None
    assert one.client.open == 0


def test_one_that_waits_in_the_queue_can_be_withdrawn() -> None:
    runtime = ScriptedRuntime(parallel=1)
    client = Client(Scheduler(runtime), streaming=True)
    tasks = [task(runtime, "ab"[number], 3, number=number) for number in range(2)]
    for one in tasks:
        client.submit(one)
    client.wait()
    client.close([tasks[1]])
    assert {number for number, _ in drained(client)} == {0}


def test_options_are_scored_in_the_pass_of_the_texts() -> None:
    runtime = ScriptedRuntime()
    client = Client(Scheduler(runtime), streaming=True)
    session = LocalSession(runtime).append("the ")

    def scored() -> Any:
        return (yield session.branches([list(b"cat"), list(b"dog")]))

    client.submit(GenerationTask(session, scored(), number=1))
    client.submit(task(runtime, "a", 3, number=2))
    results = {number: update.result for number, update in drained(client) if isinstance(update, GenerationEnd)}
    assert results[1] == pytest.approx(LocalSession(ScriptedRuntime()).append("the ").score(["cat", "dog"]))
    assert len(runtime.calls) == 3


def test_threads_share_passes_and_each_gets_its_own() -> None:
    runtime = ScriptedRuntime(parallel=8)
    runtime.slow = 0.004
    scheduler, found = Scheduler(runtime), dict[str, str]()
    begin = threading.Barrier(4)

    def work(text: str) -> None:
        begin.wait()
        if text in "ab":
            found[text] = "".join(piece.text for piece in scheduler.pieces(task(runtime, text, 30)))
        else:
            (pieces,) = scheduler.gather([task(runtime, text, 30)])
            found[text] = "".join(piece.text for piece in pieces)

    threads = [threading.Thread(target=work, args=(text,)) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {text: alone(text, 30) for text in "abcd"}
    assert len(runtime.calls) <= 40
    assert (scheduler._active, scheduler._driver) == ([], None)


def test_an_interrupt_in_the_thread_that_computes_ends_the_other_ones_generation_by_name() -> None:
    runtime = ScriptedRuntime()
    scheduler = Scheduler(runtime)
    mine, other = Client(scheduler, streaming=True), Client(scheduler, streaming=True)

    def broken() -> Any:
        yield None
        raise KeyboardInterrupt

    session = LocalSession(runtime).append("b")
    other.submit(GenerationTask(session, broken()))
    mine.submit(task(runtime, "a", 9))
    with pytest.raises(KeyboardInterrupt):
        drained(mine)
    ((_, update),) = other.wait()
    assert isinstance(update, Cancelled)
    assert scheduler._driver is None


def test_a_text_is_expected_to_grow_by_what_is_said_and_never_beyond_the_context() -> None:
    runtime = ScriptedRuntime(context_length=50)
    assert task(runtime, "abc", growth=10).size == 13
    assert task(runtime, "abc", growth=0).size == 3
    assert task(runtime, "abc").size == 50
    assert task(ScriptedRuntime(), "abc").size == 67


def test_a_runtime_has_one_scheduler() -> None:
    first, second = ScriptedRuntime(), ScriptedRuntime()
    assert scheduler_of(first) is scheduler_of(first) is not scheduler_of(second)

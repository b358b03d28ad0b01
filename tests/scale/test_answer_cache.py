from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

import chainkit
from chainkit.base.answer_store import AnswerStore
from chainkit.base.sqlite import FileLayout, connect
from chainkit.errors import ChainkitError
from chainkit.scale import AnswerCache
from tests.scale import cache_users

AT_ZERO = "[('model', 'm'), ('temperature', 0.0)]"


@pytest.fixture
def cache(tmp_path: Path):
    made = AnswerCache(tmp_path / "answers.sqlite")
    yield made
    made.close()


def test_a_second_process_finds_the_whole_message(tmp_path: Path, cache: AnswerCache) -> None:
    message = AIMessage(
        "Hallo ü",
        tool_calls=[{"name": "f", "args": {"a": [1]}, "id": "1", "type": "tool_call"}],
        usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        response_metadata={"finish_reason": "stop"},
    )
    cache.update("p", AT_ZERO, [ChatGeneration(message=message, generation_info={"a": 1})])
    other = AnswerCache(cache.path)
    (found,) = other.lookup("p", AT_ZERO) or ()
    other.close()
    assert isinstance(found, ChatGeneration)
    assert found.message == message
    assert found.generation_info == {"a": 1}
    assert other.lookup.__doc__


def test_a_text_is_kept_as_a_text(cache: AnswerCache) -> None:
    cache.update("p", AT_ZERO, [Generation(text="half a \ud83d pair")])
    assert [one.text for one in cache.lookup("p", AT_ZERO) or ()] == ["half a \ud83d pair"]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ("[('temperature', 0.0)]", True),
        ("[('temperature', 0)]", True),
        ("[('temperature', 0.7)]", False),
        ("[('model', 'm')]", False),
        ("[('seed', None), ('temperature', 0.7)]", False),
        ("[('seed', 3), ('temperature', 0.7)]", True),
        ("{'temperature':0.0,'seed':None} GenerationRequest(temperature=0.9,seed=None)", False),
        ("{'temperature':0.9,'seed':None} GenerationRequest(temperature=0.9,seed=4)", True),
    ],
)
def test_a_call_that_samples_is_kept_only_with_a_seed_or_where_it_is_asked_for(
    tmp_path: Path, cache: AnswerCache, settings: str, kept: bool
) -> None:
    cache.update("p", settings, [Generation(text="a")])
    assert (cache.lookup("p", settings) is not None) == kept
    asked = AnswerCache(tmp_path / "other.sqlite", sampled=True)
    asked.update("p", settings, [Generation(text="a")])
    assert asked.lookup("p", settings) is not None
    asked.close()


def test_models_of_chainkit_use_it_and_keep_calls_of_other_settings_apart(cache: AnswerCache) -> None:
    model = chainkit.chat_model("fake:", cache=cache)
    assert [model.invoke("one two", max_tokens=most).content for most in (1, 1, None)] == ["one", "one", "one two"]
    counts = cache.counts()["answer"]
    assert (counts.hits, counts.misses, counts.entries, counts.stored) == (1, 2, 2, 2)


def test_it_serves_as_the_cache_of_all_models(cache: AnswerCache) -> None:
    set_llm_cache(cache)
    try:
        assert [chainkit.llm("fake:").invoke("Hi") for _ in range(3)] == ["Hi"] * 3
    finally:
        set_llm_cache(None)
    assert cache.counts()["answer"].hits == 2


async def test_it_serves_event_loops(cache: AnswerCache) -> None:
    model = chainkit.chat_model("fake:", cache=cache)
    assert [(await model.ainvoke("Hi")).content for _ in range(2)] == ["Hi", "Hi"]
    assert cache.counts()["answer"].hits == 1


def test_results_of_programs_and_answers_share_a_file_and_are_cleared_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainkit.programs.model import cache as results
    from chainkit.programs.model.protocol import OptionScores

    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path))
    monkeypatch.delenv("CHAINKIT_PROGRAM_CACHE", raising=False)
    kept = results.results()
    answers = AnswerCache()
    assert kept is not None
    assert kept.path == answers.path
    kept.put(b"k", OptionScores(logprobs=(0.0,)))
    answers.update("p", AT_ZERO, [Generation(text="a")])
    assert {kind: one.entries for kind, one in answers.counts().items()} == {"answer": 1, "program": 1}
    answers.clear()
    assert (len(kept), answers.lookup("p", AT_ZERO)) == (1, None)
    answers.close()
    kept.close()


def test_those_used_longest_ago_make_room(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "a.sqlite", limit=100_000)
    for number in range(200):
        store.put(str(number).encode(), bytes(1000), "answer")
        assert store.get(b"0", "answer") is not None
    counts = store.counts()["answer"]
    assert counts.bytes <= 107_000
    assert counts.evicted == 200 - counts.entries > 90
    assert store.get(b"1", "answer") is None
    assert store.get(b"199", "answer") is not None
    store.close()


def test_a_file_of_another_kind_is_refused_and_a_damaged_one_is_renamed(tmp_path: Path, caplog) -> None:
    connect(tmp_path / "theirs", FileLayout(900, "CREATE TABLE other (a)", "other")).close()
    with pytest.raises(ChainkitError, match="SQLite file of something else"):
        AnswerCache(tmp_path / "theirs")
    path = tmp_path / "answers.sqlite"
    first = AnswerCache(path)
    first.update("p", AT_ZERO, [Generation(text="a")])
    first.close()
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\x55" * 3996
    path.write_bytes(data)
    again = AnswerCache(path)
    assert again.lookup("p", AT_ZERO) is None
    again.close()
    assert "is now" in caplog.text


@pytest.mark.parametrize("left", [0.0, 0.3, 0.7, 0.999])
def test_a_log_that_was_cut_opens_clean(tmp_path: Path, left: float) -> None:
    """As after a loss of power: the answers before the cut are there, the others are not, and none is torn."""
    path, copy = tmp_path / "a.sqlite", tmp_path / "copy.sqlite"
    cache = AnswerCache(path)
    for number in range(60):
        cache.update(str(number), cache_users.MODEL, cache_users.answer(number))
    copy.write_bytes(path.read_bytes())
    log = path.with_name("a.sqlite-wal").read_bytes()
    cache.close()
    assert log
    copy.with_name("copy.sqlite-wal").write_bytes(log[: int(len(log) * left)])
    again = AnswerCache(copy)
    found = [again.lookup(str(number), cache_users.MODEL) for number in range(60)]
    again.close()
    there = [number for number, one in enumerate(found) if one is not None]
    assert there == list(range(len(there)))
    assert len(there) < 60
    assert all(found[number][0].text == cache_users.answer(number)[0].text for number in there)


def test_the_command_shows_and_clears(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path))
    assert "nothing is kept" in run("cache", "show").stdout
    cache = AnswerCache()
    cache.update("p", AT_ZERO, [Generation(text="a")])
    cache.lookup("p", AT_ZERO)
    cache.close()
    assert "answers of models" in run("cache", "show").stdout
    assert run("cache", "clear", "answer").exit_code == 0
    assert '"kinds": {}' in run("cache", "show", "--json").stdout


@pytest.fixture
def run():
    from click.testing import CliRunner

    from chainkit.cli.main import cli

    return lambda *arguments: CliRunner().invoke(cli, list(arguments), prog_name="chainkit")


@pytest.mark.slow
def test_processes_that_are_killed_while_others_use_the_file_lose_no_answer_of_these(tmp_path: Path) -> None:
    path, chance = tmp_path / "a.sqlite", random.Random(3)
    started = []
    for seed in range(4):
        hear, tell = cache_users.CONTEXT.Pipe(duplex=False)
        process = cache_users.CONTEXT.Process(target=cache_users.use, args=(path, 8 if seed < 2 else 60, seed, tell))
        process.start()
        started.append((process, hear))
    assert [hear.recv() for _, hear in started] == ["ready"] * 4
    for process, _ in started[2:]:
        time.sleep(chance.uniform(0.5, 2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    for process, hear in started[:2]:
        reads, _, wrong, lost = hear.recv()
        process.join()
        assert (wrong, lost, process.exitcode) == (0, 0, 0)
        assert reads > 100
    cache = AnswerCache(path)
    assert cache._store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    cache.close()

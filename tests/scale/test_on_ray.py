"""Rows in actors of a Ray on this machine: the same output, and nothing lost when actors die."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

import chainkit
from chainkit.base.errors import ChainkitError, MissingLibrary, Unsupported
from chainkit.scale import on_ray
from tests.scale import mapped

ROWS = [{"n": number} for number in range(1, 401)]


def test_a_ray_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingLibrary, match=r"ray is not installed; run: pip install 'chainkit\[ray\]'"):
        chainkit.map_rows(str.upper, ["a"], tmp_path / "out.jsonl", engine="ray")
    with pytest.raises(Unsupported, match="takes no config and no budget"):
        chainkit.map_rows(str.upper, ["a"], tmp_path / "b.jsonl", engine="ray", max_tokens=5)


def test_an_error_that_cannot_be_sent_is_told_in_its_words():
    class Odd(Exception):
        def __init__(self, one, two) -> None:
            super().__init__(f"{one} {two}")

    assert str(on_ray._carried(Odd(1, 2))) == "Odd: 1 2"
    assert isinstance(on_ray._carried(ValueError("x")), ValueError)
    assert on_ray._carried("text") == "text"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.filterwarnings("default")
def test_the_output_is_that_of_one_process_row_for_row(cluster, tmp_path):
    local, far = tmp_path / "local.jsonl", tmp_path / "far.jsonl"
    here = chainkit.map_rows(mapped.worked, ROWS, local)
    there = chainkit.map_rows(mapped.worked, ROWS, far, engine="ray", concurrency=2)
    assert (here.done, here.failed) == (there.done, there.failed) == (396, 4)
    assert far.read_text("utf-8") == local.read_text("utf-8")
    assert rows_of(tmp_path / "far.jsonl.failed.jsonl")[0]["reason"] == "a multiple of 97"


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.filterwarnings("default")
def test_models_and_embeddings_are_held_by_actors(cluster, tmp_path):
    chain = chainkit.prompt("About {n}") | chainkit.chat_model("fake:")
    assert chainkit.map_rows(chain, ROWS[:40], tmp_path / "a.jsonl", engine="ray", concurrency=1).done == 40
    assert rows_of(tmp_path / "a.jsonl")[6]["output"] == "About 7"
    vectors = chainkit.embeddings("fake:?dimensions=8")
    assert chainkit.map_rows(vectors, ["a", "b"], tmp_path / "b.jsonl", engine="ray", concurrency=1).done == 2
    held = threading.Lock()
    with pytest.raises(ChainkitError, match="cannot be sent to Ray"):
        chainkit.map_rows(lambda row: held, ["a"], tmp_path / "c.jsonl", engine="ray")


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.filterwarnings("default")
def test_nothing_is_lost_when_actors_are_killed(cluster, tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(on_ray, "EMBEDDED_ROWS", 10)
    made: list[on_ray.RayCalls] = []
    begin = on_ray.RayCalls.__init__

    def noted(self, *arguments) -> None:
        begin(self, *arguments)
        made.append(self)

    monkeypatch.setattr(on_ray.RayCalls, "__init__", noted)
    over, kills = threading.Event(), 0

    def kill() -> None:
        nonlocal kills
        while not over.wait(3.0):
            if made:
                ray.kill(made[0]._actors[kills % 2], no_restart=False)
                kills += 1

    killer = threading.Thread(target=kill)
    killer.start()
    start = time.monotonic()
    report = chainkit.map_rows(mapped.slowly, ROWS, tmp_path / "out.jsonl", engine="ray", concurrency=2)
    over.set()
    killer.join()
    print(f"{kills} kills in {time.monotonic() - start:.0f} s")
    assert kills > 1
    assert (report.done, report.failed) == (396, 4)
    assert [row["_row"] for row in rows_of(tmp_path / "out.jsonl")] == [n for n in range(1, 401) if n % 97]

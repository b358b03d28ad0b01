"""Sixty faults of servers, asked in every way that asks one: each ends in its time, with a named error or an answer."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import chainkit
from chainkit.base.errors import ChainkitError
from tests.backends.openai.raw import raw_server
from tests.servers.faults import FAULTS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads its peak of memory in /proc")]
LIMIT_SECONDS = 1.0
MOST_BYTES = 200_000_000
LIMITS: dict[str, Any] = {"timeout": LIMIT_SECONDS, "total_timeout": LIMIT_SECONDS, "max_retries": 1}
EACH = {"max_reply_bytes": 20_000_000, **LIMITS}


def chat(address: str) -> Any:
    return chainkit.chat_model("openai:m", base_url=address, **EACH)


def text(address: str) -> Any:
    return chainkit.llm("openai:gpt-3.5-turbo-instruct", base_url=address, **EACH)


def vectors(address: str) -> Any:
    return chainkit.embeddings("openai:m", base_url=address, **EACH)


async def collected(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


def page(address: str) -> None:
    from chainkit.knowledge.readers import web

    web.fetch(address, Path(PLACE[0]), "page")


def hub(address: str) -> Any:
    from chainkit.hub.names import HubName
    from chainkit.hub.repository import look_up

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", address)
        patch.setenv("HF_HUB_OFFLINE", "0")
        return look_up(HubName("org/model"))


def header(address: str) -> Any:
    from chainkit.sizing import remote_gguf

    return remote_gguf([f"{address}/model.gguf"])


PLACE = [""]
WAYS: dict[str, Callable[[str], Any]] = {
    "chat": lambda address: chat(address).invoke("x"),
    "chat async": lambda address: asyncio.run(chat(address).ainvoke("x")),
    "chat stream": lambda address: list(chat(address).stream("x")),
    "chat stream async": lambda address: asyncio.run(collected(chat(address).astream("x"))),
    "responses": lambda address: chat(address).bind(api="responses").invoke("x"),
    "text": lambda address: text(address).invoke("x"),
    "text stream async": lambda address: asyncio.run(collected(text(address).astream("x"))),
    "embeddings": lambda address: vectors(address).embed_query("x"),
    "embeddings async": lambda address: asyncio.run(vectors(address).aembed_query("x")),
    "page": page,
    "hub": hub,
    "header of a model": header,
}


def peak() -> int:
    """The most memory that this process had, in bytes."""
    told = Path("/proc/self/status").read_text("utf-8")
    return int(told.partition("VmHWM:")[2].split()[0]) * 1024


def forget_peak() -> int:
    """What it has now; the most is counted anew from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def test_there_are_sixty_faults() -> None:
    assert len(FAULTS) >= 60


@pytest.mark.parametrize("way", WAYS)
def test_each_fault_ends_in_time(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.knowledge.readers.web.LIMIT_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr("chainkit.hub.repository._LIMIT_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr("chainkit.sizing.remote._LIMIT_SECONDS", LIMIT_SECONDS)
    PLACE[0] = str(tmp_path)
    with raw_server(FAULTS["nothing"]) as address, suppress(ChainkitError):
        WAYS[way](address)  # imports what it needs
    wrong: list[str] = []
    for fault, play in FAULTS.items():
        with raw_server(play) as address:
            before = forget_peak()
            begin = time.monotonic()
            try:
                WAYS[way](address)
                outcome = "answer"
            except ChainkitError as error:
                outcome = type(error).__name__
            except Exception as error:  # noqa: BLE001 - told below
                outcome = f"BARE {type(error).__name__}: {error}"
            seconds, most = time.monotonic() - begin, peak() - before
        print(f"{way} | {fault} | {outcome} | {seconds:.2f} s | {most / 1e6:.0f} MB")
        if "BARE" in outcome or seconds > LIMIT_SECONDS + 1 or most > MOST_BYTES:
            wrong.append(f"{fault}: {outcome}, {seconds:.2f} s, {most / 1e6:.0f} MB")
    assert not wrong, "\n".join(wrong)

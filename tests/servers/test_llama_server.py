"""A server that nobody here wrote: llama.cpp's own, with SmolLM2, asked as users ask it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

import chainkit
from chainkit.base.errors import ConnectionFailed, RequestTooLong, StreamBroken
from chainkit.cli.main import cli
from tests.servers.starting import free_port, smollm2, start, stop

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "llama_server.py"


def llama_server(*options: str) -> tuple[subprocess.Popen[bytes], str]:
    """The process and its address, once it answers."""
    pytest.importorskip("xllamacpp")
    port = free_port()
    return start([str(SCRIPT), str(smollm2()), str(port), *options], port)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    process, place = llama_server()
    yield place
    stop(process)


@pytest.fixture(scope="module")
def vectors() -> Iterator[str]:
    process, place = llama_server("embeddings")
    yield place
    stop(process)


def chat(address: str, **options: Any) -> Any:
    return chainkit.chat_model("llamacpp:", **{"base_url": address, "temperature": 0, "max_tokens": 40, **options})


def test_a_chat_is_answered_and_its_tokens_are_counted(address: str) -> None:
    answer = chat(address).invoke("What is the capital of France?")
    assert answer.text.strip()
    assert answer.usage_metadata["output_tokens"] > 0


def test_a_stream_is_the_answer_in_pieces(address: str) -> None:
    async def collect() -> list[str]:
        return [chunk.text async for chunk in chat(address).astream("What is the capital of France?")]

    pieces = [chunk.text for chunk in chat(address).stream("What is the capital of France?")]
    assert len(pieces) > 3
    assert (
        "".join(pieces)
        == "".join(asyncio.run(collect()))
        == chat(address).invoke("What is the capital of France?").text
    )


class Place(BaseModel):
    """A place."""

    city: str
    country: str


def test_an_answer_has_its_form(address: str) -> None:
    found = chat(address).with_structured_output(Place).invoke("Where is the Eiffel Tower?")
    assert isinstance(found, Place)


def test_stops_seeds_and_log_probabilities_work(address: str) -> None:
    model = chat(address, stop=["."], seed=3, logprobs=True)
    answer = model.invoke("What is the capital of France?")
    assert "." not in answer.text
    assert answer.response_metadata["logprobs"]["content"]


def test_a_text_that_is_too_long_tells_its_numbers(address: str) -> None:
    with pytest.raises(RequestTooLong) as caught:
        chat(address).invoke("word " * 3_000)
    assert caught.value.tokens is not None
    assert caught.value.tokens > (caught.value.limit or 0) > 0


def test_the_responses_api_answers(address: str) -> None:
    assert chat(address, api="responses").invoke("What is the capital of France?").text.strip()


def test_a_text_is_continued(address: str) -> None:
    model = chainkit.llm("llamacpp:", base_url=address, temperature=0, max_tokens=6)
    assert "Paris" in model.invoke("The capital of France is")


def test_vectors_come_and_a_text_that_is_too_long_is_named(vectors: str) -> None:
    model = chainkit.embeddings("llamacpp:", base_url=vectors, max_retries=0)
    first, second = model.embed_documents(["a cat", "a dog"])
    assert len(first) == len(second) > 100
    with pytest.raises(RequestTooLong):
        model.embed_query("word " * 3_000)


def test_the_doctor_judges_it_rightly(address: str) -> None:
    result = CliRunner().invoke(cli, ["doctor", address, "--json", "--timeout", "120", "--total", "600"])
    states = {row["feature"]: row["state"] for row in json.loads(result.stdout)["features"]}
    assert result.exit_code == 0, result.output
    for feature in ("chat", "system", "stream", "usage_in_stream", "stop", "json_schema", "logprobs", "chainkit"):
        assert states[feature] == "works", (feature, states)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_server_that_is_killed_in_mid_stream_leaves_what_had_come() -> None:
    process, place = llama_server()
    try:
        stream = chat(place, max_tokens=400, max_retries=0).stream("Tell me a long story about the sea.")
        got = [next(stream).text for _ in range(5)]
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(StreamBroken) as caught:
            list(stream)
        assert caught.value.partial.startswith("".join(got))
    finally:
        stop(process)
    with pytest.raises(ConnectionFailed):
        chat(place, max_retries=0).invoke("Hello")

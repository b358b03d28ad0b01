"""`transformers serve` with SmolLM2: what it has works; what it has not is a named error or a warning."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel

import chainkit
from chainkit.backends.openai.given import AskedNotGiven
from chainkit.base.errors import BadRequest, ConnectionFailed, StreamBroken, TimedOut
from tests.servers.starting import free_port, smollm2, start, stop

pytestmark = pytest.mark.slow
TO_FOLDER = Path(__file__).parent / "safetensors_folder.py"
CONTEXT_LENGTH = 128
QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """The process, its address and the name of its model."""
    for package in ("torch", "gguf", "fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; transformers serve and its model need it")
    folder = tmp_path_factory.mktemp("served") / "smollm2"  # serve cannot read GGUF yet: its config has no architecture
    subprocess.run([sys.executable, str(TO_FOLDER), str(smollm2()), str(folder)], check=True, capture_output=True)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text("utf-8")), "max_position_embeddings": CONTEXT_LENGTH}))
    port = free_port()
    command = ["-m", "transformers.cli.transformers", "serve", str(folder), "--host", "127.0.0.1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process, address = start([*command, "--port", str(port), "--device", "cpu"], port, **environment)
    yield process, address, str(folder)
    stop(process)


Served = tuple[subprocess.Popen[bytes], str, str]


def chat(served: Served, **options: Any) -> Any:
    given = {"base_url": served[1], "temperature": 0, "max_tokens": 8, "max_retries": 0, **options}
    return chainkit.chat_model(f"openai:{served[2]}", **given)


def test_a_chat_is_answered_and_its_tokens_are_counted(served: Served) -> None:
    answer = chat(served).invoke(QUESTION)
    assert "Paris" in answer.text
    assert 0 < answer.usage_metadata["output_tokens"] <= 8


def test_a_stream_is_the_answer_in_pieces(served: Served) -> None:
    async def collect() -> list[str]:
        return [chunk.text async for chunk in chat(served).astream(QUESTION)]

    pieces = [chunk.text for chunk in chat(served).stream(QUESTION)]
    assert len(pieces) > 3
    assert "Paris" in "".join(pieces)
    assert pieces == asyncio.run(collect())


def test_stops_work_and_log_probabilities_that_do_not_come_are_told(served: Served) -> None:
    with pytest.warns(AskedNotGiven, match="ignores logprobs"):
        answer = chat(served, stop=[" France"], logprobs=True).invoke(QUESTION)
    assert answer.text.removesuffix(" France") == "The capital of"


class Place(BaseModel):
    """A place."""

    city: str
    country: str


def test_an_answer_without_the_form_is_named(served: Served) -> None:
    with pytest.raises(OutputParserException, match="not of the form"):
        chat(served, max_tokens=20).with_structured_output(Place).invoke(QUESTION)


def test_a_demanded_call_that_is_not_made_is_told(served: Served) -> None:
    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    with pytest.warns(AskedNotGiven, match="ignores tool_choice"):
        assert not chat(served).bind_tools([weather], tool_choice="any").invoke("The weather in Rome?").tool_calls


def test_a_text_longer_than_the_context_is_not_refused_and_its_time_is_bounded(served: Served) -> None:
    answer = chat(served, max_tokens=1).invoke("word " * 2 * CONTEXT_LENGTH)
    assert answer.usage_metadata["input_tokens"] > CONTEXT_LENGTH  # the server tells only its own log
    with pytest.raises(TimedOut, match="total_timeout of 0.2 s is over"):
        chat(served, total_timeout=0.2).invoke("word " * 2 * CONTEXT_LENGTH)


def test_the_responses_api_answers(served: Served) -> None:
    assert "Paris" in chat(served, api="responses").invoke(QUESTION).text


def test_a_text_is_continued(served: Served) -> None:
    model = chainkit.llm(f"openai:{served[2]}", base_url=served[1], temperature=0, max_tokens=3)
    assert "Paris" in model.invoke("The capital of France is")


def test_vectors_that_it_does_not_serve_are_named(served: Served) -> None:
    model = chainkit.embeddings(f"openai:{served[2]}", base_url=served[1], max_retries=0)
    with pytest.raises(BadRequest, match="not every server offers every call"):
        model.embed_query("a cat")


def test_a_model_that_it_does_not_serve_is_named(served: Served) -> None:
    with pytest.raises(BadRequest, match="pinned to"):
        chat((*served[:2], "another")).invoke("x")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_server_that_is_killed_in_mid_stream_leaves_what_had_come(served: Served) -> None:
    """The last test: it ends the server."""
    stream = chat(served, max_tokens=400).stream("Tell me a long story about the sea.")
    got = [next(stream).text for _ in range(5)]
    os.kill(served[0].pid, signal.SIGKILL)
    with pytest.raises(StreamBroken) as caught:
        list(stream)
    assert caught.value.partial.startswith("".join(got))
    served[0].wait(30)
    with pytest.raises(ConnectionFailed):
        chat(served).invoke("Hello")

"""The openai package, which nobody here wrote, against the server with the demo model and the words of `fake:`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import chainkit
from chainkit.server import (
    served_chain,
    served_documents,
    served_embeddings,
    served_model,
    served_program,
)

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "description": "x", "parameters": TOOL}}]
FLAT: list[Any] = [{"type": "function", "name": "weather", "parameters": TOOL, "strict": False}]
ASKED: list[Any] = [{"role": "user", "content": "name: Ada, keeps: bees. What does Ada keep?"}]


class Person(BaseModel):
    name: str
    keeps: str


@pytest.fixture(scope="module")
def server(serve_long, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("documents")
    (folder / "bees.md").write_text("# Bees\n\nAda keeps bees in the garden.\n\nThey make honey from nectar.\n")
    index = chainkit.Index(None, "fake:")
    index.add(folder)
    greeting = chainkit.program("Dear {{name}},{{gen 'rest' max_tokens=2}}!", "fake:?reply= how are you")
    chain = chainkit.prompt("Greet {name}") | chainkit.chat_model("fake:")
    return serve_long(
        served_model(f"gguf:{DEMO}?n_threads=1", "demo"),
        served_model("fake:", "echo"),
        served_embeddings("fake:?dimensions=8", "words"),
        served_documents(index, "pages", min_confidence=0.0),
        served_program(greeting, "letter"),
        served_chain(chain, "greeter"),
    )


@pytest.fixture
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as made:
        yield made


def test_a_chat_and_its_stream_say_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="demo", messages=ASKED, max_tokens=12, logprobs=True, top_logprobs=2)
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.content
    stream = client.chat.completions.create(
        model="demo", messages=ASKED, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_form_is_held_by_the_model(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(model="demo", messages=ASKED, response_format=Person, max_tokens=60)
    assert isinstance(parsed.choices[0].message.parsed, Person)
    answered = client.responses.parse(model="demo", input=ASKED, text_format=Person, max_output_tokens=60)
    assert isinstance(answered.output_parsed, Person)


def test_a_tool_is_called_in_both_apis_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="demo", messages=ASKED, tools=TOOLS, tool_choice="required", max_tokens=60
    )
    (call,) = whole.choices[0].message.tool_calls or []
    assert (call.type, whole.choices[0].finish_reason) == ("function", "tool_calls")
    with client.chat.completions.stream(
        model="demo", messages=ASKED, tools=TOOLS, tool_choice="required", max_tokens=60
    ) as events:
        (streamed,) = events.get_final_completion().choices[0].message.tool_calls or []
    assert streamed.function.arguments == call.function.arguments
    with client.responses.stream(
        model="demo", input=ASKED, tools=FLAT, tool_choice="required", max_output_tokens=60
    ) as events:
        kinds = [event.type for event in events]
        (item,) = events.get_final_response().output
    assert (item.type, item.arguments) == ("function_call", call.function.arguments)
    assert kinds[-2:] == ["response.output_item.done", "response.completed"]
    after = [*ASKED, item.model_dump(), {"type": "function_call_output", "call_id": item.call_id, "output": "bees"}]
    assert client.responses.create(model="demo", input=after, max_output_tokens=5).output_text


def test_a_response_is_kept_continued_and_forgotten(client: openai.OpenAI) -> None:
    first = client.responses.create(model="echo", input="one", instructions="be brief")
    second = client.responses.create(model="echo", input="two", previous_response_id=first.id)
    assert (first.output_text, second.output_text) == ("one", "two")
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens == 3  # one, one, two: what was said before is read again
    assert client.responses.retrieve(first.id).output_text == "one"
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError, match="no response"):
        client.responses.create(model="echo", input="x", previous_response_id=first.id)
    secret = client.responses.create(model="echo", input="one", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(secret.id)


def test_texts_are_continued(client: openai.OpenAI) -> None:
    prompts = ["name: Ada", "name: Alan"]
    whole = client.completions.create(model="demo", prompt=prompts, n=2, seed=1, max_tokens=4, logprobs=1, echo=True)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert all(choice.text.startswith(prompts[choice.index // 2]) for choice in whole.choices)
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.text_offset is not None
    assert logprobs.text_offset[0] == len("name: Ada")
    streamed = ["", ""]
    stream = client.completions.create(model="demo", prompt=prompts, max_tokens=4, stream=True)
    for chunk in stream:
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [whole.choices[0].text[9:], whole.choices[2].text[10:]]


def test_vectors_are_the_same_as_numbers_and_as_bytes(client: openai.OpenAI) -> None:
    texts = ["a cat", "a dog"]
    packed = client.embeddings.create(model="words", input=texts)  # the package asks for base64
    plain = client.embeddings.create(model="words", input=texts, encoding_format="float")
    own = chainkit.embeddings("fake:", dimensions=8).embed_documents(texts)
    assert [one.embedding for one in packed.data] == [one.embedding for one in plain.data]
    assert [one.embedding for one in plain.data] == [pytest.approx(one) for one in own]
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="words", input=texts, dimensions=4)


def test_documents_answer_with_citations_as_annotations(client: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "Who keeps bees in the garden?"}]
    message = client.chat.completions.create(model="pages", messages=asked).choices[0].message
    assert "Ada keeps bees" in (message.content or "")
    (note, *_) = message.annotations or []
    assert note.url_citation.url.endswith("bees.md#L3")
    assert note.url_citation.quote == "Ada keeps bees in the garden."  # type: ignore[attr-defined]
    marked = (message.content or "")[note.url_citation.start_index : note.url_citation.end_index]
    assert marked == "[1]"
    answer = client.responses.create(model="pages", input="Who keeps bees in the garden?")
    part = answer.output[0].content[0]  # type: ignore[union-attr]
    assert [one.type for one in part.annotations] == ["file_citation"] * len(part.annotations)
    assert part.annotations[0].filename == "bees.md"


def test_programs_and_chains_take_the_message_or_variables(client: openai.OpenAI) -> None:
    ada: list[Any] = [{"role": "user", "content": "Ada"}]
    assert client.chat.completions.create(model="letter", messages=ada).choices[0].message.content == (
        "Dear Ada, how are!"
    )
    named = {"variables": {"name": "Alan"}}
    answer = client.chat.completions.create(model="greeter", messages=ada, extra_body=named)
    assert answer.choices[0].message.content == "Greet Alan"
    stream = client.chat.completions.create(model="greeter", messages=ada, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Greet Ada"
    with pytest.raises(openai.BadRequestError, match="take no tools"):
        client.chat.completions.create(model="letter", messages=ada, tools=TOOLS)


def test_decisions_come_with_probabilities(server) -> None:
    questions = {
        "bees": {"type": "noul", "instructions": "Is it about bees?"},
        "kind": {"type": "choice", "instructions": "What is it?", "criteria": {"fact": None, "plea": None}},
        "tone": {"type": "score", "instructions": "How loud is it?", "criteria": ["calm", "loud"]},
    }
    body = {"model": "demo", "state": "Ada keeps bees.", "questions": questions}
    answers = server.post("/v1/decisions", body).json()["answers"]
    assert 0 <= answers["bees"]["noul"] <= 1
    assert sum(answers["kind"]["probabilities"].values()) == pytest.approx(1)
    assert answers["tone"]["legend"] == {"0": "calm", "1": "loud"}
    wrong = {"model": "demo", "state": "x", "questions": {"a": {"type": "choice", "instructions": "x"}}}
    assert server.post("/v1/decisions", wrong).status_code == 400


def test_a_model_whose_answer_is_not_of_the_form_is_no_fault_of_the_server(server) -> None:
    questions = {"a": {"type": "noul", "instructions": "x"}}
    refused = server.post("/v1/decisions", {"model": "echo", "state": "y", "questions": questions})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "form_not_met")


def test_errors_are_those_of_openai(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nothing", messages=ASKED)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "bees " * 9000}])
    assert caught.value.code == "context_length_exceeded"

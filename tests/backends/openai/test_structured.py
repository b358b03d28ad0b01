"""Answers in the form of a schema."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel, Field

from chainkit.backends.openai import OpenAIChat
from chainkit.backends.openai.structured import OpenSchema, response_format, strict_schema
from chainkit.base.errors import Refused
from chainkit.testing.server.openai import OpenAIServer

METHODS = ["json_schema", "function_calling", "json_mode"]


class Kind(Enum):
    RED = "red"
    WHITE = "white"


class Grape(BaseModel):
    """A grape."""

    name: str = Field(description="its name")
    share: float = 0.5


class Wine(BaseModel):
    """A wine."""

    title: str = Field(default="unknown", description="the title")
    kind: Kind = Kind.RED
    grapes: list[Grape] = []
    main: Grape = Field(default=Grape(name="x"), description="the main grape")
    parent: Wine | None = None


class Free(BaseModel):
    """Anything."""

    counts: dict[str, int]


class Place(TypedDict):
    """A place."""

    city: str


def chat(server: OpenAIServer, **options: Any) -> OpenAIChat:
    return OpenAIChat(**{"model": "gpt-4o-mini", "api_key": server.key, "base_url": server.base_url, **options})


def test_a_nested_class_is_held_strictly_by_the_service(server: OpenAIServer) -> None:
    wine = chat(server).with_structured_output(Flat).invoke("a wine called 'Merlot' with 3")
    assert wine == Flat(title="Merlot", kind=Kind.RED, grapes=[Grape(name="Merlot", share=3)])
    assert server.bodies[-1]["response_format"]["json_schema"]["strict"] is True


class Flat(BaseModel):
    """A wine."""

    title: str = "unknown"
    kind: Kind = Kind.RED
    grapes: list[Grape] = []


def test_a_schema_that_refers_to_itself_becomes_strict(server: OpenAIServer) -> None:
    form = response_format(Wine, strict=True)["json_schema"]["schema"]
    seen: list[str] = []
    _closed(form, seen)
    assert len(seen) == 3  # the wine, its grapes, and its main grape, which is written out


def _closed(schema: Any, seen: list[str]) -> None:
    if isinstance(schema, list):
        for part in schema:
            _closed(part, seen)
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            seen.append("object")
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])
        assert "$ref" not in schema or len(schema) == 1
        for part in schema.values():
            _closed(part, seen)


def test_properties_may_be_called_like_words_of_the_schema() -> None:
    class Odd(BaseModel):
        """Odd."""

        title: str
        default: int
        properties: str

    assert set(response_format(Odd, strict=True)["json_schema"]["schema"]["properties"]) == {
        "title",
        "default",
        "properties",
    }


def test_a_strict_schema_leaves_the_given_one_alone() -> None:
    given = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}
    strict_schema(given)
    assert given == {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}


def test_free_keys_are_not_strict_unless_that_is_demanded() -> None:
    assert "strict" not in response_format(Free, strict=None)["json_schema"]
    with pytest.raises(OpenSchema, match="strict=False"):
        response_format(Free, strict=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_every_method_gives_an_object_of_the_class(server: OpenAIServer, method: Any, way: str) -> None:
    class Answer(BaseModel):
        """An answer."""

        city: str

    made = chat(server).with_structured_output(Answer, method=method)
    question = "Answer in JSON with the key 'city'"
    answer = made.invoke(question) if way == "invoke" else list(made.stream(question))[-1]
    assert isinstance(answer, Answer)
    assert answer.city


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_dict_for_a_typed_dict(server: OpenAIServer, method: Any) -> None:
    made = chat(server).with_structured_output(Place, method=method)
    question = "Answer in JSON with the key 'city'"
    assert set(made.invoke(question)) == {"city"}
    assert list(made.stream(question))[-1] == made.invoke(question)


def test_the_raw_message_can_be_had_too(server: OpenAIServer) -> None:
    made = chat(server).with_structured_output(Place, include_raw=True)
    answer = made.invoke("in 'Rome'")
    assert answer["parsed"] == {"city": "Rome"}
    assert answer["parsing_error"] is None
    assert answer["raw"].usage_metadata


@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_is_an_error_of_its_own(server: OpenAIServer, method: Any) -> None:
    made = chat(server).with_structured_output(Place, method=method)
    with pytest.raises(Refused, match="I cannot help with that"):
        made.invoke("please refuse JSON")
    with pytest.raises(Refused, match="I cannot help with that"):
        list(made.stream("please refuse JSON"))


def test_a_refusal_is_told_beside_the_raw_message(server: OpenAIServer) -> None:
    answer = chat(server).with_structured_output(Place, include_raw=True).invoke("please refuse")
    assert isinstance(answer["parsing_error"], Refused)
    assert answer["parsed"] is None


def test_an_answer_that_was_cut_says_so(server: OpenAIServer) -> None:
    made = chat(server, max_tokens=1).with_structured_output(Place)
    with pytest.raises(OutputParserException, match="max_tokens"):
        made.invoke("in 'Rome'")
    with pytest.raises(OutputParserException, match="max_tokens"):
        list(made.stream("in 'Rome'"))


def test_an_answer_that_does_not_fit_the_class_is_an_error(server: OpenAIServer) -> None:
    class Count(BaseModel):
        """A count."""

        number: int

    made = chat(server).with_structured_output(Count, method="json_mode")
    with pytest.raises(OutputParserException):
        made.invoke("Answer in JSON with the key 'number'")


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_an_answer_without_the_demanded_call_is_an_error(server: OpenAIServer, way: str) -> None:
    made = chat(server, extra_body={"tool_choice": "none"}).with_structured_output(Place, method="function_calling")
    with pytest.raises(OutputParserException, match="did not make the call"):
        made.invoke("Hello") if way == "invoke" else list(made.stream("Hello"))


def test_an_unknown_method_is_refused(server: OpenAIServer) -> None:
    with pytest.raises(ValueError, match="json_mode"):
        chat(server).with_structured_output(Place, method="yaml")  # type: ignore[arg-type]

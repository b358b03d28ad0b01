"""Services as data: addresses, keys, names of parameters, and what is refused before the call."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import ValidationError

import chainkit
from chainkit import registry
from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings, OpenAIModel
from chainkit.backends.openai.access import NO_KEY, find_access
from chainkit.backends.openai.request import chat_messages
from chainkit.backends.openai.services import SERVICES, Service
from chainkit.base.errors import KeyWithheld, MalformedReply, MissingKey, Unsupported
from chainkit.base.keys import KEY_VARIABLES, store_key
from chainkit.testing.server.openai import OpenAIServer
from chainkit.testing.server.wire import HTTPAnswer, Server

CALLS: Any = "function_calling"
WITH_KEY = [service for service in SERVICES.values() if service.variables]
each = pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.name)
each_with_key = pytest.mark.parametrize("service", WITH_KEY, ids=lambda service: service.name)


def body(name: str, **options: Any) -> dict[str, Any]:
    made = OpenAIChat(model="m", service=name, api_key="given", base_url="http://127.0.0.1:1/v1", **options)
    return made._body([HumanMessage("x")], None, {}, stream=True)


def address_of(service: Service) -> str:
    return service.base_url or "https://mine.openai.azure.com/openai/v1"


@each
def test_an_address_is_https_or_on_this_machine(service: Service) -> None:
    url = httpx2.URL(address_of(service))
    assert url.scheme == "https" or url.host == "localhost"
    assert url.path.endswith("/v1") or service.name == "perplexity"


@each_with_key
def test_a_key_that_was_found_goes_to_its_own_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in reversed(service.variables):
        monkeypatch.setenv(variable, f"key-of-{variable}")
        assert find_access(service, address_of(service), None).key == f"key-of-{variable}"


@each_with_key
def test_a_key_of_one_service_goes_to_no_other(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(service.variables[0], "found")
    for other in SERVICES.values():
        if other.name != service.name and address_of(other).startswith("https"):
            with pytest.raises(KeyWithheld):
                find_access(service, address_of(other), None)
            with pytest.raises(MissingKey):
                find_access(other, address_of(other), None)


@each_with_key
def test_a_stored_key_is_found(service: Service) -> None:
    assert service.keys
    store_key(service.keys, "stored")
    assert find_access(service, address_of(service), None).key == "stored"


def test_the_variables_are_those_that_the_rest_of_chainkit_looks_at() -> None:
    for service in WITH_KEY:
        assert service.keys
        assert KEY_VARIABLES[service.keys] == service.variables


@pytest.mark.parametrize("name", ["ollama", "vllm", "llamacpp", "lmstudio"])
def test_a_service_of_ones_own_needs_no_key(name: str) -> None:
    assert find_access(SERVICES[name], None, None).key == NO_KEY


def test_a_service_of_ones_own_can_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://192.168.1.5:11434/v1")
    assert find_access(SERVICES["ollama"], None, None).base_url == "http://192.168.1.5:11434/v1"


def test_azure_needs_an_address() -> None:
    with pytest.raises(ValueError, match="AZURE_OPENAI_BASE_URL"):
        OpenAIChat(model="m", service="azure_openai", api_key="x")


def test_parameters_are_called_as_the_service_calls_them() -> None:
    assert body("mistral", seed=3, max_tokens=5) | {"messages": 0} == {
        "model": "m",
        "random_seed": 3,
        "max_tokens": 5,
        "stream": True,
        "messages": 0,
    }
    assert body("groq", seed=3, max_tokens=5)["max_completion_tokens"] == 5
    assert body("ollama", max_tokens=5)["max_tokens"] == 5
    assert body("vllm")["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("name", "option"), [("groq", {"n": 2}), ("mistral", {"logprobs": True}), ("ollama", {"user": "x"})]
)
def test_what_a_service_lacks_is_told_before_the_call(name: str, option: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=f"{name} has no {next(iter(option))}"):
        body(name, **option)


def test_what_a_service_lacks_can_be_sent_all_the_same() -> None:
    assert body("groq", extra_body={"logprobs": True})["logprobs"] is True


def test_the_demand_for_a_tool_is_called_as_the_service_calls_it(server: OpenAIServer) -> None:
    tool = {"name": "add", "description": "", "parameters": {"type": "object", "properties": {}}}
    options: dict[str, Any] = {"model": "m", "api_key": "x", "base_url": "http://127.0.0.1:1/v1"}
    for name, wanted in (("mistral", "any"), ("groq", "required")):
        made = OpenAIChat(service=name, **options)
        bound = made.bind_tools([tool], tool_choice="any")
        assert made._body([], None, bound.kwargs, stream=False)["tool_choice"] == wanted  # type: ignore[attr-defined]
    made = OpenAIChat(service="ollama", **options)
    with pytest.raises(Unsupported, match="ollama"):
        made._body([], None, made.bind_tools([tool], tool_choice="add").kwargs, stream=False)  # type: ignore[attr-defined]


def test_a_form_is_asked_for_as_the_service_does_best(server: OpenAIServer) -> None:
    options: dict[str, Any] = {"model": "gpt-4o-mini", "api_key": server.key, "base_url": server.base_url}
    schema = {"title": "Place", "type": "object", "properties": {"city": {"type": "string"}}}
    for name, field in (("deepseek", "tools"), ("fireworks", "response_format")):
        assert OpenAIChat(service=name, **options).with_structured_output(schema).invoke("in 'Rome'") == {
            "city": "Rome"
        }
        assert field in server.bodies[-1]


def test_a_way_to_a_form_that_the_service_lacks_is_told_before_the_call() -> None:
    options: dict[str, Any] = {"model": "m", "api_key": "x", "base_url": "http://127.0.0.1:1/v1"}
    schema = {"title": "Place", "type": "object", "properties": {"city": {"type": "string"}}}
    with pytest.raises(Unsupported, match="deepseek has no json_schema.* function_calling or json_mode"):
        OpenAIChat(service="deepseek", **options).with_structured_output(schema, method="json_schema")
    nvidia = OpenAIChat(service="nvidia", **options)
    for ask in (nvidia.bind_tools, lambda tools, **k: nvidia.with_structured_output(*tools, method=CALLS, **k)):
        ask([schema])
        with pytest.raises(Unsupported, match="nvidia has no strict tools"):
            ask([schema], strict=True)


def test_system_messages_at_the_beginning_are_one_where_templates_take_no_more() -> None:
    asked = [SystemMessage("One."), SystemMessage("Two."), HumanMessage("x"), SystemMessage("Later.")]
    for name, wanted in (("vllm", ["One.\n\nTwo.", "x", "Later."]), ("groq", ["One.", "Two.", "x", "Later."])):
        assert [told["content"] for told in chat_messages(asked, SERVICES[name])] == wanted
    parts = [SystemMessage([{"type": "text", "text": "One."}], name="a"), SystemMessage("Two."), HumanMessage("x")]
    (told, _) = chat_messages(parts, SERVICES["llamacpp"])
    one, two = {"type": "text", "text": "One."}, {"type": "text", "text": "Two."}
    assert told == {"role": "system", "content": [one, two], "name": "a"}
    assert len(asked) == 4


def test_a_service_is_named_in_a_spec_and_in_its_errors(server: OpenAIServer) -> None:
    made = registry.chat_model("openai:gpt-4o-mini?service=groq", base_url=server.base_url, api_key="wrong")
    with pytest.raises(Exception, match="groq at 127.0.0.1.*GROQ_API_KEY"):
        made.invoke("x")


def test_an_unknown_service_is_suggested() -> None:
    with pytest.raises(ValidationError, match="did you mean 'groq'"):
        OpenAIChat(model="m", service="grok_")


@pytest.mark.parametrize(
    ("make", "name", "told"),
    [
        (OpenAIModel, "groq", "groq is not known to have models that continue a text"),
        (OpenAIEmbeddings, "deepseek", "deepseek is not known to have embeddings"),
        (OpenAIEmbeddings, "xai", "xai is not known to have embeddings"),
    ],
)
def test_a_kind_of_model_that_a_service_has_not_is_refused_when_it_is_made(make: Any, name: str, told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        make(model="m", service=name, api_key="x")
    with pytest.raises(Unsupported, match=told):
        (registry.llm if make is OpenAIModel else registry.embeddings)(f"openai:m?service={name}", api_key="x")
    assert make(model="m", api_key="x", base_url="http://127.0.0.1:1/v1")


CALL: Any = {"type": "tool_call", "id": "c", "name": "f", "args": {}}
THOUGHTFUL = [
    HumanMessage("one"),
    AIMessage("", tool_calls=[CALL], additional_kwargs={"reasoning_content": "old"}),
    ToolMessage("x", tool_call_id="c"),
    AIMessage("done", additional_kwargs={"reasoning_content": "old answer"}),
    HumanMessage("two"),
    AIMessage("", tool_calls=[CALL], additional_kwargs={"reasoning_content": "new"}),
    ToolMessage("x", tool_call_id="c"),
]


@pytest.mark.parametrize(
    ("name", "field", "wanted"),
    [
        ("deepseek", "reasoning_content", [None, None, "new"]),
        ("openrouter", "reasoning", ["old", "old answer", "new"]),
        ("groq", "reasoning_content", [None, None, None]),
        ("openai", "reasoning_content", [None, None, None]),
    ],
)
def test_thoughts_go_back_only_where_the_service_wants_them(name: str, field: str, wanted: list[str | None]) -> None:
    made = OpenAIChat(model="m", service=name, api_key="x", base_url="http://127.0.0.1:1/v1")
    sent = made._body(THOUGHTFUL, None, {}, stream=False)["messages"]
    assert [message.get(field) for message in sent if message["role"] == "assistant"] == wanted


def recorded(answer: Any) -> Server:
    return Server(lambda request: HTTPAnswer(200, {"content-type": "application/json"}, (json.dumps(answer).encode(),)))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_vectors_of_hugging_face_come_from_its_pipelines(asynchronous: bool) -> None:
    server = recorded([[0.5, 0.25], [1, 2]])
    server.start()
    try:
        address = f"http://127.0.0.1:{server.port}/v1"
        model = chainkit.embeddings("huggingface_router:org/a model", base_url=address, api_key="key")
        texts = ["a", "b"]
        made = asyncio.run(model.aembed_documents(texts)) if asynchronous else model.embed_documents(texts)
        assert made == [[0.5, 0.25], [1.0, 2.0]]
        (request,) = server.requests
        assert request.path == "/hf-inference/models/org/a%20model/pipeline/feature-extraction"
        assert request.json == {"inputs": ["a", "b"]}
        assert request.headers["authorization"] == "Bearer key"
        with pytest.raises(MalformedReply, match="2 vectors for 1 texts"):
            model.embed_query("a")
    finally:
        server.stop()


@pytest.mark.parametrize("answer", [[[[0.5]]], [["a"]], [None], [{}], "a", {"error": "no"}])
def test_pipelines_that_answer_otherwise_are_named(answer: Any) -> None:
    server = recorded(answer)
    server.start()
    try:
        model = chainkit.embeddings("hf_router:m", base_url=f"http://127.0.0.1:{server.port}/v1", api_key="key")
        with pytest.raises(MalformedReply):
            model.embed_query("a")
    finally:
        server.stop()


def test_text_of_hugging_face_is_asked_at_the_address_of_a_provider() -> None:
    server = recorded({"choices": [{"index": 0, "text": " Paris", "finish_reason": "stop"}]})
    server.start()
    try:
        address = f"http://127.0.0.1:{server.port}/featherless-ai/v1"
        model = chainkit.llm("huggingface_router:org/m", base_url=address, api_key="key", max_tokens=3)
        assert model.invoke("The capital of France is") == " Paris"
        (request,) = server.requests
        assert request.path == "/featherless-ai/v1/completions"
        assert request.json == {"model": "org/m", "prompt": "The capital of France is", "max_tokens": 3}
    finally:
        server.stop()


AI21_CALL = {"id": "1", "type": "function", "function": {"name": "A", "arguments": '{"city": "Rome"}'}}


def test_ai21_is_asked_for_what_it_has_and_for_nothing_else() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [AI21_CALL]}
    server = recorded({"choices": [{"index": 0, "message": called, "finish_reason": "tool_calls"}]})
    server.start()
    try:
        options: dict[str, Any] = {"base_url": f"http://127.0.0.1:{server.port}/studio/v1", "api_key": "key"}
        texts = [{"content": "Rome is old."}]
        model = chainkit.chat_model(
            "ai21:jamba-large", max_tokens=9, stop=["x"], extra_body={"documents": texts}, **options
        )
        assert model.invoke("Hello").tool_calls[0]["args"] == {"city": "Rome"}
        schema = {"title": "A", "type": "object", "properties": {"city": {"type": "string"}}}
        assert model.with_structured_output(schema).invoke("Hello") == {"city": "Rome"}
        plain, form = server.requests
        assert plain.path == form.path == "/studio/v1/chat/completions"
        assert plain.headers["authorization"] == "Bearer key"
        messages = [{"role": "user", "content": "Hello"}]
        sent = {"model": "jamba-large", "messages": messages, "max_tokens": 9, "stop": ["x"], "documents": texts}
        assert plain.json == sent
        assert form.json["tools"][0]["function"]["name"] == "A"
        for refused in ({"logprobs": True}, {"seed": 3}, {"logit_bias": {"1": 2}}, {"presence_penalty": 0.5}):
            with pytest.raises(Unsupported, match="ai21"):
                chainkit.chat_model("ai21:jamba-large", **refused, **options).invoke("Hello")
        assert len(server.requests) == 2
    finally:
        server.stop()


def test_a_stream_of_ai21_is_not_asked_for_its_usage() -> None:
    assert "stream_options" not in body("ai21")

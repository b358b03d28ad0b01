"""Chat, completion and embeddings against the service on loopback."""

from __future__ import annotations

import asyncio
import copy
import gc
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from pydantic import ValidationError

from chainkit import registry
from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings, OpenAIModel, closing
from chainkit.base.errors import BadRequest, MalformedReply, SpecError, Unsupported
from chainkit.testing.server import faults, model
from chainkit.testing.server.openai import OpenAIServer


def chat(server: OpenAIServer, **options: Any) -> OpenAIChat:
    return OpenAIChat(**{"model": "gpt-4o-mini", "api_key": server.key, "base_url": server.base_url, **options})


def llm(server: OpenAIServer, **options: Any) -> OpenAIModel:
    return OpenAIModel(**{"model": "gpt-4o-mini", "api_key": server.key, "base_url": server.base_url, **options})


def vectors(server: OpenAIServer, **options: Any) -> OpenAIEmbeddings:
    options = {"model": "text-embedding-3-small", "base_url": server.base_url, **options}
    return OpenAIEmbeddings(api_key=server.key, **options)


class Heard(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


def test_a_spec_makes_a_chat_model_with_its_options(server: OpenAIServer) -> None:
    options = f"base_url={server.base_url}&temperature=0.5&stop=END&max_tokens=7&extra_body={{}}&logprobs=true"
    made = registry.chat_model(f"openai:gpt-4o-mini?{options}", api_key=server.key)
    made.invoke("Hello")
    sent = server.bodies[-1]
    del sent["messages"]
    wanted = {"model": "gpt-4o-mini", "temperature": 0.5, "stop": ["END"], "max_tokens": 7, "logprobs": True}
    assert sent == wanted


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("openai:", "name of a model"),
        ("openai:m?temprature=1", "did you mean 'temperature'"),
        ("openai:m?temperature=hot", "temperature"),
        ("openai:m?temperature=3", "temperature"),
        ("openai:m?timeout=0", "timeout"),
        ("openai:m?timeout=inf", "timeout"),
        ("openai:m?max_retries=-1", "max_retries"),
        ("openai:m?base_url=localhost", "http://"),
        ("openai:m?extra_body={", "JSON"),
        ("openai:m?logit_bias=[]", "logit_bias"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(spec: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        registry.chat_model(spec, api_key="sk-test")


def test_a_slip_in_an_option_is_refused_without_repeating_its_value() -> None:
    with pytest.raises(ValidationError) as caught:
        OpenAIChat(model="m", apikey="sk-secret-secret")  # type: ignore[call-arg]
    assert "did you mean 'api_key'" in str(caught.value)
    assert "secret-secret" not in str(caught.value)


def test_openai_itself_gets_the_new_name_of_the_token_limit() -> None:
    body = OpenAIChat(model="m", api_key="sk-test", max_tokens=5)._body([HumanMessage("x")], None, {}, stream=False)
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body


def test_a_setting_that_changes_counts_from_the_next_call(server: OpenAIServer) -> None:
    made = chat(server)
    made.invoke("Hello")
    made.temperature = 0.25
    made.invoke("Hello")
    assert [body.get("temperature") for body in server.bodies] == [None, 0.25]


def test_a_changed_setting_is_a_changed_key_of_the_cache(server: OpenAIServer) -> None:
    made = chat(server, cache=InMemoryCache())
    made.invoke("Hello")
    made.invoke("Hello")
    assert len(server.requests) == 1
    made.max_tokens = 2
    assert made.invoke("Hello").text == "Hello there,"


def test_stop_cuts_the_answer(server: OpenAIServer) -> None:
    assert chat(server).invoke("say:one two three", stop=["two"]).text == "one "
    assert chat(server, stop=["three"]).invoke("say:one two three").text == "one two "
    assert "".join(chunk.text for chunk in chat(server).stream("say:one two three", stop=["two"])).strip() == "one"


def test_n_gives_several_answers(server: OpenAIServer) -> None:
    result = chat(server, n=3).generate([[HumanMessage("Hello")]])
    assert len(result.generations[0]) == 3
    with pytest.raises(Unsupported, match="n answers"):
        list(chat(server, n=2).stream("Hello"))


def test_log_probabilities_are_the_same_in_a_stream(server: OpenAIServer) -> None:
    made = chat(server, logprobs=True, top_logprobs=2)
    whole = made.invoke("say:a b").response_metadata["logprobs"]["content"]
    *_, last = made.stream("say:a b")
    assert last.response_metadata["logprobs"]["content"] == whole
    assert [token["token"] for token in whole] == ["a", " b"]


def test_a_stream_says_of_itself_what_an_answer_says(server: OpenAIServer) -> None:
    whole = chat(server).invoke("Hello")
    first, *rest = chat(server).stream("Hello")
    summed = sum(rest, first)
    assert (summed.content, summed.usage_metadata) == (whole.content, whole.usage_metadata)
    for told in (whole, summed):
        assert told.response_metadata.pop("id")
    del whole.response_metadata["service_tier"]  # the service tells it in whole answers only
    assert summed.response_metadata == whole.response_metadata


def test_usage_is_not_asked_for_where_it_is_not_wanted(server: OpenAIServer) -> None:
    assert all(chunk.usage_metadata is None for chunk in chat(server, stream_usage=False).stream("Hello"))
    assert "stream_options" not in server.bodies[-1]


def test_thoughts_come_before_the_answer_in_a_stream(server: OpenAIServer) -> None:
    chunks = list(chat(server, model="reasoner-1").stream("say:yes"))
    assert chunks[0].additional_kwargs == {"reasoning_content": "Let"}
    summed = sum(chunks[1:], chunks[0])
    assert [block["type"] for block in summed.content_blocks] == ["reasoning", "text"]
    assert summed.content_blocks[0]["reasoning"] == "Let me think."  # type: ignore[typeddict-item]
    assert summed.usage_metadata is not None
    assert summed.usage_metadata["output_token_details"]["reasoning"] == 3  # type: ignore[typeddict-item]


def test_parallel_calls_come_whole_out_of_a_stream(server: OpenAIServer) -> None:
    def add_numbers(first: int, second: int) -> int:
        """Add."""
        return first + second

    def find_city(name: str) -> str:
        """Find."""
        return name

    bound = chat(server).bind_tools([add_numbers, find_city])
    question = "add numbers 3 and find city 'Zürich'"
    first, *rest = bound.stream(question)
    summed = sum(rest, first)
    whole = bound.invoke(question)
    wanted = [("add_numbers", {"first": 3, "second": 3}), ("find_city", {"name": "Zürich"})]
    assert isinstance(whole, AIMessage)
    for message in (summed, whole):
        assert [(call["name"], call["args"]) for call in message.tool_calls] == wanted
    assert (
        len(chat(server).bind_tools([add_numbers, find_city], parallel_tool_calls=False).invoke(question).tool_calls)
        == 1
    )


def test_an_unknown_tool_choice_names_the_tools() -> None:
    made = OpenAIChat(model="m", api_key="sk-test")
    with pytest.raises(ValueError, match="add"):
        made.bind_tools([{"name": "add", "description": "", "parameters": {}}], tool_choice="sub")


def test_each_token_is_heard_once(server: OpenAIServer) -> None:
    for made, text in ((chat(server), "say:a b"), (llm(server), "say:a b")):
        heard = Heard()
        list(made.stream(text, config={"callbacks": [heard]}))  # type: ignore[union-attr]
        assert [token for token in heard.tokens if token] == ["a", " b"]


async def test_each_token_is_heard_once_async(server: OpenAIServer) -> None:
    for made in (chat(server), llm(server)):
        heard = Heard()
        async for _ in made.astream("say:a b", config={"callbacks": [heard]}):  # type: ignore[union-attr]
            pass
        assert [token for token in heard.tokens if token] == ["a", " b"]


def test_a_model_works_in_a_chain(server: OpenAIServer) -> None:
    chain = ChatPromptTemplate.from_template("say:{text}") | chat(server)
    assert chain.invoke({"text": "hello"}).text == "hello"
    assert [message.text for message in chain.batch([{"text": str(i)} for i in range(20)])] == [
        str(i) for i in range(20)
    ]


def test_half_a_surrogate_pair_is_refused_by_name(server: OpenAIServer) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        chat(server).invoke("say:\ud83d")


# --- one model, many loops and threads ---------------------------------------------------------------------------


@pytest.mark.parametrize("loops", [3])
def test_a_model_works_in_one_event_loop_after_another_and_leaves_nothing_open(
    server: OpenAIServer, loops: int
) -> None:
    made, embed = chat(server), vectors(server)

    async def ask() -> str:
        await embed.aembed_query("x")
        return (await made.ainvoke("say:yes")).text + "".join([chunk.text async for chunk in made.astream("say:no")])

    assert [asyncio.run(ask()) for _ in range(loops)] == ["yesno"] * loops
    _until(lambda: server.connections == 0)
    assert not made._clients._for_loops


@pytest.mark.parametrize("by_collector", [True, False])
async def test_a_model_that_is_gone_closes_its_connections(server: OpenAIServer, by_collector: bool) -> None:
    made = chat(server)
    await made.ainvoke("Hello")
    if by_collector:
        made.metadata = {"itself": made}
    del made
    gc.collect()
    await _auntil(lambda: server.connections == 0 and not closing.OPEN)


def test_async_calls_share_their_connection(server: OpenAIServer) -> None:
    made = chat(server)

    async def ask() -> None:
        for _ in range(5):
            await made.ainvoke("Hello")
            assert [chunk async for chunk in made.astream("Hello")]

    asyncio.run(ask())
    assert server.accepted == 1


def test_sync_calls_share_their_connection(server: OpenAIServer) -> None:
    made = chat(server)
    for _ in range(5):
        made.invoke("Hello")
    assert server.accepted == 1
    del made
    _until(lambda: server.connections == 0)


@pytest.mark.parametrize("sync", [True, False])
def test_a_request_goes_out_in_one_write(server: OpenAIServer, sync: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    original = socket.socket.send

    def send(self: socket.socket, data: bytes, *rest: Any) -> int:
        sent.append(bytes(data))
        return original(self, data, *rest)

    monkeypatch.setattr(socket.socket, "send", send)
    made = chat(server)
    assert (made.invoke("say:x") if sync else asyncio.run(made.ainvoke("say:x"))).text == "x"
    posts = [data for data in sent if data.startswith(b"POST ")]
    assert len(posts) == 1
    assert posts[0].endswith(b"}")  # the body came with the head


def test_nothing_about_this_machine_is_sent(server: OpenAIServer) -> None:
    chat(server).invoke("Hello")
    assert not [name for name in server.requests[-1].headers if name.startswith("x-stainless")]


def test_threads_get_their_own_answers(server: OpenAIServer) -> None:
    made = chat(server)
    with ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(lambda i: made.invoke(f"say:{i}").text, range(64)))
    assert texts == [str(i) for i in range(64)]


def test_two_event_loops_in_two_threads_do_not_disturb_each_other(server: OpenAIServer) -> None:
    made = chat(server)
    answers: list[str] = []

    def run(name: str) -> None:
        async def ask() -> None:
            for i in range(10):
                answers.append((await made.ainvoke(f"say:{name}{i}")).text)

        asyncio.run(ask())

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == sorted(f"{name}{i}" for name in "ab" for i in range(10))


async def test_a_cancelled_call_closes_its_connection(server: OpenAIServer) -> None:
    server.fail(faults.slow(30))
    task = asyncio.ensure_future(chat(server).ainvoke("Hello"))
    await _auntil(lambda: len(server.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _auntil(lambda: server.connections == 0)


@pytest.mark.parametrize("unread", [True, False])
async def test_a_stream_that_nobody_reads_on_closes_its_connection(server: OpenAIServer, unread: bool) -> None:
    server.fail(faults.stall(after=4))
    stream = chat(server).astream("say:a b c d")
    async for chunk in stream:
        if unread or chunk.text == " c":  # whether bytes wait unread decides how TCP ends the connection
            break
    await stream.aclose()  # type: ignore[attr-defined]
    await _auntil(lambda: server.connections == 0)


@pytest.mark.parametrize("make", [chat, llm])
async def test_a_stream_that_is_closed_is_closed_down_to_its_connection(server: OpenAIServer, make: Any) -> None:
    server.fail(faults.stall(after=4))
    made = make(server)
    given = "say:a b c d" if make is llm else [HumanMessage("say:a b c d")]
    stream = made._astream(given)
    await anext(stream)
    line = next(iter(made._clients._for_loops[asyncio.get_running_loop()].values()))
    assert len(line.http._transport._pool.connections) == 1
    await stream.aclose()
    assert line.http._transport._pool.connections == []  # now, and not when the event loop gets to it


def test_a_sync_stream_that_nobody_reads_on_closes_its_connection(server: OpenAIServer) -> None:
    server.fail(faults.stall(after=4))
    stream = chat(server).stream("say:a b c d")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    _until(lambda: server.connections == 0)


async def test_a_slow_answer_does_not_block_the_event_loop(server: OpenAIServer) -> None:
    server.fail(faults.slow(0.3))
    task = asyncio.ensure_future(chat(server).ainvoke("say:x"))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 2


def test_copies_are_models_of_their_own(server: OpenAIServer) -> None:
    made = chat(server)
    made.invoke("Hello")
    for other in (copy.copy(made), copy.deepcopy(made), made.model_copy(update={"max_tokens": 1})):
        assert other.invoke("say:x").text == "x"
    other = made.model_copy(update={"base_url": "http://127.0.0.1:9/v1", "max_retries": 0})
    with pytest.raises(Exception, match="127.0.0.1:9"):
        other.invoke("x")
    assert made.invoke("say:x").text == "x"


# --- completions ----------------------------------------------------------------------------------------------------


def test_several_prompts_are_continued_in_one_request(server: OpenAIServer) -> None:
    assert llm(server).batch(["say:a", "say:b", "say:c"]) == ["a", "b", "c"]
    assert len(server.requests) == 1


def test_n_continuations_belong_to_their_prompts(server: OpenAIServer) -> None:
    result = llm(server, n=2).generate(["say:a", "say:b"])
    assert [[one.text for one in each] for each in result.generations] == [["a", "a"], ["b", "b"]]
    assert result.llm_output is not None
    assert result.llm_output["token_usage"]["completion_tokens"] == 4


def test_a_completion_tells_why_it_ended(server: OpenAIServer) -> None:
    result = llm(server, max_tokens=2).generate(["say:one two three"])
    assert (result.generations[0][0].text, result.generations[0][0].generation_info) == (
        "one two",
        {"finish_reason": "length"},
    )


async def test_completions_stream_and_batch_async(server: OpenAIServer) -> None:
    assert "".join([text async for text in llm(server).astream("say:a b c")]) == "a b c"
    assert await llm(server).abatch(["say:a", "say:b"]) == ["a", "b"]


def test_choices_that_do_not_fit_the_prompts_are_malformed(server: OpenAIServer) -> None:
    body = '{"choices": [{"text": "a", "index": 0}, {"text": "b", "index": 1}, {"text": "c", "index": 2}]}'
    server.fail(faults.plain(body, "application/json"))
    with pytest.raises(MalformedReply, match="3 choices for 2 prompts"):
        llm(server).batch(["a", "b"])


# --- embeddings -----------------------------------------------------------------------------------------------------

TEXTS = [f"text {i}" for i in range(10)]


@pytest.mark.parametrize("as_base64", [True, False])
def test_vectors_are_those_of_the_service_in_the_order_of_the_texts(server: OpenAIServer, as_base64: bool) -> None:
    server.sends_base64 = as_base64
    wanted = [model.vector(text, 16) for text in TEXTS]
    assert vectors(server).embed_documents(TEXTS) == wanted
    assert vectors(server, batch_size=3).embed_documents(TEXTS) == wanted
    assert asyncio.run(vectors(server, batch_size=3).aembed_documents(TEXTS)) == wanted
    assert vectors(server).embed_query(TEXTS[0]) == wanted[0]
    assert all(type(number) is float for number in wanted[0])


def test_texts_go_out_as_they_are_and_in_batches(server: OpenAIServer) -> None:
    texts = ["a\nb", "  ", "Zürich", "x" * 50]
    vectors(server, batch_bytes=20).embed_documents(texts)
    assert [body["input"] for body in server.bodies] == [["a\nb", "  ", "Zürich"], ["x" * 50]]
    assert server.bodies[0]["encoding_format"] == "base64"


def test_no_texts_need_no_request(server: OpenAIServer) -> None:
    assert vectors(server).embed_documents([]) == []
    assert asyncio.run(vectors(server).aembed_documents([])) == []
    assert server.requests == []


def test_vectors_can_be_shortened_by_the_service(server: OpenAIServer) -> None:
    assert len(vectors(server, dimensions=8).embed_query("x")) == 8


def test_a_text_that_the_service_refuses_is_a_bad_request(server: OpenAIServer) -> None:
    with pytest.raises(BadRequest):
        vectors(server).embed_query("")
    with pytest.raises(TypeError, match="int"):
        vectors(server).embed_documents([1, 2])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "data",
    [
        "[]",
        "null",
        '[{"index": 0}]',
        '[{"index": 0, "embedding": "not base64!"}]',
        '[{"index": 0, "embedding": "AAA="}]',
        '[{"index": 0, "embedding": ["x"]}]',
        '[{"index": 0, "embedding": [NaN]}]',
        '[{"index": 0, "embedding": [[1.0]]}]',
        '[{"index": 0, "embedding": []}]',
        '[{"index": 0, "embedding": null}]',
        '[{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]',
    ],
)
def test_vectors_that_cannot_be_read_are_malformed(server: OpenAIServer, data: str) -> None:
    server.fail(faults.plain(f'{{"data": {data}}}', "application/json"))
    with pytest.raises(MalformedReply, match="vector"):
        vectors(server).embed_query("x")


def test_a_failed_batch_ends_the_others(server: OpenAIServer) -> None:
    server.fail(faults.error(400, "no"))
    with pytest.raises(BadRequest):
        asyncio.run(vectors(server, batch_size=1).aembed_documents(TEXTS))


def test_base64_keeps_every_bit(server: OpenAIServer) -> None:
    got = np.array(vectors(server).embed_query("bits"), dtype=np.float32)
    assert np.array_equal(got, np.array(model.vector("bits", 16), dtype=np.float32))


def _until(true: Any) -> None:
    asyncio.run(_auntil(true))


async def _auntil(true: Any) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - the server runs in a thread of its own
            await asyncio.sleep(0.01)

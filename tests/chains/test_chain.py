"""Any Runnables make a chain, by position or by name."""

from __future__ import annotations

import pickle
from operator import itemgetter
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough
from langchain_core.runnables import RunnableSequence as CoreSequence

import chainkit
from chainkit.backends.fake import FakeChat
from chainkit.base.errors import SpecError
from chainkit.prompts.sequence import RunnableSequence
from chainkit.prompts.template import ChatPromptTemplate as OwnTemplate
from tests.prompts.cases import Native

PROMPT = [("human", "{x}")]


def own() -> Any:
    return chainkit.prompt(PROMPT) | FakeChat(reply="a b") | StrOutputParser()


def core() -> Any:
    return ChatPromptTemplate(PROMPT) | FakeChat(reply="a b") | StrOutputParser()


def test_a_chain_is_made_of_anything_that_can_be_run() -> None:
    chain = chainkit.chain({"x": itemgetter("y")}, chainkit.prompt("{x}"), FakeChat(), StrOutputParser(), name="mine")
    assert isinstance(chain, RunnableSequence)
    assert chain.get_name() == "mine"
    assert chain.invoke({"y": 1}) == "1"


def test_one_step_is_enough() -> None:
    assert chainkit.chain(len).invoke("abc") == 3
    assert chainkit.chain(own()).steps == own().steps


def test_named_steps_see_the_answers_before_them() -> None:
    chain = chainkit.chain(first=lambda x: x["n"] + 1, second=lambda x: x["first"] * 10)
    assert chain.invoke({"n": 1}) == {"n": 1, "first": 2, "second": 20}


@pytest.mark.parametrize(("steps", "named"), [((), {}), ((len,), {"a": len}), ((), {"name": len})])
def test_neither_nor_and_both_are_refused(steps: Any, named: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        chainkit.chain(*steps, **named)


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected a Runnable"):
        chainkit.chain(1, len)  # pyright: ignore
    with pytest.raises(SpecError, match="'gpt' names no provider"):
        chainkit.chain("gpt", len)


def test_a_string_is_the_model_that_it_names() -> None:
    assert chainkit.chain("fake:?reply=Hello", lambda message: message.content.upper()).invoke("x") == "HELLO"


@pytest.mark.parametrize(
    "made",
    [
        lambda: own() | len,
        lambda: len | own(),
        lambda: {"x": RunnablePassthrough()} | own(),
        lambda: RunnableLambda(str) | own() | own(),
        lambda: CoreSequence(RunnableLambda(str), RunnableLambda(str)) | own(),
        lambda: own().pipe(str, len),
        lambda: own() | {"a": len},
        lambda: chainkit.prompt("{x}").pipe(FakeChat()),
        lambda: {"x": len} | chainkit.prompt("{x}"),
        lambda: (chainkit.prompt(PROMPT) + "more {y}") | FakeChat(),
        lambda: (chainkit.prompt("{x}") + "more {y}") | FakeChat(),
        lambda: chainkit.prompt(PROMPT).partial(x="1") | FakeChat(),
        lambda: chainkit.prompt(PROMPT)[:1] | FakeChat(),
        lambda: (own() | {"a": str}).assign(b=len).pick("b"),
    ],
)
def test_joining_keeps_the_chain_fast(made: Any) -> None:
    chain = made()
    if type(chain).__module__ != RunnableSequence.__module__:
        # a Runnable of langchain-core on the left makes a sequence of langchain-core, which holds ours
        assert isinstance(chain, CoreSequence)
        assert type(chain.steps[0]) is RunnableLambda
        return
    assert isinstance(chain, RunnableSequence)


def test_to_others_it_is_langchain_cores_sequence() -> None:
    ours, theirs = own(), core()
    assert isinstance(ours, CoreSequence)
    assert repr(ours) == repr(theirs)
    assert ours.get_name() == theirs.get_name()
    assert ours.get_graph().draw_mermaid() == theirs.get_graph().draw_mermaid()
    assert ours.get_input_jsonschema() == theirs.get_input_jsonschema()
    assert ours.get_output_jsonschema() == theirs.get_output_jsonschema()
    assert ours.get_prompts() == [ours.first]
    assert [spec.id for spec in ours.config_specs] == [spec.id for spec in theirs.config_specs]


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_it_is_serialised_as_langchain_cores_sequence() -> None:
    ours = chainkit.prompt(PROMPT) | StrOutputParser()
    theirs = ChatPromptTemplate(PROMPT) | StrOutputParser()
    assert dumpd(ours) == dumpd(theirs)
    assert dumps(ours) == dumps(theirs)
    assert load(dumpd(ours), allowed_objects="all") == theirs


def test_it_can_be_pickled() -> None:
    chain = pickle.loads(pickle.dumps(own()))
    assert isinstance(chain, RunnableSequence)
    assert isinstance(chain.first, OwnTemplate)
    assert chain.invoke({"x": 1}) == "a b"


def test_it_can_be_configured() -> None:
    model = FakeChat(reply="a").configurable_fields(reply=ConfigurableField(id="reply"))
    chain = chainkit.prompt(PROMPT) | model | StrOutputParser()
    assert chain.invoke({"x": 1}) == "a"
    assert chain.invoke({"x": 1}, {"configurable": {"reply": "b"}}) == "b"
    assert chain.with_config(configurable={"reply": "c"}).invoke({"x": 1}) == "c"


def test_the_chain_itself_can_be_bound_retried_and_mapped() -> None:
    chain = own()
    assert chain.with_retry().invoke({"x": 1}) == "a b"
    assert chain.with_fallbacks([chain]).invoke({"x": 1}) == "a b"
    assert chain.map().invoke([{"x": 1}] * 2) == ["a b"] * 2
    assert chain.with_config(run_name="me", tags=["t"]).invoke({"x": 1}) == "a b"


def test_arguments_go_to_the_first_step() -> None:
    chain = chainkit.chain(Native(), StrOutputParser())
    theirs = CoreSequence(Native(), StrOutputParser())
    assert chain.invoke("x", stop=["s"]) == theirs.invoke("x", stop=["s"])
    assert list(chain.stream("x", stop=["s"])) == list(theirs.stream("x", stop=["s"]))


def test_a_chain_with_structured_output_is_a_chain() -> None:
    chain = chainkit.prompt(PROMPT) | FakeChat(reply="a").bind(stop=["x"]) | StrOutputParser()
    assert chain.invoke({"x": 1}) == "a"

"""The short way makes langchain-core's own templates."""

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

import chainkit


def test_a_text_becomes_a_prompt_template() -> None:
    template = chainkit.prompt("Tell me about {topic}")
    assert isinstance(template, PromptTemplate)
    assert template.input_variables == ["topic"]


def test_pairs_become_messages() -> None:
    template = chainkit.prompt([("system", "Be brief."), ("human", "{question}")])
    assert isinstance(template, ChatPromptTemplate)
    assert template.format_messages(question="Why?") == [SystemMessage("Be brief."), HumanMessage("Why?")]


def test_fixed_variables_need_not_be_given_again() -> None:
    assert chainkit.prompt("{a} {b}", a="x").format(b="y") == "x y"
    assert chainkit.prompt([("human", "{a} {b}")], a="x").format_messages(b="y")[0].content == "x y"


@pytest.mark.parametrize("template", ["{open", "{x.__class__}", "{x[0]}", "{}"])
def test_a_placeholder_that_is_not_a_name_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        chainkit.prompt(template).format(x="")


@pytest.mark.parametrize("template", [5, None, b"text", {"human": "hi"}, ("human", "hi")])
def test_what_is_neither_a_text_nor_messages_is_told_what_they_look_like(template: object) -> None:
    with pytest.raises(ValueError, match=r"a prompt is a text, or a list of messages such as \[\('human', 'text'\)\]"):
        chainkit.prompt(template)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"a message is \(role, text\)"):
        chainkit.prompt([5])  # type: ignore[list-item]


@pytest.mark.parametrize("make", [chainkit.llm, chainkit.chat_model], ids=["llm", "chat"])
def test_prompt_model_and_parser_compose(make: object) -> None:
    model = make("fake:?reply=Bees dance.")  # type: ignore[operator]
    chain = chainkit.prompt("Tell me about {topic}") | model | StrOutputParser()
    assert chain.invoke({"topic": "bees"}) == "Bees dance."
    assert "".join(chain.stream({"topic": "bees"})) == "Bees dance."
    assert chain.batch([{"topic": "a"}, {"topic": "b"}]) == ["Bees dance."] * 2

"""An explanation shows what a run sends, and asks no model."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableBranch, RunnablePassthrough

import chainkit
from chainkit.prompts.explain import Explanation
from chainkit.testing import Scripted, ScriptedChat

MESSAGES = [("system", "Speak {language}."), ("human", "{question}")]
INPUTS = {"language": "French", "question": "Why?"}


def sent(model: ScriptedChat) -> list[tuple[tuple[str, Any], ...]]:
    return [tuple((m.type, m.content) for m in conversation) for conversation in model.conversations]


def kinds(explanation: Explanation) -> list[tuple[str, str]]:
    return [(step.path, step.kind) for step in explanation.steps]


def test_the_prompt_is_the_one_that_is_sent() -> None:
    model = ScriptedChat("Parce que.")
    chain = chainkit.prompt(MESSAGES) | model.bind(stop=["."]) | StrOutputParser()
    explanation = chain.explain(INPUTS)
    assert model.conversations == []
    chain.invoke(INPUTS)
    assert list(explanation.prompts) == sent(model)
    assert explanation.steps[1].settings == {"stop": ["."]}
    assert kinds(explanation) == [("1", "prompt"), ("2", "model"), ("3", "parser")]


def test_a_text_model_is_sent_the_text_it_would_get() -> None:
    model = Scripted("yes")
    chain = chainkit.prompt(MESSAGES) | model
    explanation = chain.explain(INPUTS)
    assert model.prompts == []
    chain.invoke(INPUTS)
    assert explanation.prompts == ((("text", model.prompts[0]),),)


def test_it_reads_well() -> None:
    chain = chainkit.prompt(MESSAGES) | ScriptedChat("x").bind(stop=["."])
    assert str(chain.explain(INPUTS)).splitlines() == [
        "1. prompt ChatPromptTemplate",
        "   [system]",
        "   Speak French.",
        "   [human]",
        "   Why?",
        "2. model ScriptedChat",
        "   settings: stop=['.']",
        "   [system]",
        "   Speak French.",
        "   [human]",
        "   Why?",
    ]


def test_a_prompt_after_an_answer_says_what_it_waits_for() -> None:
    first = chainkit.prompt("Draft {topic}") | ScriptedChat("x") | StrOutputParser()
    chain = (
        {"draft": first, "topic": itemgetter("topic")} | chainkit.prompt("Improve {draft} on {topic}") | Scripted("y")
    )
    explanation = chain.explain({"topic": "bees"})
    assert explanation.prompts == (
        (("human", "Draft bees"),),
        (("text", "Improve <result of step 1.draft.3> on bees"),),
    )
    assert "when the model has answered" in explanation.steps[-2].note


def test_functions_before_the_model_are_run() -> None:
    context = {"language": lambda _: "Latin", "question": RunnablePassthrough()}
    chain = context | chainkit.prompt(MESSAGES) | ScriptedChat("x")
    assert chain.explain("Why?").prompts == ((("system", "Speak Latin."), ("human", "Why?")),)


def test_a_model_inside_a_function_is_not_asked() -> None:
    model = ScriptedChat("x")

    def summary(value: str) -> str:
        return str(model.invoke(value).content)

    chain = chainkit.chain({"x": summary}, chainkit.prompt("Say {x}"), ScriptedChat("y"))
    explanation = chain.explain("long")
    assert model.conversations == []
    assert "calls another model" in explanation.steps[0].note
    assert explanation.prompts == ((("human", "Say <result of step 1.x>"),),)


def test_a_function_after_the_model_is_not_run() -> None:
    def never(_: Any) -> None:
        raise AssertionError

    explanation = (chainkit.prompt("{x}") | ScriptedChat("x") | never).explain({"x": 1})
    assert explanation.steps[-1].note == "waits for a model's answer"


def test_a_branch_on_the_input_is_followed() -> None:
    branch = RunnableBranch((lambda x: "y" in x, chainkit.prompt("yes {x}")), chainkit.prompt("no {x}"))
    chain = chainkit.chain(branch, ScriptedChat("x"))
    assert chain.explain({"x": 1}).prompts == ((("human", "no 1"),),)


def test_a_branch_on_an_answer_says_so() -> None:
    branch = RunnableBranch((lambda text: "yes" in text, chainkit.prompt("{a}")), chainkit.prompt("{b}"))
    explanation = (chainkit.prompt("{x}") | ScriptedChat("x") | StrOutputParser() | branch).explain({"x": 1})
    assert explanation.steps[-1].kind == "branch"
    assert "depends on an answer" in explanation.steps[-1].note


def test_fallbacks_and_retries_are_named_and_looked_through() -> None:
    first, second = ScriptedChat("x"), Scripted("y")
    explanation = (chainkit.prompt("{x}") | first.with_retry().with_fallbacks([second])).explain({"x": 1})
    assert "if ScriptedChat fails, the same goes to Scripted" in explanation.steps[1].note
    assert explanation.prompts == ((("human", "1"),),)


def test_named_steps_are_explained() -> None:
    chain = chainkit.chain(
        draft=chainkit.prompt("Draft {topic}") | ScriptedChat("x") | StrOutputParser(),
        final=chainkit.prompt("Improve {draft} on {topic}") | ScriptedChat("y"),
    )
    assert chain.explain({"topic": "bees"}).prompts[1] == (("human", "Improve <result of step 1.draft.3> on bees"),)


def test_a_missing_variable_is_an_error() -> None:
    with pytest.raises(KeyError, match="missing variables"):
        (chainkit.prompt(MESSAGES) | ScriptedChat("x")).explain({"language": "French"})


def test_a_prompt_alone_is_explained_like_any_other() -> None:
    chain = chainkit.prompt(MESSAGES) | (lambda prompt: prompt)
    value = chain.invoke(INPUTS)
    assert isinstance(value, PromptValue)
    assert all(isinstance(message, BaseMessage) for message in value.to_messages())
    assert kinds(chain.explain(INPUTS)) == [("1", "prompt"), ("2", "function")]

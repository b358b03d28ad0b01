"""Lists that a small model fills: how they begin and how they end."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import AfterValidator, BaseModel

import chainkit
from chainkit.base.errors import ConstraintNotMet
from chainkit.decoding.constraints import answer_form
from chainkit.decoding.guide import Guide
from chainkit.local.conversation import with_hint

TEXTS = {"title": "Items", "type": "array", "items": {"type": "string"}}


@pytest.fixture(scope="module")
def chat():
    return chainkit.chat_model("smollm2", temperature=0, max_tokens=120)


def _guide(chat, schema):
    vocabulary = chat.runtime.vocabulary
    return Guide(vocabulary.guide_tokens(), answer_form(schema), vocabulary=vocabulary), vocabulary


def test_a_list_of_texts_is_filled_where_the_vocabulary_spells_its_beginning_as_one_token(chat):
    found = chat.with_structured_output(TEXTS).invoke("Name three European capitals.")
    assert len(set(found)) >= 2
    assert all(found)


def test_the_bracket_alone_is_weighed_against_the_bracket_with_a_quotation_mark(chat):
    guide, vocabulary = _guide(chat, TEXTS)
    (bracket,) = vocabulary.tokenize("[")
    ending, *texts = guide.openings(bracket)
    assert vocabulary.detokenize(ending) == "[]"
    assert [vocabulary.detokenize(one) for one in texts] == ['["']


@pytest.mark.parametrize("items", [{"type": "integer"}, {"type": ["string", "integer"]}])
def test_lists_that_hold_other_than_texts_begin_as_the_model_likes(chat, items):
    guide, vocabulary = _guide(chat, {"type": "array", "items": items})
    (bracket,) = vocabulary.tokenize("[")
    assert guide.openings(bracket) == []


def test_a_list_that_repeats_itself_may_only_end_and_others_go_on(chat):
    schema = {"type": "object", "properties": {"a": TEXTS, "b": TEXTS}, "required": ["a", "b"]}
    guide, vocabulary = _guide(chat, schema)
    (more,) = vocabulary.tokenize('",')
    text = '{"a": [' + '"Sunday", ' * 30 + '"Sunday'
    guide.accept(vocabulary.tokenize(text))
    assert not guide.permits(more)
    guide.accept(vocabulary.tokenize('"], "b": ["Monday'))
    assert guide.permits(more)


@pytest.mark.parametrize("unit", ["Songbird-", "🍵", "Y/"])
def test_a_text_of_a_list_that_goes_round_in_circles_is_closed_with_its_list(chat, unit):
    schema = {"type": "object", "properties": {"a": TEXTS, "b": TEXTS}, "required": ["a", "b"]}
    guide, vocabulary = _guide(chat, schema)
    more, ending = vocabulary.tokenize(unit), vocabulary.tokenize('"')
    guide.accept(vocabulary.tokenize('{"a": ["Birds", "' + unit))
    for _ in range(80):
        if not guide.permits(more[0]):
            break
        guide.accept(more)
    else:
        pytest.fail("it goes on")
    assert guide.permits(*ending)
    guide.accept(ending)
    assert not guide.permits(*vocabulary.tokenize(","))
    guide.accept(vocabulary.tokenize('], "b": ["Bees'))
    assert guide.permits(*vocabulary.tokenize('",'))


def test_a_text_outside_a_list_and_one_that_only_looks_alike_go_on(chat):
    guide, vocabulary = _guide(chat, {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    guide.accept(vocabulary.tokenize('{"a": "' + "ha" * 60))
    assert guide.permits(*vocabulary.tokenize("h"))
    guide, vocabulary = _guide(chat, TEXTS)
    guide.accept(vocabulary.tokenize('["' + "0" * 64 + '", "' + "ha" * 39))
    assert guide.permits(*vocabulary.tokenize("h"))


def test_a_list_may_repeat_itself_a_few_times(chat):
    guide, vocabulary = _guide(chat, TEXTS)
    (more,) = vocabulary.tokenize('",')
    guide.accept(vocabulary.tokenize('["Sunday", "Sunday", "Sunday'))
    assert guide.permits(more)


def test_the_question_asks_for_json_unless_it_speaks_of_json_itself():
    hint = answer_form(TEXTS).hint
    (asked,) = with_hint([HumanMessage("Name two rivers.")], hint)
    assert asked.content == f"Name two rivers.\n\n{hint}"
    own = [HumanMessage("Two rivers as json, please.")]
    assert with_hint(own, hint) == own
    answered = [HumanMessage("Hi"), AIMessage("Yes?")]
    assert with_hint(answered, hint) == answered
    assert json.dumps(hint).isascii()


def test_a_structured_answer_that_nothing_satisfies_ends_in_a_named_error():
    def refused(value: str) -> str:
        raise ValueError(f"{value} is never right")

    class Never(BaseModel):
        value: Annotated[Literal["ab", "ac"], AfterValidator(refused)]

    small = chainkit.chat_model("gguf:examples/demo_model/demo-q8_0.gguf", temperature=0, max_tokens=60)
    with pytest.raises(ConstraintNotMet, match="never right"):
        small.with_structured_output(Never).invoke("Choose.")

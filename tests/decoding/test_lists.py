"""Lists that a small model fills: how they begin and how they end."""

from __future__ import annotations

import itertools
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


def _guide(chat, schema, question=""):
    vocabulary = chat.runtime.vocabulary
    made = Guide(vocabulary.guide_tokens(), answer_form(schema), vocabulary=vocabulary, question=question)
    return made, vocabulary


def _written(guide, vocabulary, text):
    """The tokens of a text, as far as the guide does not want to take the last ones back."""
    found = []
    for token in vocabulary.tokenize(text):
        guide.accept([token])
        found.append(token)
        if guide.stuck:
            break
    return found


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


def test_a_text_that_stands_in_its_list_is_replaced_twice_and_then_the_list_ends(chat):
    guide, vocabulary = _guide(chat, TEXTS)
    tokens = vocabulary.tokenize('["Sunday", "')
    guide.accept(tokens)
    for other in ("Monday", "Tuesday"):
        again = _written(guide, vocabulary, "Sunday" + '",')
        assert guide.stuck
        assert not guide.fulfilled
        assert guide.retreat() == len(again)
        assert not guide.permits(again[0])
        assert not guide.stuck
        tokens += _written(guide, vocabulary, f'{other}", "')
        assert not guide.stuck
    again = _written(guide, vocabulary, 'Sunday"]')
    gone = guide.retreat()
    left = vocabulary.detokenize([*tokens, *again][:-gone])
    assert left == '["Sunday", "Monday", "Tuesday'
    assert not guide.permits(*vocabulary.tokenize('",'))
    guide.accept(vocabulary.tokenize('"]'))
    assert guide.complete


@pytest.mark.parametrize(
    ("schema", "question"),
    [
        (TEXTS, "Sunday or Monday?"),
        ({**TEXTS, "uniqueItems": False}, ""),
        ({**TEXTS, "items": {"enum": ["Sunday", "Monday"]}}, ""),
    ],
    ids=["asked about", "allowed by the schema", "chosen from a few"],
)
def test_a_list_may_repeat_what_the_question_or_the_schema_names(chat, schema, question):
    guide, vocabulary = _guide(chat, schema, question)
    _written(guide, vocabulary, '["Sunday", "Sunday", "Sunday"')
    assert not guide.stuck
    assert guide.permits(*vocabulary.tokenize("]"))


def test_numbers_and_truth_values_may_repeat(chat):
    for items, text in (("integer", "[1, 1, 1"), ("boolean", "[true, true, true")):
        guide, vocabulary = _guide(chat, {"type": "array", "items": {"type": items}})
        _written(guide, vocabulary, text)
        assert not guide.stuck
        assert guide.permits(*vocabulary.tokenize(","))


def test_a_list_that_must_be_longer_repeats_a_text_in_the_end(chat):
    guide, vocabulary = _guide(chat, {**TEXTS, "minItems": 3})
    guide.accept(vocabulary.tokenize('["Sunday'))
    for _ in range(3):
        _written(guide, vocabulary, '", "Sunday"' if guide.permits(*vocabulary.tokenize('",')) else 'Sunday"')
        assert guide.stuck
        guide.retreat()
    _written(guide, vocabulary, '", "Sunday", "Sunday"]')
    assert guide.complete


@pytest.mark.parametrize(
    ("text", "is_number"), [("1. Stay", True), ("2) Sleep", True), ("1.5 l", False), ("10 eggs", False)]
)
def test_the_number_of_an_item_does_not_begin_its_text(chat, text, is_number):
    guide, vocabulary = _guide(chat, TEXTS)
    _written(guide, vocabulary, f'["{text}')
    assert guide.stuck is is_number
    if is_number:
        assert guide.retreat() > 0
        assert not guide.permits(*vocabulary.tokenize(text[0]))


def test_a_list_that_only_counts_ends(chat):
    for question, may_go_on in (("", False), ("Which rooms: Room 1, Room 13?", True)):
        guide, vocabulary = _guide(chat, TEXTS, question)
        _written(guide, vocabulary, '["Hall", ' + ", ".join(f'"Room {number}"' for number in range(1, 13)))
        assert not guide.stuck
        _written(guide, vocabulary, ', "Room 13"')
        assert guide.stuck is not may_go_on
    guide, vocabulary = _guide(chat, TEXTS)
    _written(guide, vocabulary, json.dumps([str(number) for number in range(40)])[:-1])
    assert not guide.stuck


def test_streams_hold_back_what_may_be_replaced_and_end_as_a_whole_answer_does(chat):
    asked = chat.with_structured_output(TEXTS)
    shown = list(asked.stream("List five vegetables."))
    assert shown[-1] == asked.invoke("List five vegetables.")
    assert len(shown) > 2
    for before, after in itertools.pairwise(shown):
        assert after[: len(before) - 1] == before[:-1]
    assert len(set(shown[-1])) == len(shown[-1]) >= 2


def test_the_question_asks_for_json_unless_it_speaks_of_json_itself():
    hint = answer_form(TEXTS).hint
    assert "list" in answer_form({"type": "object", "properties": {"items": TEXTS}}).hint
    assert "list" not in answer_form({"type": "object", "properties": {"name": {"type": "string"}}}).hint
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

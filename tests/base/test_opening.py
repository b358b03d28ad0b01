"""Strings become models where a model is taken; values that are not strings are returned unchanged."""

from __future__ import annotations

import pytest

import chainkit
from chainkit.backends.fake import FakeChat, FakeEmbeddings, FakeLLM
from chainkit.base import opening
from chainkit.base.errors import UnknownProvider


def test_a_spec_becomes_what_was_asked_for() -> None:
    assert isinstance(opening.answering("fake:"), FakeChat)
    assert isinstance(opening.continuing("fake:"), FakeLLM)
    assert isinstance(opening.chat_model("fake:"), FakeChat)
    assert isinstance(opening.embeddings("fake:"), FakeEmbeddings)


@pytest.mark.parametrize("given", [None, FakeChat(), 5])
def test_what_is_no_string_comes_back_as_it_is(given: object) -> None:
    assert opening.answering(given) is given
    assert opening.embeddings(given) is given


def test_a_wrong_spec_gets_the_error_that_the_registry_gives() -> None:
    with pytest.raises(UnknownProvider) as wanted:
        chainkit.chat_model("opnai:x")
    with pytest.raises(UnknownProvider) as found:
        opening.chat_model("opnai:x")
    assert str(found.value) == str(wanted.value)
    assert "openai" in str(found.value)

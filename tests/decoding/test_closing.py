"""JSON that a limit would cut is whole."""

from __future__ import annotations

import json

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.backends.llama_cpp.models import GGUFChat
from chainkit.decoding.closing import Closing
from chainkit.decoding.constraints import any_json_object
from tests.backends.llama_cpp import tiny
from tests.decoding.test_constraints import ByteTokenizer

WIDE = '{"a": [1, -2.5e3, true, {"b \\u0007\\"": "漢🙂\\n\\\\", "": null}, [], {}], "c": {"d": [[false]]}}'
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=5)  # llguidance takes no DEL
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def tokenizer():
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(ByteTokenizer()))


def ended(tokenizer, data: bytes) -> bytes:
    """A text with the end that is found for it, however little room there is."""
    matcher = llguidance.LLMatcher(tokenizer, any_json_object().grammar, log_level=0)
    assert matcher.consume_tokens(tokenizer.tokenize_bytes(data))
    closing = Closing(matcher, tokenizer)
    for byte in data:
        closing.watch(bytes([byte]))
    found = next(filter(None, map(closing.tokens, range(60))), [])
    return data + tokenizer.decode_bytes(found)


@pytest.mark.parametrize("length", range(len(WIDE.encode())))
def test_a_text_is_made_whole_after_each_of_its_bytes(tokenizer, length: int) -> None:
    data = WIDE.encode()[:length]
    whole = ended(tokenizer, data)
    assert isinstance(json.loads(whole), dict)
    assert whole.startswith(data)
    assert len(whole) <= length + 16


@given(value=st.dictionaries(TEXT, JSON, min_size=1, max_size=3), place=st.floats(0, 1))
def test_any_text_is_made_whole_after_any_of_its_bytes(tokenizer, value, place: float) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()
    assert isinstance(json.loads(ended(tokenizer, data[: int(place * (len(data) - 1))])), dict)


def test_what_is_whole_needs_no_end_and_what_has_room_goes_on(tokenizer) -> None:
    matcher = llguidance.LLMatcher(tokenizer, any_json_object().grammar, log_level=0)
    closing = Closing(matcher, tokenizer)
    assert closing.tokens(100) == []
    matcher.consume_tokens(tokenizer.tokenize_bytes(b'{"a": 1'))
    closing.watch(b'{"a": 1')
    assert closing.tokens(100) == []
    assert tokenizer.decode_bytes(closing.tokens(2)) == b"}"


@pytest.mark.parametrize("temperature", [0, 1])
def test_objects_of_any_model_are_whole_at_any_limit(tmp_path, temperature: float) -> None:
    chat = GGUFChat(model=str(tiny.write_model(tmp_path / "model.gguf")), n_threads=1, temperature=temperature, top_k=0)
    cut = set()
    for limit in range(2, 60):
        answer = chat.invoke("x", constraint=any_json_object(), max_tokens=limit, seed=limit)
        assert isinstance(json.loads(answer.content), dict), (limit, answer.content)
        assert answer.usage_metadata["output_tokens"] <= limit
        cut.add(answer.response_metadata["finish_reason"])
        streamed = chat.stream("x", constraint=any_json_object(), max_tokens=limit, seed=limit)
        assert "".join(chunk.content for chunk in streamed) == answer.content
    assert "length" in cut

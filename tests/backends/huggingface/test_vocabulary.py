"""Tokens have the bytes that the tokenizer's own decoder gives them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainkit.backends.huggingface.vocabulary import TransformersVocabulary
from tests.backends.huggingface import tiny

TEXTS = ["the cat", " the  cat ", "", "\n", "12 and\t30\n\n", "漢字 🙂 é\u0301", "▁x", "<0x41>", "a" * 300]
TOKENIZERS = {"bpe": tiny.bpe, "spm": tiny.spm, "unigram": tiny.unigram}


def vocabulary(kind: str) -> TransformersVocabulary:
    tokenizer = TOKENIZERS[kind]()
    return TransformersVocabulary(tokenizer, len(tokenizer))


@pytest.mark.parametrize("kind", ["bpe", "spm"])
@pytest.mark.parametrize("text", [text for text in TEXTS if "▁" not in text])
def test_the_bytes_of_the_tokens_are_the_text(kind: str, text: str) -> None:
    vocab = vocabulary(kind)
    assert b"".join(map(vocab.piece, vocab.tokenize(text))) == text.encode()
    assert vocab.detokenize(vocab.tokenize(text, whole=True)) == text


@pytest.mark.parametrize("kind", ["bpe", "spm", "unigram"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_whole_text_has_the_tokens_of_the_library(kind: str, text: str) -> None:
    tokenizer: Any = TOKENIZERS[kind]()
    vocab = vocabulary(kind)
    assert vocab.tokenize(text, whole=True) == tokenizer(text, split_special_tokens=True)["input_ids"]
    assert vocab.tokenize(text, whole=True, special=True) == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("kind", ["bpe", "spm"])
@given(texts=st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="▁")), max_size=4))
@settings(max_examples=60, deadline=None)
def test_texts_one_after_the_other_are_their_concatenation(kind: str, texts: list[str]) -> None:
    vocab = vocabulary(kind)
    joined = b"".join(vocab.piece(token) for text in texts for token in vocab.tokenize(text))
    assert joined == "".join(texts).encode()


def test_names_of_special_tokens_are_text_unless_asked_for() -> None:
    vocab = vocabulary("bpe")
    assert len(vocab.tokenize("<|im_end|>")) > 1
    (token,) = vocab.tokenize("<|im_end|>", special=True)
    assert vocab.is_control(token)
    assert vocab.is_end(token)
    assert vocab.piece(token) == b""
    assert vocab.name(token) == b"<|im_end|>"


def test_all_tokens_have_bytes_and_none_is_out_of_range() -> None:
    for kind, make in TOKENIZERS.items():
        tokenizer = make()
        vocab = TransformersVocabulary(tokenizer, len(tokenizer) + 3)
        for token in range(len(tokenizer)):
            assert vocab.piece(token) or vocab.is_control(token), (kind, token)
        assert vocab.piece(len(tokenizer) + 1) == b""  # padding of the logits


def test_ends_are_what_the_settings_say() -> None:
    vocab = TransformersVocabulary(tiny.bpe(), 400, ends=[7])
    assert vocab.is_end(7)
    assert not vocab.is_end(8)


def test_half_a_surrogate_pair_is_named() -> None:
    with pytest.raises(ValueError, match="character 1 of the text is half a surrogate pair"):
        vocabulary("bpe").tokenize("a\ud800")


def test_threads_get_the_tokens_of_their_own_settings() -> None:
    vocab, wrong = vocabulary("bpe"), []
    expected = {special: vocab.tokenize("<|im_end|> the cat", special=special) for special in (True, False)}

    def run(special: bool) -> None:
        wrong.extend(
            1 for _ in range(300) if vocab.tokenize("<|im_end|> the cat", special=special) != expected[special]
        )

    threads = [threading.Thread(target=run, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

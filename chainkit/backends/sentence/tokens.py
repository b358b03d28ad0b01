"""Texts into tokens: cut where the model ends, put into batches of like length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chainkit.base.errors import BadTexts, MissingLibrary, ModelFileError
from chainkit.local.tokenizer_bounds import check_growth, named_tokenizer_faults

try:
    import tokenizers
except ImportError as missing:
    raise MissingLibrary("tokenizers", extra="embed") from missing

Array = np.ndarray[Any, Any]

BATCH_TOKENS = 512  # padding included; larger batches are no faster, take more memory, and of long texts are slower
_ONE_LANGUAGE = 60_000  # BERT's vocabulary of English has 30,522 pieces, that of 104 languages 119,547
_SAMPLE_CHARACTERS = 200
_SPELLED, _FLUENT = 1.5, 3.5  # letters a piece
_HAN = re.compile("[\u3400-\u9fff]")


class TextTruncated(UserWarning):
    """Texts were longer than the model reads; only their beginnings count.

    Attributes:
        texts: Positions of the texts that were cut.
        limit: Tokens that the model reads.
    """

    def __init__(self, texts: Sequence[int], total: int, limit: int) -> None:
        self.texts = list(texts)
        self.limit = limit
        super().__init__(
            f"{len(texts)} of {total} texts {'is' if len(texts) == 1 else 'are'} longer than the {limit} tokens that "
            f"the model reads; only the beginning counts (the first such: text {texts[0]}). "
            "Split long texts, or pass truncate='error' to refuse them"
        )


@dataclass(frozen=True)
class Batch:
    """Texts of like length.

    Attributes:
        rows: Position of each text in the input, B of them.
        ids: Token numbers, int64, B x T.
        mask: 1 for a token, 0 for padding, int64, B x T.
    """

    rows: Array
    ids: Array
    mask: Array


@dataclass(frozen=True)
class Encoded:
    """Texts as tokens.

    Attributes:
        ids: Token numbers of each text, at most the model's limit.
        cut: Position and full number of tokens of each text that was longer.
    """

    ids: list[list[int]]
    cut: dict[int, int]


class Tokens:
    """A model's tokenizer with its limit.

    Raises:
        ModelFileError: The folder's tokenizer files cannot be read.
    """

    def __init__(self, folder: Path, max_tokens: int, padding: int = 0) -> None:
        self.limit = max_tokens
        self.padding = padding
        self._folder = folder
        self._tokenizer = _load(folder)
        with named_tokenizer_faults(folder):
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_tokens)

    def encoded(self, texts: Sequence[str]) -> Encoded:
        """The tokens of texts.

        Raises:
            BadTexts: A text is not valid Unicode.
            ModelFileError: The tokenizer is damaged.
        """
        try:
            with named_tokenizer_faults(self._folder):
                found = self._tokenizer.encode_batch_fast(texts)  # without the places of tokens in the text
        except (TypeError, UnicodeEncodeError) as error:
            raise BadTexts(unwritable(texts)) from error
        cut = {row: _length(encoding) for row, encoding in enumerate(found) if encoding.overflowing}
        return Encoded([encoding.ids for encoding in found], cut)

    def fluency(self, texts: Sequence[str]) -> float:
        """How well the vocabulary knows the words of texts: 1 for its own language, 0 where it spells letter by letter.

        A word that it does not know at all counts as spelled. English has 4.6 letters a token in a vocabulary of
        English, German 2.7, Arabic and Chinese 1. Vocabularies of many languages are larger than any of one language,
        and know all that is asked about.
        """
        if self._tokenizer.get_vocab_size() > _ONE_LANGUAGE:
            return 1.0
        shown = [text[:_SAMPLE_CHARACTERS] for text in texts]
        letters = sum(letter.isalpha() for text in shown for letter in text)
        pieces = 0
        for text, encoding in zip(shown, self._tokenizer.encode_batch(shown, add_special_tokens=False), strict=True):
            for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
                written = sum(letter.isalpha() for letter in text[start:end])
                pieces += written if token == self._unknown else written > 0
        if not pieces:
            return 1.0
        if letters / pieces < _SPELLED and sum(len(_HAN.findall(text)) for text in shown) > letters / 2:
            return float(self._reads_han)
        return min(1.0, max(0.0, (letters / pieces - _SPELLED) / (_FLUENT - _SPELLED)))

    @cached_property
    def _unknown(self) -> int | None:
        return unknown_token(self._tokenizer)

    @cached_property
    def _reads_han(self) -> bool:
        """Whether it has thousands of Chinese characters; vocabularies of English have some hundred."""
        return sum(len(token) == 1 and _HAN.match(token) is not None for token in self._tokenizer.get_vocab()) > 3_000

    def batches(self, encoded: Encoded) -> Iterator[Batch]:
        """The texts in batches of at most `BATCH_TOKENS` tokens, the longest texts first."""
        order = sorted(range(len(encoded.ids)), key=lambda row: -len(encoded.ids[row]))  # stable
        start = 0
        while start < len(order):
            size = max(1, BATCH_TOKENS // len(encoded.ids[order[start]]))
            yield self._batch(order[start : start + size], encoded.ids)
            start += size

    def _batch(self, rows: list[int], tokens: Sequence[list[int]]) -> Batch:
        ids = np.full((len(rows), len(tokens[rows[0]])), self.padding, np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            length = len(tokens[row])
            ids[place, :length] = tokens[row]
            mask[place, :length] = 1
        return Batch(np.array(rows), ids, mask)


def _length(encoding: Any) -> int:
    special = sum(encoding.special_tokens_mask)
    return len(encoding.ids) + sum(len(part.ids) - special for part in encoding.overflowing)


def _load(folder: Path) -> Any:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return _from_vocabulary(folder)
    return read_tokenizer(path)


def read_tokenizer(path: Path) -> Any:
    """The tokenizer of a tokenizer.json.

    Raises:
        ModelFileError: The file cannot be read.
    """
    with named_tokenizer_faults(path):
        found = tokenizers.Tokenizer.from_file(str(path))
        check_growth(found, path)
        return found


def _from_vocabulary(folder: Path) -> Any:
    path = folder / "vocab.txt"
    if not path.is_file():
        raise ModelFileError(folder, "has neither tokenizer.json nor vocab.txt")
    settings = folder / "tokenizer_config.json"
    with named_tokenizer_faults(path):
        config = json.loads(settings.read_bytes()) if settings.is_file() else {}
        lowercase = config.get("do_lower_case", True) if isinstance(config, dict) else True
        made = tokenizers.BertWordPieceTokenizer(str(path), lowercase=bool(lowercase))
        return tokenizers.Tokenizer.from_str(made.to_str())


def unwritable(texts: Sequence[str]) -> str:
    """Which text cannot be turned into tokens, and why."""
    for row, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"text {row} is not valid Unicode: {error.reason} at character {error.start}; mend or leave it out"
    return "the texts cannot be turned into tokens"


def unknown_token(tokenizer: Any) -> int | None:
    """Id of the unknown token; None if there is none."""
    if hasattr(tokenizer.model, "unk_token"):
        token = tokenizer.model.unk_token
        return None if token is None else tokenizer.token_to_id(token)
    return json.loads(tokenizer.to_str())["model"].get("unk_id")  # of Unigram models

"""The tokens of a transformers tokenizer: text to tokens, tokens to bytes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from chainkit.base.errors import MissingLibrary, Unsupported
from chainkit.local.tokenizer_bounds import named_tokenizer_faults
from chainkit.local.tokens import continued, encoded

# Chat models end a turn with one of these, and not all say so in their generation_config.
_TURN_ENDS = frozenset({"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|end_of_text|>"})
_SPACE = "\u2581"
_MAX_BYTE_TOKEN = 6  # "<0x0A>"


class TransformersVocabulary:
    """A tokenizer together with what the model's settings say about ends. Safe to use from several threads.

    Attributes:
        tokenizer: The library's own.
        size: V, the number of logits of the model; it may be larger than the number of tokens.
        bos: The token that begins a text, or None.
        eos: The token that ends a text, or -1.
    """

    def __init__(self, tokenizer: Any, size: int, ends: Iterable[int] = ()) -> None:
        self.tokenizer, self.size = tokenizer, size
        self.bos: int | None = tokenizer.bos_token_id
        self.eos: int = -1 if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        added = tokenizer.added_tokens_decoder
        self._controls = {number for number, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        self._added = {number: token.content for number, token in added.items()}
        turn_ends = {number for number in self._controls if self._name(number) in _TURN_ENDS}
        self._ends = {*ends, *turn_ends} | ({self.eos} if self.eos >= 0 else set())
        self._spelling = _spelling(tokenizer)
        self._lock = threading.Lock()  # a call may change the settings of the tokenizer for its time
        self._pieces: dict[int, bytes] = {}
        self._guide_tokens: Any = None
        whole = self.tokenize("a", whole=True)
        self.adds_bos = self.bos is not None and whole[:1] == [self.bos]
        self.adds_eos = len(whole) > 1 and whole[-1] == self.eos

    def tokenize(self, text: str, *, special: bool = False, whole: bool = False) -> list[int]:
        """The tokens of a text.

        Args:
            text: Any text.
            special: Read the names of special tokens, like "<|im_end|>", as those tokens.
            whole: The text is complete: add the first and last tokens, and the space before the text, that the
                model expects. Otherwise tokenize it as a continuation and add nothing.

        Raises:
            ValueError: The text holds half of a surrogate pair, which is not a character.
        """
        encoded(text)
        if whole or special:
            return self._encode(text, special, whole)
        return continued(text, lambda part: self._encode(part, special=False, whole=False), self._bytes_of)

    def piece(self, token: int) -> bytes:
        """The bytes of a token; none for a control token."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = b"" if self.is_control(token) else self._bytes(token)
        return piece

    def name(self, token: int) -> bytes:
        """The bytes of a token; for a control token its name, like b"<|im_end|>"."""
        return self._name(token).encode() if self.is_control(token) else self.piece(token)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens; broken characters become U+FFFD, control tokens vanish."""
        text = self._bytes_of(tokens).decode("utf-8", "replace")
        return text.removeprefix(" ") if self._spelling == "sentencepiece" else text

    def is_end(self, token: int) -> bool:
        """Whether a token ends the model's text or its turn."""
        return token in self._ends

    def is_control(self, token: int) -> bool:
        """Whether it is a control token, which has no text."""
        return token in self._controls

    def guide_tokens(self) -> Any:
        """The tokens as llguidance wants them; made once, which takes a second for a large vocabulary.

        Raises:
            MissingLibrary: llguidance is not installed.
            Unsupported: The tokenizer is written in Python, which llguidance cannot read.
        """
        with self._lock:
            if self._guide_tokens is None:
                self._guide_tokens = self._make_guide_tokens()
            return self._guide_tokens

    def _make_guide_tokens(self) -> Any:
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise MissingLibrary("llguidance", extra="huggingface") from error
        if getattr(self.tokenizer, "backend_tokenizer", None) is None:
            raise Unsupported("the tokenizer of this model has no tokenizer.json, so its text cannot be constrained")
        return from_tokenizer(self.tokenizer, n_vocab=self.size, eos_token=sorted(self._ends) or None)

    def _encode(self, text: str, special: bool, whole: bool) -> list[int]:
        with self._lock, named_tokenizer_faults(self.tokenizer.name_or_path):
            return self.tokenizer(
                text, add_special_tokens=whole, split_special_tokens=not special, truncation=False, verbose=False
            )["input_ids"]

    def _bytes_of(self, tokens: Iterable[int]) -> bytes:
        return b"".join(map(self.piece, tokens))

    def _name(self, token: int) -> str:
        return self._added.get(token) or str(self.tokenizer.convert_ids_to_tokens(token))

    def _bytes(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        with self._lock:
            name = self.tokenizer.convert_ids_to_tokens(token) if 0 <= token < len(self.tokenizer) else None
        if name is None:  # the model has more logits than the tokenizer has tokens
            return b""
        if self._spelling == "bytes":
            return b"".join(_BYTES[character] if character in _BYTES else character.encode() for character in name)
        if self._spelling == "sentencepiece":
            return _byte(name) or name.replace(_SPACE, " ").encode()
        with self._lock:
            return self.tokenizer.decode([token], clean_up_tokenization_spaces=False).encode()


def _spelling(tokenizer: Any) -> str:
    """How the tokenizer spells bytes: as visible characters ("bytes"), with U+2581 ("sentencepiece"), or unknown."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return "sentencepiece" if hasattr(tokenizer, "sp_model") else "other"
    decoder = json.dumps(json.loads(backend.to_str()).get("decoder"), ensure_ascii=False)
    if '"ByteLevel"' in decoder:
        return "bytes"
    return "sentencepiece" if '"Metaspace"' in decoder or _SPACE in decoder else "other"


def _byte(name: str) -> bytes | None:
    if len(name) == _MAX_BYTE_TOKEN and name.startswith("<0x") and name.endswith(">"):
        try:
            return bytes([int(name[3:5], 16)])
        except ValueError:
            return None
    return None


def _byte_characters() -> dict[str, bytes]:
    """GPT-2's visible characters for bytes: printable ones stand for themselves, the others follow from U+0100."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    table = {chr(byte): bytes([byte]) for byte in visible}
    return table | {chr(0x100 + place): bytes([byte]) for place, byte in enumerate(hidden)}


_BYTES = _byte_characters()

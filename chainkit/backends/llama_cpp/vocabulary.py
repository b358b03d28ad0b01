"""The tokens of a model: text to tokens, tokens to bytes."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from chainkit.backends.llama_cpp.capi import NativeModel
from chainkit.base.errors import MissingLibrary
from chainkit.local.tokens import continued, encoded

_CONTROL, _USER_DEFINED = 1 << 3, 1 << 4
_LONGEST_PIECE = 256
_SPM = 1


class LlamaVocabulary:
    """The tokenizer inside a model file. Safe to use from several threads.

    Attributes:
        size: V, the number of tokens.
        bos: The token that begins a text, or None.
        adds_bos: Whether the model expects a text to begin with it.
        adds_eos: Whether the model expects a text to end with its end token (BERT: [SEP]).
        sentencepiece: Whether it is a SentencePiece vocabulary, which puts a space before a text.
    """

    def __init__(self, model: NativeModel) -> None:
        self._model = model  # the vocabulary is a part of it
        self.library = library = model.library
        self.handle = library.llama_model_get_vocab(model.handle)
        self.size = library.llama_vocab_n_tokens(self.handle)
        bos = library.llama_vocab_bos(self.handle)
        self.bos = bos if bos >= 0 else None
        self.eos = library.llama_vocab_eos(self.handle)
        self.adds_bos = self.bos is not None and library.llama_vocab_get_add_bos(self.handle)
        self.adds_eos = library.llama_vocab_get_add_eos(self.handle)
        self.kind = library.llama_vocab_type(self.handle)
        self.sentencepiece = self.kind == _SPM
        self._pieces: dict[int, bytes] = {}  # asked for at each token written
        self._ends: dict[int, bool] = {}
        self._guide_tokens: Any = None
        self._lock = threading.Lock()

    @property
    def separator(self) -> int | None:
        """The separator token between two texts that are read as a pair; None if the model has none."""
        if not self.library.newer("llama_vocab_get_add_sep")(self.handle):
            return None
        token = self.library.newer("llama_vocab_sep")(self.handle)
        return token if token >= 0 else None

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
        if whole or special or not self.sentencepiece:
            return self._encode(text, special, whole)
        return continued(text, lambda part: self._encode(part, special=False, whole=False), self._bytes_of)

    def piece(self, token: int) -> bytes:
        """The bytes of a token; none for a control token."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._bytes(token, special=False)
        return piece

    def name(self, token: int) -> bytes:
        """The bytes of a token; for a control token its name, like b"<|im_end|>"."""
        return self._bytes(token, special=True)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens; broken characters become U+FFFD, control tokens vanish."""
        text = self._bytes_of(tokens).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.sentencepiece else text

    def is_end(self, token: int) -> bool:
        """Whether a token ends the model's text or its turn."""
        end = self._ends.get(token)
        if end is None:
            end = self._ends[token] = self.library.llama_vocab_is_eog(self.handle, token)
        return end

    def is_control(self, token: int) -> bool:
        """Whether a token is a control token: one that no text of a user may become."""
        return self.library.llama_vocab_is_control(self.handle, token)

    def is_special(self, token: int) -> bool:
        """Whether a token is a control token, or one that a text names like <this>."""
        attributes = self.library.llama_vocab_get_attr(self.handle, token)
        if attributes & _USER_DEFINED:
            name = self.name(token)
            return name.startswith(b"<") and name.endswith(b">")
        return bool(attributes & _CONTROL)

    def guide_tokens(self) -> Any:
        """The tokens as llguidance wants them; made once, which takes a second for a large vocabulary.

        Raises:
            MissingLibrary: llguidance is not installed.
        """
        with self._lock:
            if self._guide_tokens is None:
                self._guide_tokens = self._make_guide_tokens()
            return self._guide_tokens

    def _make_guide_tokens(self) -> Any:
        try:
            from llguidance import LLTokenizer
        except ImportError as error:
            raise MissingLibrary("llguidance", extra="gguf") from error
        names = [self.name(token) for token in range(self.size)]
        # a name that begins with 0xFF is not text: a grammar can never ask for it letter by letter
        tokens = [b"\xff" + name if self.is_special(token) else name for token, name in enumerate(names)]
        ends = [token for token in range(self.size) if self.is_end(token)]
        make: Any = LLTokenizer.from_llamacpp  # type: ignore[attr-defined] # left out of its type stubs
        return make(
            tokens=tokens,
            vocab_ptr=self.handle,
            tokenize_fptr=self.library.address("llama_tokenize"),
            eos_token=ends or None,
        )

    def _encode(self, text: str, special: bool, whole: bool) -> list[int]:
        data = encoded(text)
        room = len(data) + 8
        while True:
            tokens = np.empty(room, dtype=np.int32)
            count = self.library.llama_tokenize(self.handle, data, len(data), tokens.ctypes.data, room, whole, special)
            if count >= 0:
                return tokens[:count].tolist()
            room = -count

    def _bytes_of(self, tokens: Iterable[int]) -> bytes:
        return b"".join(map(self.piece, tokens))

    def _bytes(self, token: int, *, special: bool) -> bytes:
        if not 0 <= token < self.size:
            raise ValueError(f"token {token} is not one of the {self.size} of this model")
        room = _LONGEST_PIECE
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = self.library.llama_token_to_piece(self.handle, token, buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

"""The tokens of a file of 2023: text to tokens, tokens to bytes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chainkit.base.errors import MissingLibrary
from chainkit.local.tokens import continued, encoded

# how GPT-2 cuts a text before it looks for tokens, on bytes: letters and digits are those of ASCII
_WORD = re.compile(rb"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
_CONTROL = re.compile(rb"<\|[a-z_]+\|>|<fim[-_][a-z]+>|### (?:End|Instruction:|Response:)")
_LLAMA_CONTROL = re.compile(rb"</?s>|<unk>")
_BYTE = re.compile(rb"<0x([0-9A-F]{2})>")
_ENDS = frozenset({b"<|endoftext|>", b"<|end|>", b"<|im_end|>", b"### End"})
_OWN_TOKENIZER = frozenset({"llama", "gguf", "falcon", "replit"})  # those whose text the library must cut itself


class CTransformersVocabulary:
    """The tokens of one model. Safe to use from several threads.

    The files hold no rules of merging, so that a text of the GPT family is cut into the longest tokens there are, as
    all programs of that time did; the models' own tokenizers cut now and then differently.

    Attributes:
        size: V, the number of tokens.
        bos: The token that begins a text, or None.
        eos: The token that ends one, or -1.
        adds_bos: Whether the model expects a text to begin with `bos`.
    """

    def __init__(
        self, pieces: Sequence[bytes], kind: str, *, bos: int, eos: int, tokenize: Callable[[bytes, bool], list[int]]
    ) -> None:
        self.size, self.kind = len(pieces), kind
        self._tokenize = tokenize
        llama = kind in ("llama", "gguf")
        self._pieces = [_plain(piece) for piece in pieces] if kind in _OWN_TOKENIZER else list(pieces)
        controls = {token for token, piece in enumerate(pieces) if _CONTROL.fullmatch(piece)}
        if llama:
            controls |= {token for token, piece in enumerate(pieces) if _LLAMA_CONTROL.fullmatch(piece)}
        self._names = {token: pieces[token] for token in controls}
        # the library names token 0 where the vocabulary has no token of the name it looks for
        sound = 0 <= eos < self.size and (llama or kind in _OWN_TOKENIZER or pieces[eos] in _ENDS)
        self.eos = eos if sound else -1
        self._ends = {self.eos} | {token for token, name in self._names.items() if name in _ENDS}
        self._names |= {self.eos: pieces[self.eos]} if sound else {}
        self.adds_bos = llama and 0 <= bos < self.size
        self.bos = bos if self.adds_bos else self.eos if sound else None
        if self.adds_bos:
            self._names[bos] = pieces[bos]
        self._tokens = {piece: token for token, piece in reversed([*enumerate(pieces)]) if token not in self._names}
        self._longest = max(map(len, self._tokens), default=1)
        named = sorted(self._names.items(), key=lambda item: len(item[1]), reverse=True)
        self._by_name = {name: token for token, name in named if name}
        self._special = re.compile(b"|".join(map(re.escape, self._by_name)) or b"(?!)")
        self._guide_tokens: Any = None
        self._lock = threading.Lock()

    def tokenize(self, text: str, *, special: bool = False, whole: bool = False) -> list[int]:
        """The tokens of a text.

        Args:
            text: Any text.
            special: Read the names of special tokens, like "<|endoftext|>", as those tokens.
            whole: The text is complete: add the first token that the model expects.

        Raises:
            ValueError: The text holds a character for which the model has no tokens.
        """
        data = encoded(text)
        if b"\0" in data:
            raise ValueError("the text holds a zero byte, which these models cannot read")
        first = [self.bos] if whole and self.adds_bos and self.bos is not None else []
        if not special:
            return first + self._plain_text(text, whole)
        tokens, position = first, 0
        for match in self._special.finditer(data):
            tokens += self._plain_text(data[position : match.start()].decode(), whole and not position)
            tokens.append(self._by_name[match.group()])
            position = match.end()
        return tokens + self._plain_text(data[position:].decode(), whole and not position)

    def piece(self, token: int) -> bytes:
        """The bytes of a token; none for a control token."""
        if not 0 <= token < self.size:
            raise ValueError(f"token {token} is not one of the {self.size} of this model")
        return b"" if token in self._names else self._pieces[token]

    def name(self, token: int) -> bytes:
        """The bytes of a token; for a control token its name."""
        return self._names.get(token) or self.piece(token)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens; broken characters become U+FFFD, control tokens vanish."""
        text = self._bytes_of(tokens).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.adds_bos else text

    def is_end(self, token: int) -> bool:
        """Whether a token ends the model's text or its turn."""
        return token in self._ends

    def is_control(self, token: int) -> bool:
        """Whether it is a control token, which has no text."""
        return token in self._names

    def guide_tokens(self) -> Any:
        """The tokens as llguidance wants them; made once.

        Raises:
            MissingLibrary: llguidance is not installed.
        """
        with self._lock:
            if self._guide_tokens is None:
                try:
                    from llguidance import LLTokenizer, TokenizerWrapper
                except ImportError as error:
                    raise MissingLibrary("llguidance", extra="gguf") from error
                self._guide_tokens = LLTokenizer(TokenizerWrapper(_Words(self)), n_vocab=self.size)
            return self._guide_tokens

    def _plain_text(self, text: str, whole: bool) -> list[int]:
        if not text:
            return []
        if self.kind not in _OWN_TOKENIZER:
            return [token for word in _WORD.findall(encoded(text)) for token in self._cut(word)]
        if whole:
            return self._tokenize(encoded(text), False)
        return continued(text, lambda part: self._tokenize(encoded(part), False), self._bytes_of)

    def _cut(self, word: bytes) -> list[int]:
        """The longest token that the word begins with, and so on."""
        tokens, start = list[int](), 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                token = self._tokens.get(word[start:end])
                if token is not None:
                    tokens.append(token)
                    start = end
                    break
            else:
                raise ValueError(f"the model has no token for the byte {word[start]:#04x} of {word[:40]!r}")
        return tokens

    def _bytes_of(self, tokens: Iterable[int]) -> bytes:
        return b"".join(map(self.piece, tokens))


class _Words:
    """A vocabulary as llguidance asks for it."""

    def __init__(self, vocabulary: CTransformersVocabulary) -> None:
        self.tokens = [vocabulary.name(token) or b"\xff<%d>" % token for token in range(vocabulary.size)]
        self.special_token_ids = [token for token in range(vocabulary.size) if vocabulary.is_control(token)]
        self.eos_token_id = max(vocabulary.eos, 0)
        self.bos_token_id = vocabulary.bos
        self._vocabulary = vocabulary

    def __call__(self, text: bytes) -> list[int]:
        return self._vocabulary.tokenize(text.decode("utf-8", "replace"))


def _plain(piece: bytes) -> bytes:
    """The bytes of a piece that SentencePiece spells in its own way."""
    if match := _BYTE.fullmatch(piece):
        return bytes([int(match[1], 16)])
    return piece.replace("\u2581".encode(), b" ")

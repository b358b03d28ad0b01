"""A runtime that computes nothing: the last tokens say what comes next; what is asked of it is noted."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainkit.local.lookup import Pace
from chainkit.local.runtime import ForwardRequest, ForwardResult, KVSequence, common
from chainkit.local.threads import Cancelled

END, BOS = 256, 257


class Bytes:
    """The 256 bytes, an end and a beginning."""

    size, bos, eos, adds_bos = 258, BOS, END, False

    def tokenize(self, text: str, *, special: bool = False, whole: bool = False) -> list[int]:
        return [*([BOS] if whole and self.adds_bos else []), *text.encode()]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < END else b""

    def name(self, token: int) -> bytes:
        return self.piece(token) or f"<{token}>".encode()

    def is_end(self, token: int) -> bool:
        return token == END

    def is_control(self, token: int) -> bool:
        return token >= END

    def guide_tokens(self) -> Any:
        import llguidance

        class Tokenizer:
            eos_token_id, bos_token_id = END, None
            tokens = [*(bytes([byte]) for byte in range(256)), b"<end>", b"<begin>"]
            special_token_ids = [END, BOS]

            def __call__(self, text: Any) -> list[int]:
                return list(text if isinstance(text, bytes) else text.encode())

        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Tokenizer()))


class ScriptedRuntime:
    """Knows what the last three tokens are followed by: letters, mostly, or the script that it was given."""

    takes_soft_prompts = False

    def __init__(
        self, script: str = "", *, context_length: int = 200, parallel: int = 4, room: int | None = None
    ) -> None:
        self.vocabulary = Bytes()
        self.script = script.encode()
        self.context_length, self.parallel, self.room = context_length, parallel, room
        self.crowded = self.looks_ahead = False
        self.pace = Pace()
        self.calls: list[list[ForwardRequest]] = []
        self.lengths: list[list[int]] = []
        self.paused: list[KVSequence | None] = []
        self.dropped: list[object] = []
        self.kept: dict[str, Any] = {}
        self.crowds = 0  # more texts than this at once are too many, if it is above 0
        self.fails: Exception | None = None
        self.slow = 0.0

    def fingerprint(self) -> str | None:
        return None

    def scores(self, tokens: Sequence[int]) -> Any:
        """The logits after a text, [V]."""
        noise = np.random.default_rng(zlib.crc32(bytes(token % 256 for token in tokens[-3:])))
        logits = noise.standard_normal(self.vocabulary.size).astype(np.float32) - 20
        logits[97:123] += 20
        text = bytes(token for token in tokens if token < 256)
        if self.script and self.script.startswith(text):
            logits[self.script[len(text)] if len(text) < len(self.script) else END] += 60
        return logits

    def forward(self, requests: Sequence[ForwardRequest]) -> list[ForwardResult]:
        if self.fails is not None:
            raise self.fails
        if any(request.cancelled() for request in requests):
            raise Cancelled("the generation was cancelled")
        time.sleep(self.slow)
        self.calls.append(list(requests))
        self.lengths.append([len(request.tokens) for request in requests])
        self.crowded = 0 < self.crowds < len(requests)
        return [self._result(request) for request in requests]

    def _result(self, request: ForwardRequest) -> ForwardResult:
        sequence = request.sequence or KVSequence(list(self.kept.get("tokens", [])))
        tokens = list(request.tokens)
        assert request.known <= len(tokens)
        if request.sequence is not None:
            assert sequence.tokens[: request.known] == tokens[: request.known]
        known = min(common(sequence.tokens, tokens), len(tokens) - 1)
        sequence.tokens = tokens
        branches = request.branches
        paths = [[branches.tokens[one] for one in branches.before(node)] for node in branches.inner] if branches else []
        logits = np.stack([self.scores([*tokens, *path]) for path in [[], *paths]])
        return ForwardResult(sequence, len(tokens) - known, 1, logits)

    def pause(self, sequence: KVSequence | None) -> None:
        self.paused.append(sequence)

    def drop(self, sequence: KVSequence | None, owner: object) -> None:
        self.dropped.append(owner)

    def require_fit(self, prompt: Any) -> None:
        raise AssertionError

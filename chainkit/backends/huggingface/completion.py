"""`huggingface:` as a model that continues text, or answers it (T5)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages.ai import UsageMetadata
from pydantic import Field

from chainkit.backends.huggingface.batch import EncodedForward, EncodedText, Forward, lockstep
from chainkit.backends.huggingface.settings import ModelSettings
from chainkit.base.errors import ContextOverflow, Unsupported
from chainkit.base.generation import GenerationRequest
from chainkit.base.session import Counters, Piece
from chainkit.local.answers import usage
from chainkit.local.completion import Completion, LocalLLM
from chainkit.local.session import LocalSession


class HuggingFaceModel(ModelSettings, LocalLLM):
    """A transformers model that continues text: causal ones, and those with an encoder, whose prompt is a question.

    Attributes:
        special_tokens: Read the names of special tokens in a prompt, like "<|im_start|>", as those tokens. Only for
            prompts that you write yourself: what a user types could then end a turn and begin another.
        batch_size: Prompts of `batch` that are computed at once.
    """

    batch_size: int = Field(default=8, ge=1, le=1024)

    @property
    def _llm_type(self) -> str:
        return "chainkit-huggingface"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include=set(HuggingFaceModel.model_fields) - {"callbacks", "cache", "metadata", "tags"})

    def session(self, text: str = "", *, cancelled: threading.Event | None = None) -> LocalSession:
        """A text to go on with token by token.

        Raises:
            ContextOverflow: The text is longer than the context.
            Unsupported: The model reads with an encoder.
        """
        session = self.new_session(cancelled).begin_with(self.own_soft_prompt)
        return session.append(text, special=self.special_tokens) if text else session

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self.loaded.vocabulary.tokenize(text, special=self.special_tokens)

    def _seen(self) -> Any:
        return self.loaded.vocabulary  # a model with an encoder has tokens, and no session

    def _pieces(
        self, prompt: str, call: GenerationRequest, cancelled: threading.Event
    ) -> Iterator[tuple[Piece, UsageMetadata | None]]:
        if not self.loaded.encodes:
            yield from super()._pieces(prompt, call, cancelled)
            return
        forward, rows = self._encoded([prompt])
        for _, piece in self._lockstep(forward, rows, call, cancelled):
            counters = rows[0].counters
            yield piece, usage(counters, counters.read) if piece.finish else None

    def _written(
        self, prompts: Sequence[str], calls: Sequence[GenerationRequest], cancelled: threading.Event
    ) -> list[Completion]:
        if self.loaded.encodes:
            self._source_tokens(prompts)  # all fit, or none is begun
            return self._in_batches(prompts, calls, cancelled)
        return super()._written(prompts, calls, cancelled)

    @property
    def _at_once(self) -> int | None:
        return self.batch_size

    def _in_batches(
        self, prompts: Sequence[str], calls: Sequence[GenerationRequest], cancelled: threading.Event
    ) -> list[Completion]:
        by_length = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))  # little padding
        written: dict[int, Completion] = {}
        for start in range(0, len(prompts), self.batch_size):
            numbers = by_length[start : start + self.batch_size]
            chosen = [prompts[number] for number in numbers]
            forward, rows = self._encoded(chosen)
            pieces: list[list[Piece]] = [[] for _ in numbers]
            for place, piece in self._lockstep(forward, rows, calls[0], cancelled):
                pieces[place].append(piece)
            for place, number in enumerate(numbers):
                counters = rows[place].counters
                written[number] = Completion(pieces[place], counters.read, counters)
        return [written[number] for number in range(len(prompts))]

    def _lockstep(
        self, forward: Forward, rows: Sequence[EncodedText], call: GenerationRequest, cancelled: threading.Event
    ) -> Iterator[tuple[int, Piece]]:
        if call.constraint is not None:
            raise Unsupported(f"{self.model} reads with an encoder; its answers cannot be constrained")
        if call.soft_prompt is not None:
            raise Unsupported(f"{self.model} reads with an encoder; soft prompts are for decoders")
        return lockstep(forward, rows, call, self.loaded, cancelled.is_set)

    def _encoded(self, prompts: Sequence[str]) -> tuple[EncodedForward, list[EncodedText]]:
        loaded, sources = self.loaded, self._source_tokens(prompts)
        rows = [EncodedText(loaded.first_tokens, loaded.vocabulary, self.effective_context_length) for _ in sources]
        for row, source in zip(rows, sources, strict=True):
            row.counters = Counters(read=len(source))
        return EncodedForward(loaded, sources), rows

    def _source_tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        vocabulary = self.loaded.vocabulary
        sources = [vocabulary.tokenize(prompt, special=self.special_tokens, whole=True) for prompt in prompts]
        for source in sources:
            if not source:
                raise ValueError("there is no text to answer")
            if len(source) > self.effective_context_length:
                raise ContextOverflow(len(source), self.effective_context_length)
        return sources

    @property
    def effective_context_length(self) -> int:
        """Context length in tokens; for an encoder-decoder, that of input and output each."""
        return (
            min(self.context_length, self.loaded.context_length) if self.context_length else self.loaded.context_length
        )

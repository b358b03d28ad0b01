"""One forward pass over tokens of several texts.

The texts are concatenated into one sequence, so that all but the attention computes them like one text: no padding,
whatever their lengths. The attention is ours: each text attends to its own keys and values.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chainkit.backends.huggingface.kv_cache import KeysValues
from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.backends.huggingface.loading import Loaded

NAME = "chainkit_ragged"
_HARMLESS = frozenset(
    {"position_ids", "use_cache", "output_attentions", "is_causal", "cu_seq_lens_q", "cache_position"}
)


class Unfit(Exception):
    """The model's attention is of another kind; nothing was computed that counts."""


@dataclass(frozen=True)
class TextSpan:
    """Tokens that go on with a text.

    Attributes:
        memory: The text before.
        tokens: T of them.
        wanted: Those whose scores are wanted, as numbers below T.
        parents: For a tree: what each token follows, -1 for the text before. None: each follows the one before it.
    """

    memory: KeysValues
    tokens: Sequence[int]
    wanted: Sequence[int]
    parents: Sequence[int] | None = None

    @property
    def positions(self) -> list[int]:
        """Position of each token in its text."""
        start = self.memory.length
        if self.parents is None:
            return list(range(start, start + len(self.tokens)))
        places: list[int] = []
        for parent in self.parents:
            places.append(start if parent < 0 else places[parent] + 1)
        return places


def read(loaded: Loaded, spans: Sequence[TextSpan]) -> torch.Tensor:
    """Compute all spans; the scores of all wanted tokens, in order, [N, V].

    The memories then hold their tokens, those of trees in the order in which they were given.

    Raises:
        Unfit: The model cannot be computed like this.
    """
    line = [token for span in spans for token in span.tokens]
    tokens = torch.tensor([line], dtype=torch.long, device=loaded.device)
    places = torch.tensor([[place for span in spans for place in span.positions]], device=loaded.device)
    wanted, start = [], 0
    for span in spans:
        wanted += [start + number for number in span.wanted]
        start += len(span.tokens)
    flow = _Flow(spans)
    with _attending(loaded, flow):
        last = wanted == [len(line) - 1]
        kept = loaded.only_last(1) if last else loaded.only(wanted)
        read = loaded.inputs(tokens) | kept
        output = loaded.model(position_ids=places, **loaded.cached(flow), **read)
    if not flow.attended or flow.attended != flow.written:
        raise Unfit
    for span in spans:
        span.memory.length += len(span.tokens)
    return output.logits[0] if kept else output.logits[0, wanted]


class _Flow(transformers.Cache):
    """What the model takes for its cache in such a pass."""

    def __init__(self, spans: Sequence[TextSpan]) -> None:
        super().__init__(layers=[])
        self.spans = spans
        self._lengths = [len(span.tokens) for span in spans]
        self.written = self.attended = 0
        self.stored: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._masks: dict[tuple[int, int | None], torch.Tensor | None] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values, [1, H, N, D] each, where they belong."""
        if layer_idx != self.written:  # a layer that has no cache entry, or two
            raise Unfit
        self.written += 1
        if len(self.spans) == 1:
            self.stored = [self.spans[0].memory.write(layer_idx, key_states, value_states)]
            return key_states, value_states
        self.stored = [
            span.memory.write(layer_idx, keys, values)
            for span, keys, values in zip(
                self.spans, key_states.split(self._lengths, 2), value_states.split(self._lengths, 2), strict=True
            )
        ]
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Models that make masks of their own from this get none that counts."""
        return 0

    def attend(self, query: torch.Tensor, scaling: float | None, window: int | None) -> torch.Tensor:
        """The attention of each text to its own tokens; query [1, H, N, D], result [1, N, H, D]."""
        self.attended += 1
        if self.attended != self.written:
            raise Unfit
        if len(self.spans) == 1:
            return self._attend_one(0, query, *self.stored[0], scaling, window)
        parts = query.split(self._lengths, 2)
        outputs = [
            self._attend_one(number, part, keys, values, scaling, window)
            for number, (part, (keys, values)) in enumerate(zip(parts, self.stored, strict=True))
        ]
        return torch.cat(outputs, dim=1)

    def _attend_one(
        self,
        number: int,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        length, groups = query.shape[2], query.shape[1] // keys.shape[1]
        if length == 1:
            if window is not None and keys.shape[2] > window:
                keys, values = keys[:, :, -window:], values[:, :, -window:]
            # one token of all heads that share a key is as several tokens of one head
            packed = query.view(1, keys.shape[1], groups, query.shape[3])
            output = torch.nn.functional.scaled_dot_product_attention(packed, keys, values, scale=scaling)
            return output.reshape(1, 1, query.shape[1], -1)
        mask = self._mask(number, window, query)
        output = torch.nn.functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=groups > 1
        )
        return output.transpose(1, 2)

    def _mask(self, number: int, window: int | None, query: torch.Tensor) -> torch.Tensor | None:
        """Attention mask, [T, T of the whole text]; None if it is causal."""
        if (number, window) not in self._masks:
            self._masks[number, window] = _mask(self.spans[number], window, query.device)
        return self._masks[number, window]


def _mask(span: TextSpan, window: int | None, device: Any) -> torch.Tensor | None:
    start, length = span.memory.length, len(span.tokens)
    if start == 0 and span.parents is None and (window is None or length <= window):
        return None
    places = torch.tensor(span.positions, device=device)
    seen = torch.ones(length, start + length, dtype=torch.bool, device=device)
    if span.parents is None:
        seen.tril_(start)
    else:
        for node, parent in enumerate(span.parents):
            seen[node, start:] = seen[parent, start:] if parent >= 0 else False
            seen[node, start + node] = True
    if window is not None:
        columns = torch.cat([torch.arange(start, device=device), places])
        seen &= places[:, None] - columns[None] < window
    return seen


@contextmanager
def _attending(loaded: Loaded, flow: _Flow) -> Iterator[None]:
    """While this lasts, the model's attention is ours. The model's lock is held."""
    try:
        loaded.config._attn_implementation = NAME
        _current.flow = flow
        yield
    finally:
        restore(loaded)


def restore(loaded: Loaded) -> None:
    """Give the model its own attention again."""
    _current.flow = None
    loaded.config._attn_implementation = loaded.attention


_current = threading.local()


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """The library's attention interface; an unknown argument makes the model unfit."""
    for name, setting in other.items():
        if setting is not None and name not in _HARMLESS:
            raise Unfit
    return _current.flow.attend(query, scaling, sliding_window), None


transformers.AttentionInterface.register(NAME, _attention)

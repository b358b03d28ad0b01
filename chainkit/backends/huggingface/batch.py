"""Several texts that a model with an encoder answers: one forward pass a step for all of them.

The encoder's input is padded and masked, so that each answer is the same as alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.backends.huggingface.loading import Loaded
from chainkit.backends.huggingface.vocabulary import TransformersVocabulary
from chainkit.base.errors import Unsupported
from chainkit.base.generation import GenerationRequest
from chainkit.base.session import Counters, Piece
from chainkit.decoding import loop
from chainkit.decoding.sampler import Logits, log_softmax
from chainkit.local.threads import Cancelled


class EncodedText:
    """One text of a batch; its logits are put here before each step of its generation."""

    def __init__(self, tokens: Sequence[int], vocabulary: TransformersVocabulary, context_length: int) -> None:
        self.tokens, self.vocabulary, self.context_length = list(tokens), vocabulary, context_length
        self.counters = Counters(read=len(self.tokens))
        self.scores: Logits | None = None

    def push(self, tokens: Sequence[int], *, forced: bool) -> None:
        """The token that was chosen."""
        self.tokens.extend(tokens)
        self.counters.sampled += len(tokens)

    def rewind(self, length: int) -> None:
        """Refused: the rows of a batch go on together, so constraints that take tokens back are kept out of it."""
        raise Unsupported(f"a text of a batch cannot go back to {length} tokens")

    def logits(self) -> Logits:
        """The scores of the next token, [V]."""
        assert self.scores is not None  # computed before each step
        return self.scores

    def score_tokens(self, options: Sequence[Sequence[int]]) -> list[float]:
        """The log-probability of the first token of each: the rows go on together, so nothing is tried out."""
        chances = log_softmax(self.logits())
        return [float(chances[option[0]]) for option in options]


class Forward(Protocol):
    """The model on a batch."""

    def begin(self, rows: Sequence[EncodedText]) -> torch.Tensor:
        """Read the texts; returns the logits after each, [B, V]."""
        ...

    def go_on(self, rows: Sequence[EncodedText], kept: Sequence[int] | None) -> torch.Tensor:
        """Read the last token of each row; returns the logits after it, [B, V].

        Args:
            rows: Those that go on.
            kept: Their places in the batch before, or None if all go on.
        """
        ...


def lockstep(
    forward: Forward,
    rows: Sequence[EncodedText],
    request: GenerationRequest,
    loaded: Loaded,
    cancelled: Callable[[], bool],
) -> Iterator[tuple[int, Piece]]:
    """Continue all rows; the pieces as they come, each with the number of its row.

    Raises:
        Cancelled: `cancelled` said so.
    """
    runs = [loop.generate(row, request) for row in rows]
    alive, places = list(range(len(rows))), None
    begun = False
    while alive:
        if cancelled():
            raise Cancelled("the generation was cancelled")
        going = [rows[number] for number in alive]
        with loaded.lock, torch.inference_mode():
            scores = (forward.go_on(going, places) if begun else forward.begin(going)).float().cpu().numpy()
        begun, finished = True, set[int]()
        for place, number in enumerate(alive):
            rows[number].scores = scores[place]
            piece = next(runs[number])
            if piece.finish:
                finished.add(place)
            yield number, piece
        places = [place for place in range(len(alive)) if place not in finished] if finished else None
        alive = [number for place, number in enumerate(alive) if place not in finished]


class EncodedForward:
    """A model that reads with an encoder and writes with a decoder, on a batch.

    Args:
        loaded: The model.
        texts: The tokens that the encoder reads.
    """

    def __init__(self, loaded: Loaded, texts: Sequence[Sequence[int]]) -> None:
        self.loaded, self._texts = loaded, texts
        config = loaded.model.config
        own, of_the_encoder = (transformers.DynamicCache(config=config) for _ in range(2))
        self._cache = transformers.EncoderDecoderCache(own, of_the_encoder)
        self._encoded: Any = None
        self._mask = torch.empty(0)

    def begin(self, rows: Sequence[EncodedText]) -> torch.Tensor:
        """Encode the texts and read the first decoder tokens; returns the logits after them, [B, V]."""
        texts = [EncodedText(text, self.loaded.vocabulary, 0) for text in self._texts]
        tokens, self._mask = _padded(texts, max(len(row.tokens) for row in texts), self.loaded.device)
        self._encoded = self.loaded.model.get_encoder()(input_ids=tokens, attention_mask=self._mask)
        return self._run(torch.tensor([row.tokens for row in rows], device=self.loaded.device))

    def go_on(self, rows: Sequence[EncodedText], kept: Sequence[int] | None) -> torch.Tensor:
        """Read the last token of each row; returns the logits after it, [B, V]."""
        if kept is not None:
            index = torch.tensor(kept, device=self.loaded.device)
            self._cache.batch_select_indices(index)
            self._mask = self._mask[index]
            self._encoded.last_hidden_state = self._encoded.last_hidden_state[index]
        return self._run(_last(rows, self.loaded.device))

    def _run(self, tokens: torch.Tensor) -> torch.Tensor:
        output = self.loaded.model(
            encoder_outputs=self._encoded,
            attention_mask=self._mask,
            decoder_input_ids=tokens,
            **self.loaded.cached(self._cache),
        )
        return output.logits[:, -1]


def _padded(rows: Sequence[EncodedText], width: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, [B, T] each."""
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for number, row in enumerate(rows):
        place = slice(0, len(row.tokens))
        tokens[number, place] = torch.tensor(row.tokens)
        mask[number, place] = 1
    return tokens.to(device), mask.to(device)


def _last(rows: Sequence[EncodedText], device: Any) -> torch.Tensor:
    return torch.tensor([[row.tokens[-1]] for row in rows], device=device)

"""One token out of logits, by the settings of a `GenerationRequest`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import ChainkitError
from chainkit.base.generation import GenerationRequest

Logits = NDArray[np.float32]

_BLOCK = 512  # tokens whose chances are added up before one of them is drawn
_SLACK = 1e-3  # against rounding, where a cut is only prepared
_RECENT = 256  # tokens that the repeat penalty looks back on


class Sampler:
    """Chooses tokens for one generation; it owns the random numbers.

    The order is that of llama.cpp: repeat penalty, top_k, top_p, min_p, temperature last.
    """

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self._random = np.random.default_rng(request.seed)

    def pick(self, logits: Logits, seen: Sequence[int] = ()) -> int:
        """The next token.

        Args:
            logits: [V], left as they are; -inf marks a token that is not allowed.
            seen: Tokens before this one; only the repeat penalty looks at them, and at the last 256 only.

        Raises:
            ChainkitError: The model's numbers are not numbers.
        """
        if self.request.repeat_penalty != 1.0:
            logits = penalised(logits, seen[-_RECENT:], self.request.repeat_penalty)
        likeliest = int(logits.argmax())
        top = float(logits[likeliest])
        if not math.isfinite(top):
            raise ChainkitError(
                f"the model gave {top} as its best logit; the file is damaged or its settings are wrong"
            )
        if self.request.temperature == 0 or self.request.top_k == 1:
            return likeliest
        if not self.cuts:  # nothing to sort
            return self._drawn(logits)
        candidates, chances = distribution(logits, self.request)
        return int(candidates[self._random.choice(len(candidates), p=chances)])

    @property
    def cuts(self) -> bool:
        """Whether some tokens are no candidates because of how likely others are."""
        settings = self.request
        return settings.temperature > 0 and (settings.top_k > 1 or settings.top_p < 1 or settings.min_p > 0)

    def _drawn(self, logits: Logits) -> int:
        """One of all tokens by its chance: first a block of tokens, then one of the block.

        Single precision is enough for weights, their sum needs more.
        """
        weights = _weights(logits, self.request.temperature)
        reached = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK)), dtype=np.float64)
        drawn = self._random.random() * reached[-1]
        # the first place that holds more than was drawn: never one of no weight
        block = int(np.searchsorted(reached, drawn, side="right"))
        inside = np.cumsum(weights[block * _BLOCK : (block + 1) * _BLOCK], dtype=np.float64)
        before = reached[block - 1] if block else 0.0
        share = (drawn - before) / (reached[block] - before)
        return block * _BLOCK + int(np.searchsorted(inside, share * inside[-1], side="right"))


def distribution(logits: Logits, request: GenerationRequest) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The candidates left by top_k, top_p and min_p, the likeliest first, with their chances after temperature.

    Raises:
        ValueError: The temperature is 0, where there is nothing to draw.
    """
    if request.temperature == 0:
        raise ValueError("temperature 0 leaves one candidate; there is no distribution")
    candidates = _likeliest(logits, request)
    scores = logits[candidates].astype(np.float64)
    if request.min_p > 0:
        candidates = candidates[: max(1, int((scores >= scores[0] + np.log(request.min_p)).sum()))]
        scores = scores[: len(candidates)]
    chances = np.exp((scores - scores[0]) / request.temperature)
    return candidates, chances / chances.sum()


def penalised(logits: Logits, seen: Sequence[int], penalty: float) -> Logits:
    """A copy in which tokens seen before are less likely: positive logits divided, negative ones multiplied.

    After N. S. Keskar et al., "CTRL", 2019, section 4.1.
    """
    result = logits.copy()
    if not seen:
        return result
    tokens = np.unique(np.asarray(seen))
    tokens = tokens[tokens < len(result)]  # those of a soft prompt stand for no text
    values = result[tokens]
    result[tokens] = np.where(values > 0, values / penalty, values * penalty)
    return result


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Natural logarithms of the probabilities, [V]."""
    shifted = logits.astype(np.float64) - float(logits.max())
    return shifted - np.log(np.exp(shifted).sum())


def _likeliest(logits: Logits, request: GenerationRequest) -> NDArray[Any]:
    """What top_k and top_p leave, the likeliest first; of what min_p will not leave, some may be missing."""
    allowed = int(np.count_nonzero(logits > -np.inf))
    count = min(allowed, request.top_k or allowed)
    if request.top_p < 1:
        return _nucleus(logits, _top(logits, count) if request.top_k else None, request.top_p)
    if request.min_p > 0 and not request.top_k:
        return _sorted(logits, np.flatnonzero(logits >= logits.max() + np.log(request.min_p) - _SLACK))
    return _top(logits, count)


def _nucleus(logits: Logits, whole: NDArray[Any] | None, share: float) -> NDArray[Any]:
    """The smallest set of the likeliest tokens that holds `share` of the mass of `whole` (all tokens if None)."""
    everything, top = logits if whole is None else logits[whole], float(logits.max())
    wanted = share * float(_weights(everything, 1.0).sum(dtype=np.float64))
    distance = 8.0  # sorting 128,000 tokens takes milliseconds, so only those that can matter are sorted
    while True:
        near = np.flatnonzero(everything >= top - distance)
        mass = np.exp(everything[near].astype(np.float64) - top)
        if mass.sum() >= wanted or len(near) == np.count_nonzero(everything > -np.inf):
            break
        distance *= 2
    head = _sorted(logits, near if whole is None else whole[near])
    reached = np.cumsum(np.exp(logits[head].astype(np.float64) - top))
    return head[: int(np.searchsorted(reached, wanted)) + 1]


def _weights(logits: Logits, temperature: float) -> Logits:
    """exp of the scores over the temperature, 1 for the likeliest; [V]."""
    weights = logits - logits.max()
    weights *= np.float32(1 / temperature)
    return np.exp(weights, out=weights)


def _top(logits: Logits, count: int) -> NDArray[Any]:
    """The `count` likeliest; of equals at the end, those with the smaller numbers."""
    if count >= len(logits):
        return _sorted(logits, np.arange(len(logits)))
    least = np.partition(logits, len(logits) - count)[len(logits) - count]
    return _sorted(logits, np.flatnonzero(logits >= least))[:count]


def _sorted(logits: Logits, tokens: NDArray[Any]) -> NDArray[Any]:
    """The likeliest first; of equals, the one with the smaller number."""
    return tokens[np.lexsort((tokens, -logits[tokens]))]

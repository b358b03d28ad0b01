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

_REACH = 30.0  # tokens less likely than exp(-30) times the likeliest are never drawn: together less than 1e-7
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
        if self.cuts:
            tokens, _ = distribution(logits, self.request)
        else:
            tokens = np.flatnonzero(logits >= top - _REACH * self.request.temperature)
        return self._drawn(logits, tokens)

    @property
    def cuts(self) -> bool:
        """Whether some tokens are not candidates because of how likely others are."""
        settings = self.request
        return settings.temperature > 0 and (settings.top_k > 1 or settings.top_p < 1 or settings.min_p > 0)

    def _drawn(self, logits: Logits, tokens: NDArray[Any]) -> int:
        """One of these tokens by its chance: the highest of score over temperature, with Gumbel noise added.

        C. J. Maddison et al., "A* Sampling", 2014, section 2. The noise comes from the number of the token and of the
        step, so that scores that differ by a rounding nearly always give the same token.
        """
        noise = _exponential(tokens, int(self._random.integers(1 << 32)))
        scores = logits[tokens] * np.float32(1 / self.request.temperature) - np.log(noise)
        return int(tokens[scores.argmax()])


def _exponential(tokens: NDArray[Any], key: int) -> NDArray[np.float32]:
    """Exponential random numbers, each a function of its token and the key alone.

    The mixing is the last step of A. Appleby's MurmurHash3 (fmix32), on 32 bits.
    """
    mixed = tokens.astype(np.uint32)
    mixed *= np.uint32(0x9E3779B9)
    mixed += np.uint32(key)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    mixed ^= mixed >> np.uint32(16)
    share = mixed.astype(np.float32)
    share += np.float32(0.5)
    share *= np.float32(-(2.0**-32))
    np.maximum(share, np.float32(-1 + 2.0**-24), out=share)  # no rounding to 1, whose logarithm is infinite
    return -np.log1p(share)


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
    """Candidates left by top_k and top_p, the likeliest first; some that min_p would drop may be missing."""
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

"""One token out of logits, by the settings of a `Sampling`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import ChainkitError
from chainkit.base.sampling import Sampling

Logits = NDArray[np.float32]

_HEAD = 1024  # so many of the likeliest tokens usually hold all of top_p; sorting 128,000 takes milliseconds
_RECENT = 256  # tokens that the repeat penalty looks back on


class Sampler:
    """Chooses tokens for one generation; it owns the random numbers.

    The order is that of llama.cpp: repeat penalty, top_k, top_p, min_p, temperature last.
    """

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def pick(self, logits: Logits, seen: Sequence[int] = ()) -> int:
        """The next token.

        Args:
            logits: [V], left as they are; -inf marks a token that is not allowed.
            seen: Tokens before this one; only the repeat penalty looks at them, and at the last 256 only.

        Raises:
            ChainkitError: The model's numbers are not numbers.
        """
        if self.sampling.repeat_penalty != 1.0:
            logits = penalised(logits, seen[-_RECENT:], self.sampling.repeat_penalty)
        likeliest = int(logits.argmax())
        top = float(logits[likeliest])
        if not np.isfinite(top):
            raise ChainkitError(
                f"the model gave {top} as its best logit; the file is damaged or its settings are wrong"
            )
        if self.sampling.temperature == 0 or self.sampling.top_k == 1:
            return likeliest
        candidates, chances = distribution(logits, self.sampling)
        return int(candidates[self._random.choice(len(candidates), p=chances)])


def distribution(logits: Logits, sampling: Sampling) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The candidates left by top_k, top_p and min_p, the likeliest first, with their chances after temperature.

    Raises:
        ValueError: The temperature is 0, where there is nothing to draw.
    """
    if sampling.temperature == 0:
        raise ValueError("temperature 0 leaves one candidate; there is no distribution")
    candidates = _likeliest(logits, sampling)
    scores = logits[candidates].astype(np.float64)
    if sampling.min_p > 0:
        candidates = candidates[: max(1, int((scores >= scores[0] + np.log(sampling.min_p)).sum()))]
        scores = scores[: len(candidates)]
    chances = np.exp((scores - scores[0]) / sampling.temperature)
    return candidates, chances / chances.sum()


def penalised(logits: Logits, seen: Sequence[int], penalty: float) -> Logits:
    """A copy in which tokens seen before are less likely: positive logits divided, negative ones multiplied.

    After N. S. Keskar et al., "CTRL", 2019, section 4.1.
    """
    result = logits.copy()
    if not seen:
        return result
    tokens = np.unique(np.asarray(seen))
    values = result[tokens]
    result[tokens] = np.where(values > 0, values / penalty, values * penalty)
    return result


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Natural logarithms of the probabilities, [V]."""
    shifted = logits.astype(np.float64) - float(logits.max())
    return shifted - np.log(np.exp(shifted).sum())


def _likeliest(logits: Logits, sampling: Sampling) -> NDArray[Any]:
    allowed = int(np.count_nonzero(logits > -np.inf))
    count = min(allowed, sampling.top_k or allowed)
    if sampling.top_p == 1.0:
        return _top(logits, count)
    head = _top(logits, min(count, _HEAD))
    kept = _nucleus(logits, head, _top(logits, count) if sampling.top_k else None, sampling.top_p)
    if kept is None:
        kept = _nucleus(logits, _top(logits, count), None, sampling.top_p)
    assert kept is not None  # all candidates together hold the whole mass
    return kept


def _nucleus(logits: Logits, head: NDArray[Any], whole: NDArray[Any] | None, share: float) -> NDArray[Any] | None:
    """The part of `head` that holds `share` of the mass of `whole` (all tokens if None); None if head is too short."""
    top = float(logits[head[0]])
    mass = np.exp(logits[head].astype(np.float64) - top)
    everything = logits if whole is None else logits[whole]
    reached = np.cumsum(mass) / np.exp(everything.astype(np.float64) - top).sum()
    if reached[-1] < share and len(head) < np.count_nonzero(everything > -np.inf):
        return None
    return head[: int(np.searchsorted(reached, share)) + 1]


def _top(logits: Logits, count: int) -> NDArray[Any]:
    if count >= len(logits):
        chosen = np.arange(len(logits))
    else:
        chosen = np.argpartition(logits, len(logits) - count)[len(logits) - count :]
    return chosen[np.lexsort((chosen, -logits[chosen]))]

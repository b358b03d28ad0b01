"""Counts for Prometheus, in its text format.

Written here, not with a client library: it is four counters, three gauges and a histogram.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metrics:
    """Counters of one server.

    Attributes:
        requests: By path and status.
        tokens: By model and direction, "prompt", "cached" or "completion".
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[str, list[int]] = {}
        self._sums: Counter[str] = Counter()

    def note_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        self.requests[path, status] += 1
        buckets = self._seconds.setdefault(path, [0] * (len(_BOUNDS) + 1))
        buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._sums[path] += seconds  # pyright: ignore[reportArgumentType] - a Counter adds floats as well

    def note_tokens(self, model: str, *, prompt: int, completion: int, cached: int = 0) -> None:
        """Count what an answer has cost."""
        self.tokens[model, "prompt"] += prompt
        self.tokens[model, "completion"] += completion
        self.tokens[model, "cached"] += cached

    def text(self, gauges: dict[str, tuple[str, float]]) -> str:
        """All of it.

        Args:
            gauges: Name to description and current value.
        """
        return "\n".join([*self._lines(gauges), ""])

    def _lines(self, gauges: dict[str, tuple[str, float]]) -> Iterator[str]:
        yield "# HELP chainkit_requests_total Requests that have ended."
        yield "# TYPE chainkit_requests_total counter"
        for (path, status), count in sorted(self.requests.items()):
            yield f'chainkit_requests_total{{path="{_escaped(path)}",status="{status}"}} {count}'
        yield "# HELP chainkit_tokens_total Tokens read, read from the KV cache, and written."
        yield "# TYPE chainkit_tokens_total counter"
        for (model, way), count in sorted(self.tokens.items()):
            yield f'chainkit_tokens_total{{model="{_escaped(model)}",direction="{way}"}} {count}'
        yield "# HELP chainkit_request_seconds How long requests took."
        yield "# TYPE chainkit_request_seconds histogram"
        for path, buckets in sorted(self._seconds.items()):
            yield from self._histogram(path, buckets)
        for name, (meaning, value) in gauges.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            yield f"# HELP chainkit_{name} {meaning}"
            yield f"# TYPE chainkit_{name} {kind}"
            yield f"chainkit_{name} {value:g}"

    def _histogram(self, path: str, buckets: list[int]) -> Iterator[str]:
        where, total = _escaped(path), 0
        for bound, count in zip((*map("{:g}".format, _BOUNDS), "+Inf"), buckets, strict=True):
            total += count
            yield f'chainkit_request_seconds_bucket{{path="{where}",le="{bound}"}} {total}'
        yield f'chainkit_request_seconds_sum{{path="{where}"}} {self._sums[path]:.6f}'
        yield f'chainkit_request_seconds_count{{path="{where}"}} {total}'


def _escaped(text: str) -> str:
    return text.translate(_ESCAPED)

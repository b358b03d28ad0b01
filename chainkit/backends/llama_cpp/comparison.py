"""Runs a model file on one library: its numbers and its speed. `engines` runs this in a child process.

The first library's numbers are the reference, stored in a file; the second's are compared with it, pass width by pass
width, narrow ones first: a crash in native code kills only the child process, and its results until then count.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.backends.llama_cpp.batch import BatchBuffer, BatchRow
from chainkit.backends.llama_cpp.capi import NativeModel
from chainkit.backends.llama_cpp.layouts import FLASH
from chainkit.backends.llama_cpp.libraries import opened
from chainkit.backends.llama_cpp.probe import no_core_file
from chainkit.backends.llama_cpp.vocabulary import LlamaVocabulary

WIDEST = 512
"""Tokens in the widest pass that is compared."""

# width and number of the passes: a kernel may be chosen by the number of tokens
_STEPS = ((1, 12), (8, 3), (16, 2), (31, 1), (32, 1), (64, 1), (128, 1))
_STEPS_LARGE = ((1, 8), (8, 1), (31, 1), (32, 1), (64, 1))
_TOKENS, _TOKENS_LARGE = 328, 160
LARGE = 1 << 30
"""Bytes from which on a file is compared over a shorter text."""
_LONG, _LONG_LARGE = 1536, 320  # tokens by which attention with and without tiles is compared

_TOP = 32  # tokens whose chances are kept; the others count as one
_LOGITS_BYTES = 1 << 27  # of one pass; where the vocabulary is large, only some tokens are compared
_WRITTEN = 16  # tokens that are timed one by one
_WIDTHS, _ROUNDS = (1, 2, 4, 8, 16), 3  # passes that are timed to learn the cost of proposed tokens
_OWN = 3  # steps in which the first library is compared with itself

# Two hundred words that any model of English finds neither trivial nor absurd.
_TEXT = (
    "The harbour lies at the mouth of a small river, and for most of the year the fishing boats leave before sunrise. "
    "In 1854 a storm destroyed the old pier; the town built a new one of stone, which took eleven years and cost more "
    "than anybody had expected. Today visitors come for the museum, where a model of the lighthouse explains how its "
    "lamp was turned by a falling weight, like a clock. Children like the cellar best, because it is cold, dark and "
    "full of ropes. Tickets cost four pounds, and the museum is closed on Mondays. When the wind comes from the west, "
    "the water in the river rises quickly, so the lower street has a wall with three gates. Each gate is closed by "
    "hand: two people lift a heavy board into its frame and press wet sand against it. The work is simple, but it has "
    "to be done in the right order, and nobody may stand on the far side when the last board falls into place. After "
    "the flood the boards are dried, painted and stored under the bridge until the next winter. A list on the wall "
    "says who was on duty in which year; the first name on it is that of a baker, who also kept the key. "
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a child does.

    Attributes:
        path: The model file.
        library: A package or the path of a library.
        reference: The file with the numbers of the first library; it is written if `candidate` is false.
        candidate: Whether the numbers are compared.
        flash: Whether attention is computed in tiles; None leaves it to the library.
        threads: To compute with.
        repack: Whether weights are copied into a faster layout.
        noise: How far the library is from itself with other passes, as the mean divergence; from the first child.
        widest: The widest pass that is right, where that is known; 0: to be found.
    """

    path: str
    library: str
    reference: str
    candidate: bool
    flash: bool | None
    threads: int
    repack: bool
    noise: float = 0.0
    widest: int = 0


@dataclass(frozen=True)
class TopScores:
    """The likeliest next tokens after some tokens of the text.

    Attributes:
        places: After which tokens, [N].
        tokens: The likeliest ones, [N, K]; then the one that really follows.
        logs: Their log-probabilities, [N, K + 1].
    """

    places: NDArray[np.int64]
    tokens: NDArray[np.int64]
    logs: NDArray[np.float64]


class Bench:
    """A model on one library, and a text."""

    def __init__(self, job: Job) -> None:
        self._llama = llama = opened(job.library)
        handle = llama.load(job.path, llama.model_params(n_gpu_layers=0, load_mode=1, use_extra_bufts=job.repack))
        if handle is None:
            raise SystemExit(f"it refuses the file: {llama.last_errors()}")
        self._model, self._job = NativeModel(llama, handle), job
        self._vocabulary = LlamaVocabulary(self._model)
        large = Path(job.path).stat().st_size >= LARGE
        self.steps = _STEPS_LARGE if large else _STEPS
        trained = max(64, llama.llama_model_n_ctx_train(handle))
        self.count = min(_TOKENS_LARGE if large else _TOKENS, trained)
        self.long = min(_LONG_LARGE if large else _LONG, trained)
        text = self._vocabulary.tokenize(_TEXT, whole=True)
        most = max(self.count, self.long) + 2 * _WRITTEN
        self.tokens = (text * (most // len(text) + 1))[:most]
        rows = max(1, _LOGITS_BYTES // (4 * self._vocabulary.size))
        self._every = -(-self.count // rows)
        self._context: Any = None

    def open(self, widest: int, length: int = 0) -> None:
        """Open a context for at most `widest` tokens in a pass, and for a text of `length` or the one to compare."""
        llama, job = self._llama, self._job
        if self._context is not None:
            llama.llama_free(self._context)
        params = llama.context_params(
            n_ctx=(length or self.count) + 2 * _WRITTEN,
            n_batch=WIDEST,
            n_ubatch=widest,
            n_seq_max=2,
            n_threads=job.threads,
            n_threads_batch=job.threads,
            flash_attn_type=FLASH[job.flash],
            kv_unified=1,
        )
        self._context = llama.context(self._model.handle, params)
        if self._context is None:
            raise SystemExit(f"it makes no context: {llama.last_errors()}")
        self._memory = llama.llama_get_memory(self._context)
        self._batch = BatchBuffer(WIDEST, 1, llama.layout.batch)

    def clear(self) -> None:
        """Forget the text."""
        self._llama.llama_memory_clear(self._memory, True)

    def read(self, start: int, end: int, reference: TopScores | None = None, *, numbers: bool = True) -> TopScores:
        """Read tokens in one pass; the likeliest next tokens, or the chances of those of a reference."""
        places = range(start, end) if numbers else range(0)
        wanted = [place for place in places if place % self._every == 0]
        rows = [
            BatchRow(self.tokens[place], place, (0,), wanted=place in wanted or place == end - 1)
            for place in range(start, end)
        ]
        if self._llama.llama_decode(self._context, self._batch.fill_rows(rows)):
            raise SystemExit(f"it cannot compute {end - start} tokens: {self._llama.last_errors()}")
        found = [self._scores(place, place - start, reference) for place in wanted]
        return TopScores(
            np.array(wanted, np.int64),
            np.array([tokens for tokens, _ in found], np.int64),
            np.array([logs for _, logs in found]),
        )

    def _scores(
        self, place: int, row: int, reference: TopScores | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        logits = self._batch.logits(self._llama, self._context, self._vocabulary.size, row)
        logits -= logits.max()
        logs = logits - np.log(np.exp(logits).sum(dtype=np.float64))
        if reference is None:
            tokens = np.argpartition(logs, -_TOP)[-_TOP:]
            tokens = tokens[np.argsort(-logs[tokens], kind="stable")]
        else:
            tokens = reference.tokens[np.searchsorted(reference.places, place)]
        return tokens, logs[[*tokens, self.tokens[place + 1]]]

    def stairs(self, reference: TopScores, most: int | None = None) -> Iterator[tuple[int, TopScores]]:
        """The text in wider and wider passes, `most` steps of them."""
        self.clear()
        start = 0
        for width, passes in self.steps[:most]:
            parts: list[TopScores] = []
            for _ in range(passes):
                if start + width <= self.count:
                    parts.append(self.read(start, start + width, reference))
                    start += width
            if parts:
                yield width, joined(parts)

    def whole(self, reference: TopScores | None = None) -> TopScores:
        """The text in passes as wide as the context allows."""
        self.clear()
        return self.read(0, self.count, reference)

    def reread(self) -> tuple[TopScores, TopScores, dict[str, float]]:
        """Read a long text, forget its second half and read that again, then write.

        Returns:
            The scores near its end, both times; CPU seconds of a token that is read there, and of one that is written.
        """
        last, found, reading = (self.long - 1) // self._every * self._every, list[TopScores](), 0.0
        self.clear()
        for begin in (0, self.long // 2):
            self._llama.llama_memory_seq_rm(self._memory, 0, begin, -1)
            begun = time.process_time()
            for start in range(begin, last, WIDEST):
                self.read(start, min(start + WIDEST, last), numbers=False)
            reading = (time.process_time() - begun) / (last - begin)
            found.append(self.read(last, last + 1))
        return found[0], found[1], {"reading_long": reading, "writing_long": self._written(last + 1)}

    def _written(self, start: int) -> float:
        """CPU seconds of a token that is written; what takes longer than most was disturbed."""
        spent: list[float] = []
        for place in range(start, start + _WRITTEN):
            begun = time.process_time()
            self._llama.llama_decode(self._context, self._batch.fill_one(self.tokens[place], place, 0))
            spent.append(time.process_time() - begun)
        return float(np.quantile(spent, 0.25))

    def speed(self) -> tuple[float, float]:
        """Seconds of CPU for each token of a prompt, and for each one that is written after it.

        The least of several: a busy machine makes some of them twice as long.
        """
        readings: list[float] = []
        for _ in range(_ROUNDS if self.steps is _STEPS else 1):
            self.clear()
            begun = time.process_time()
            self.read(0, self.count, numbers=False)
            readings.append((time.process_time() - begun) / self.count)
        return min(readings), self._written(self.count)

    def costs(self) -> dict[int, float]:
        """CPU seconds of a pass by its number of tokens, all scored, best of three; {} if the text is too short."""
        start, least = self.count - _ROUNDS * sum(_WIDTHS), dict[int, float]()
        if start <= 0:
            return least
        self.clear()
        self.read(0, start, numbers=False)
        for width in _WIDTHS * _ROUNDS:
            rows = [BatchRow(self.tokens[place], place, (0,), wanted=True) for place in range(start, start + width)]
            batch, start = self._batch.fill_rows(rows), start + width
            begun = time.process_time()
            self._llama.llama_decode(self._context, batch)
            spent = time.process_time() - begun
            least[width] = min(spent, least.get(width, spent))
        # what takes longer than a wider pass was disturbed
        return {width: min(least[other] for other in _WIDTHS if other >= width) for width in _WIDTHS}


def joined(parts: Sequence[TopScores]) -> TopScores:
    """Several as one."""
    parts = [part for part in parts if len(part.places)]
    if not parts:
        return TopScores(np.zeros(0, np.int64), np.zeros((0, _TOP), np.int64), np.zeros((0, _TOP + 1)))
    return TopScores(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("places", "tokens", "logs"))
    )


def compared(reference: TopScores, other: TopScores) -> dict[str, float]:
    """How far numbers are from the reference.

    Returns:
        `divergence`: the mean in nats; `agree`: how often the likeliest token is the same; `shift` and `error`: mean
        and standard error of the difference of the log-probability of the text's own next token.
    """
    if not len(other.places):
        return {"divergence": 0.0, "agree": 1.0, "shift": 0.0, "error": 0.0}
    own = reference.logs[np.searchsorted(reference.places, other.places)]
    if not np.isfinite(other.logs).all():
        return {"divergence": float("inf"), "agree": 0.0, "shift": float("inf"), "error": 0.0}
    p, q = _chances(own), _chances(other.logs)
    divergence = (p * np.log(p / q)).sum(1).mean()
    shifts = other.logs[:, -1] - own[:, -1]
    return {
        "divergence": float(divergence),
        "agree": float((other.logs[:, :-1].argmax(1) == 0).mean()),
        "shift": float(shifts.mean()),
        "error": float(shifts.std() / len(shifts) ** 0.5),
    }


def _chances(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    chances = np.exp(logs[:, :-1])
    return np.maximum(np.concatenate([chances, 1 - chances.sum(1, keepdims=True)], 1), 1e-9)


def right(found: dict[str, float], noise: float) -> bool:
    """Whether numbers differ from the reference by rounding alone.

    Args:
        found: See `compared`.
        noise: The mean divergence of the reference from itself, computed in other passes.
    """
    most = max(_ROUNDING, 6 * noise)
    return found["divergence"] <= most and abs(found["shift"]) <= max(_SHIFT, 4 * found["error"])


_ROUNDING = 0.02  # nats; libraries that quantize activations alike differ by 0.004 to 0.01
_SHIFT = 0.005  # of the log-probability: 0.5 % of perplexity


def say(**values: Any) -> None:
    """One line for the parent."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def refer(job: Job) -> None:
    """The reference: its numbers go into the file, its speed and its distance from itself to the parent."""
    bench = Bench(job)
    bench.open(WIDEST)
    scores = bench.whole()
    np.savez(job.reference, places=scores.places, tokens=scores.tokens, logs=scores.logs)
    say(noise=compared(scores, joined([part for _, part in bench.stairs(scores, _OWN)]))["divergence"])
    reading, writing = bench.speed()
    say(reading=reading, writing=writing)
    say(costs=bench.costs())


def compare(job: Job) -> None:
    """The other library: the widest pass that is right, then its speed in such passes."""
    with np.load(job.reference) as kept:
        reference = TopScores(kept["places"], kept["tokens"], kept["logs"])
    bench = Bench(job)
    widest = job.widest or _climbed(bench, reference, job.noise)
    while widest:
        bench.open(widest)
        found = compared(reference, bench.whole(reference))
        good = right(found, job.noise)
        say(width=widest, right=good, whole=True, **found)
        if good:
            break
        widest = max((width for width, _ in bench.steps if width < widest), default=0)
    if widest and _rereads(bench, widest, job.noise):
        bench.open(widest)
        reading, writing = bench.speed()
        say(reading=reading, writing=writing, widest=widest)
        say(costs=bench.costs())


def _rereads(bench: Bench, widest: int, noise: float) -> bool:
    """Whether a long text gives the same numbers when its second half is read again."""
    bench.open(widest, bench.long)
    first, again, seconds = bench.reread()
    found = compared(first, again)
    good = right(found, noise)
    say(width=bench.long, right=good, again=True, **found, **seconds)
    return good


def _climbed(bench: Bench, reference: TopScores, noise: float) -> int:
    """The widest pass up to which all are right."""
    bench.open(WIDEST)
    widest = 0
    for width, scores in bench.stairs(reference):
        found = compared(reference, scores)
        good = right(found, noise)
        say(width=width, right=good, **found)
        if not good:
            return widest
        widest = width
    return WIDEST


def main(text: str) -> int:
    """Run a job given as JSON and print the results to stdout, one JSON object a line."""
    no_core_file()
    job = Job(**json.loads(text))
    (compare if job.candidate else refer)(job)
    return 0


def as_argument(job: Job) -> str:
    """A job as `main` takes it."""
    return json.dumps(asdict(job))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

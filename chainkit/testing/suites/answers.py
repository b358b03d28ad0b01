"""However a model is asked, it answers the same, and stops where it should."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chainkit.testing.suites.model import (
    Model,
    ModelTests,
    Recorder,
    Way,
    every_stream,
    every_way,
    invoke,
    stream,
    text_of,
    usage_of,
)


class AnswerTests(ModelTests):
    """The same answer by every way, alone, in batches and in threads."""

    @every_way
    def test_there_is_an_answer(self, model: Model, way: Way) -> None:
        """Every way gives text."""
        assert "".join(way(model, self.prompt)).strip(), f"{way.__name__} gave no text"

    @every_way
    def test_every_way_gives_the_same_answer(self, model: Model, way: Way) -> None:
        """`ainvoke`, `stream` and `astream` give what `invoke` gives."""
        self._comparable()
        assert "".join(way(model, self.prompt)) == "".join(invoke(model, self.prompt))

    @every_stream
    def test_a_stream_comes_in_pieces(self, model: Model, way: Way) -> None:
        """Text is given as it comes and not at the end."""
        assert sum(map(bool, way(model, self.prompt))) > 1, "the whole answer came as one piece"

    def test_a_batch_gives_what_single_calls_give_in_their_order(self, model: Model) -> None:
        """`batch` and `abatch` equal single calls."""
        self._comparable()
        single = [text_of(model.invoke(prompt)) for prompt in self.prompts]
        assert len(set(single)) > 1, "prompts needs prompts with different answers"
        assert [text_of(answer) for answer in model.batch([*self.prompts])] == single
        abatched = asyncio.run(_abatch(model, self.prompts))
        assert [text_of(answer) for answer in abatched] == single

    def test_an_empty_batch_is_empty(self, model: Model) -> None:
        """No prompts, no answers, no error."""
        assert model.batch([]) == []
        assert asyncio.run(_abatch(model, [])) == []

    def test_threads_do_not_mix_up_answers(self, model: Model) -> None:
        """Calls and streams from eight threads at once give what they give alone."""
        self._comparable()
        prompts = self.prompts * 3
        single = ["".join(invoke(model, prompt)) for prompt in self.prompts] * 3
        with ThreadPoolExecutor(8) as pool:
            called = list(pool.map(lambda prompt: "".join(invoke(model, prompt)), prompts))
            streamed = list(pool.map(lambda prompt: "".join(stream(model, prompt)), prompts))
        assert called == single, "calls from several threads were mixed up"
        assert streamed == single, "streams from several threads were mixed up"

    def test_tasks_do_not_mix_up_answers(self, model: Model) -> None:
        """Streams of one event loop give what they give alone."""
        self._comparable()
        single = ["".join(invoke(model, prompt)) for prompt in self.prompts]

        async def one(prompt: str) -> str:
            return "".join([text_of(piece) async for piece in model.astream(prompt)])

        async def every() -> list[str]:
            return list(await asyncio.gather(*map(one, self.prompts)))

        assert asyncio.run(every()) == single

    def _comparable(self) -> None:
        if not self.deterministic:
            pytest.skip("answers differ each time (deterministic is False)")


class StopTests(ModelTests):
    """A stop text ends the answer before it, wherever it falls."""

    @every_way
    def test_an_answer_ends_before_a_stop_inside_a_piece(self, model: Model, way: Way) -> None:
        """The stop text and what follows are not part of the answer."""
        pieces = self._pieces(model)
        words = [piece.strip() for piece in pieces if piece.strip()]
        word = next((word for word in words[1:] if len(word) > 1), words[-1])
        self._ends_before(way, model, [word])

    @every_way
    def test_an_answer_ends_before_a_stop_across_pieces(self, model: Model, way: Way) -> None:
        """No part of a stop text that comes in two pieces is given away."""
        pieces = self._pieces(model)
        middle = len(pieces) // 2
        self._ends_before(way, model, [pieces[middle - 1][-2:] + pieces[middle][:2]])

    @every_way
    def test_the_stop_that_comes_first_counts(self, model: Model, way: Way) -> None:
        """Of several, the one that is found first in the text."""
        pieces = self._pieces(model)
        words = [piece.strip() for piece in pieces if piece.strip()]
        early, late = words[len(words) // 3], words[-1]
        self._ends_before(way, model, [late, early])

    @every_way
    def test_a_stop_that_never_comes_changes_nothing(self, model: Model, way: Way) -> None:
        """Text that looked like the beginning of a stop is given after all."""
        text = "".join(self._pieces(model))
        assert "".join(way(model, self.prompt, stop=[text[-2:] + "\u0001"])) == text

    def _pieces(self, model: Model) -> list[str]:
        if not self.deterministic:
            pytest.skip("answers differ each time (deterministic is False)")
        pieces = [piece for piece in stream(model, self.prompt) if piece]
        if len(pieces) < 3:
            pytest.fail(f"the answer to prompt has {len(pieces)} pieces; choose a prompt with a longer one")
        return pieces

    def _ends_before(self, way: Way, model: Model, stops: list[str]) -> None:
        whole = "".join(invoke(model, self.prompt))
        found = [whole.index(text) for text in stops if text in whole]
        assert found, f"the answer changed: {stops} is not part of {whole!r}"
        got = "".join(way(model, self.prompt, stop=stops))
        assert got == whole[: min(found)], f"stop={stops}: {got!r} is not {whole!r} up to the stop"


class UsageTests(ModelTests):
    """Tokens are counted, the same by every way."""

    @every_way
    def test_tokens_are_counted_by_every_way(self, model: Model, way: Way) -> None:
        """Each way tells the tokens read and written, and their sum."""
        usage = self._usage(way, model, self.prompt)
        assert usage, f"{way.__name__} reported no token counts"
        assert usage["input_tokens"] > 0
        assert usage["output_tokens"] > 0
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]

    @every_way
    def test_every_way_counts_the_same(self, model: Model, way: Way) -> None:
        """A stream costs what a call costs."""
        if not self.deterministic:
            pytest.skip("answers differ each time (deterministic is False)")
        assert self._usage(way, model, self.prompt) == self._usage(invoke, model, self.prompt)

    def test_a_longer_prompt_counts_more(self, model: Model) -> None:
        """The counts are of this prompt, not a constant."""
        short, long = (self._usage(invoke, model, text) for text in (self.prompt, f"{self.prompt} " * 3))
        assert long["input_tokens"] > short["input_tokens"]

    def _usage(self, way: Way, model: Model, prompt: str) -> dict[str, int]:
        if not self.counts_tokens:
            pytest.skip("the model tells no token counts (counts_tokens is False)")
        recorder = Recorder()
        way(model, prompt, config={"callbacks": [recorder]})
        return usage_of(recorder.result)


async def _abatch(model: Model, prompts: list[str]) -> list[Any]:
    return await model.abatch([*prompts])

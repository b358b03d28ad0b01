"""Suites for models that continue text: `BaseLLM`. langchain-tests has none."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseLLM
from langchain_core.messages import HumanMessage
from langchain_core.outputs import LLMResult

from chainkit.testing.suites.answers import AnswerTests, StopTests, UsageTests
from chainkit.testing.suites.conduct import BreakTests, CancelTests, EventTests, LoopTests
from chainkit.testing.suites.making import MakingTests, SecretTests
from chainkit.testing.suites.model import Model, Recorder, text_of


class LLMUnitTests(MakingTests, SecretTests):
    """What a `BaseLLM` promises before it is asked anything; needs no service and no weights if making one does not."""

    def test_it_is_a_model_that_continues_text(self, model: Model) -> None:
        """It is a `BaseLLM`, and traces hear so."""
        assert isinstance(model, BaseLLM)
        assert model._get_ls_params().get("ls_model_type") == "llm"


class LLMIntegrationTests(AnswerTests, StopTests, UsageTests, LoopTests, CancelTests, BreakTests, EventTests):
    """What a `BaseLLM` promises when it is asked."""

    def test_answers_are_text(self, model: Model) -> None:
        """Text, also for messages."""
        assert isinstance(model.invoke(self.prompt), str)
        assert isinstance(model.invoke([HumanMessage(self.prompt)]), str)

    def test_generate_answers_each_prompt_in_order(self, model: Model) -> None:
        """As many lists of generations as prompts, each with what `invoke` gives."""
        result = cast("BaseLLM", model).generate(self.prompts)
        assert isinstance(result, LLMResult)
        texts = [generations[0].text for generations in result.generations]
        assert len(texts) == len(self.prompts)
        if self.deterministic:
            assert texts == [text_of(model.invoke(prompt)) for prompt in self.prompts]

    def test_a_cache_answers_the_same_prompt_and_no_other(self) -> None:
        """An answer is kept for this prompt and these settings, and stop texts are settings."""
        cache = _Counting()
        model = self.make(cache=cache)
        first = model.invoke(self.prompt)
        assert model.invoke(self.prompt) == first
        assert (cache.found, cache.kept) == (1, 1), "the same call again was not answered from the cache"
        model.invoke(self.prompt, stop=[text_of(first)[2:4]])
        assert (cache.found, cache.kept) == (1, 2), "a call with another stop was answered from the cache"
        recorder = Recorder()
        model.invoke(self.prompt, config={"callbacks": [recorder]})
        assert cache.kept == 2


class _Counting(InMemoryCache):
    def __init__(self) -> None:
        super().__init__()
        self.found = self.kept = 0

    def lookup(self, prompt: str, llm_string: str) -> Any:
        answer = super().lookup(prompt, llm_string)
        self.found += answer is not None
        return answer

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.kept += 1
        super().update(prompt, llm_string, return_val)

"""What a suite has to know about a model, and the ways in which a model is asked."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseLanguageModel
from langchain_core.outputs import LLMResult

Model: TypeAlias = BaseLanguageModel[Any]
Way: TypeAlias = Callable[..., list[str]]

PATIENCE_SECONDS = 30.0


class ModelTests(ABC):
    """What every suite asks of the test class; the rest of the hooks may be left as they are.

    >>> class TestMine(LLMIntegrationTests):  # doctest: +SKIP
    ...     model_class = MyLLM
    ...     model_params = {"model": "small", "temperature": 0}
    """

    @property
    @abstractmethod
    def model_class(self) -> type[Model]:
        """The class under test; a class attribute does as well."""

    @property
    def model_params(self) -> dict[str, Any]:
        """What the model is made with; it should make the same prompt get the same answer."""
        return {}

    @property
    def prompt(self) -> str:
        """A prompt whose answer comes in four pieces or more when it is streamed."""
        return "count to 12 in digits, separated by spaces"

    @property
    def prompts(self) -> list[str]:
        """Different prompts with different answers, to see that none are mixed up."""
        return [f"count to {number} in digits, separated by spaces" for number in range(3, 9)]

    @property
    def deterministic(self) -> bool:
        """Whether the same prompt gets the same answer; else answers are not compared."""
        return True

    @property
    def counts_tokens(self) -> bool:
        """Whether the model tells how many tokens it read and wrote."""
        return True

    @property
    def has_tokenizer(self) -> bool:
        """Whether the model can count the tokens of a text without being asked."""
        return True

    @property
    def secrets(self) -> dict[str, str]:
        """Parameters that are secret, with values to try, such as `{"api_key": "sk-0123456789abcdef"}`."""
        return {}

    def slow_model(self) -> Model:
        """A model whose next answer takes 0.3 s or more, for what must not block meanwhile."""
        return self.make()

    def waiting_model(self) -> Model:
        """A model whose next stream gives some text and then nothing for a while, to be left in the middle."""
        return self.make()

    def broken_model(self) -> Model | None:
        """A model whose next stream breaks off after some text; None if that cannot be brought about."""
        return None

    def open_calls(self) -> int | None:
        """How many calls the other end, or the model itself, is busy with; None if nobody knows."""
        return None

    def partial_of(self, error: BaseException) -> str | None:
        """The text that had arrived before a stream broke, as the error tells it."""
        return getattr(error, "partial", None)

    def make(self, **changes: Any) -> Model:
        """A model with `model_params`, some of them changed."""
        return self.model_class(**{**self.model_params, **changes})

    @pytest.fixture
    def model(self) -> Model:
        """The model under test."""
        return self.make()


class Recorder(BaseCallbackHandler):
    """Keeps every event of models.

    Attributes:
        events: Name, id of the run, and what came with it.
        result: What the last run ended with.
    """

    run_inline = True

    def __init__(self) -> None:
        self.events: list[tuple[str, UUID, Any]] = []
        self.result: LLMResult | None = None

    @property
    def names(self) -> list[str]:
        """The names of the events without the tokens."""
        return [name for name, _, _ in self.events if name != "token"]

    @property
    def tokens(self) -> list[str]:
        """The pieces of text that were reported one by one."""
        return [piece for name, _, piece in self.events if name == "token"]

    def on_llm_start(self, serialized: Any, prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        """Keep it."""
        self.events.append(("start", run_id, kwargs))

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep it."""
        self.events.append(("start", run_id, kwargs))

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep it."""
        self.events.append(("token", run_id, str(token)))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep it."""
        self.result = response
        self.events.append(("end", run_id, response))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep it."""
        self.events.append(("error", run_id, error))


def text_of(answer: Any) -> str:
    """The text of an answer: of a message, of a chunk, or the answer itself."""
    return answer if isinstance(answer, str) else str(answer.text)


def invoke(model: Model, prompt: str, **options: Any) -> list[str]:
    """The answer as one piece."""
    return [text_of(model.invoke(prompt, **options))]


def stream(model: Model, prompt: str, **options: Any) -> list[str]:
    """The answer in pieces."""
    return [text_of(piece) for piece in model.stream(prompt, **options)]


def ainvoke(model: Model, prompt: str, **options: Any) -> list[str]:
    """The answer as one piece, asked in a new event loop."""
    return [text_of(asyncio.run(_awaited(model, prompt, options)))]


def astream(model: Model, prompt: str, **options: Any) -> list[str]:
    """The answer in pieces, asked in a new event loop."""

    async def collect() -> list[str]:
        return [text_of(piece) async for piece in model.astream(prompt, **options)]

    return asyncio.run(collect())


async def _awaited(model: Model, prompt: str, options: Mapping[str, Any]) -> Any:
    return await model.ainvoke(prompt, **options)


WAYS: Sequence[Way] = (invoke, ainvoke, stream, astream)
STREAMS: Sequence[Way] = (stream, astream)

every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
every_stream = pytest.mark.parametrize("way", STREAMS, ids=lambda way: way.__name__)


def usage_of(result: LLMResult | None) -> dict[str, int]:
    """Tokens read, written and in total, from the end of a run; empty if it does not tell."""
    if result is None or not result.generations or not result.generations[0]:
        return {}
    first = result.generations[0][0]
    message = getattr(first, "message", None)
    reported: Any = getattr(message, "usage_metadata", None) or (first.generation_info or {}).get("usage_metadata")
    if reported:
        return {name: reported[name] for name in ("input_tokens", "output_tokens", "total_tokens")}
    places: Iterable[Any] = (result.llm_output, first.generation_info)
    for place in places:
        if counts := (place or {}).get("token_usage"):
            names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
            found = {name: counts[other] for name, other in names.items()}
            return {**found, "total_tokens": counts.get("total_tokens", sum(found.values()))}
    return {}

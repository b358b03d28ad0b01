"""The classes of decision models as langchain-core 1.8 has them, for those before it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig, RunnableSerializable
from pydantic import BaseModel, ConfigDict, Field


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid")

    instructions: Any


class NoulCriteria(BaseModel):
    """What counts as yes and as no."""

    true: Any = None
    false: Any = None


class Noul(_Question):
    """A question that is answered by yes or no."""

    type: Literal["noul"] = "noul"
    criteria: NoulCriteria | None = None


class ChoiceQuestion(_Question):
    """A question that one of several labels answers."""

    type: Literal["choice"] = "choice"
    criteria: dict[str, Any] = Field(min_length=1)


class ScoreQuestion(_Question):
    """A question that a level answers."""

    type: Literal["score"] = "score"
    criteria: list[Any] = Field(min_length=2)


Choice, Score = ChoiceQuestion, ScoreQuestion
"""As langchain-core names them."""


class NoulAnswer(BaseModel):
    """The probability of yes."""

    type: Literal["noul"]
    noul: float = Field(ge=0, le=1)


class ChoiceAnswer(BaseModel):
    """The likeliest label and the probabilities of all."""

    type: Literal["choice"]
    choice: str
    probabilities: dict[str, float]
    confidence: float = Field(ge=0, le=1)


class ScoreAnswer(BaseModel):
    """The expected level and the probabilities of all."""

    type: Literal["score"]
    score: float
    legend: dict[int, Any]
    probabilities: dict[int, float]
    confidence: float = Field(ge=0, le=1)


class ClassifierResponse(BaseModel):
    """The answers by the names of their questions."""

    model: str
    answers: dict[str, NoulAnswer | ChoiceAnswer | ScoreAnswer]
    usage: dict[str, Any] | None = None
    request_id: str | None = None

    @property
    def nouls(self) -> dict[str, NoulAnswer]:
        """Answers to yes-or-no questions."""
        return {name: one for name, one in self.answers.items() if isinstance(one, NoulAnswer)}

    @property
    def choices(self) -> dict[str, ChoiceAnswer]:
        """Answers to questions with labels."""
        return {name: one for name, one in self.answers.items() if isinstance(one, ChoiceAnswer)}

    @property
    def scores(self) -> dict[str, ScoreAnswer]:
        """Answers to questions with levels."""
        return {name: one for name, one in self.answers.items() if isinstance(one, ScoreAnswer)}


class BaseDecisionModel(RunnableSerializable[Any, ClassifierResponse]):
    """Answers typed questions about a text."""

    model: str

    @abstractmethod
    def _classify(self, state: Any, questions: dict[str, Any]) -> ClassifierResponse:
        """Answer one request."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> ClassifierResponse:  # noqa: A002
        """Answer the questions of `{"state": ..., "questions": {...}}`."""
        return self._call_with_config(
            lambda request: self._classify(request["state"], dict(request["questions"])), input, config, run_type="llm"
        )

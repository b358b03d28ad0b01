"""Decision models: many typed questions about one text, answered by any model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from pydantic import ConfigDict, Field, PrivateAttr

from chainkit.base import opening
from chainkit.base.hiding import hides_given_keys
from chainkit.decisions import hosted, local
from chainkit.decisions.calibration import Calibration, Method, Reliability, reliability, softmax
from chainkit.decisions.questions import (
    AskedQuestion,
    BaseDecisionModel,
    ClassifierResponse,
    answer_of,
    options_of,
    place_of,
    state_text,
)
from chainkit.local.chat import LocalChat
from chainkit.local.completion import LocalLLM

Example = tuple[Any, Mapping[str, Any]]
_AT_ONCE = 16  # texts of a batch that are read at once


class DecisionModel(BaseDecisionModel):
    """Answers typed questions about a text, with a probability for each option.

    A local model scores the options themselves, so that its answers are always among them; the text is read once for
    all questions, and the questions once for all texts. A service is asked for log-probabilities, one call for each
    question, or, where it has none, for answers with its stated confidence, one call for all.

    Attributes:
        model: The name of the model.
        calibrations: By name of a question what makes its scores probabilities; see `calibrate`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: str
    calibrations: dict[str, Calibration] = Field(default_factory=dict)
    _answering: Any = PrivateAttr(default=None)

    @property
    def answering(self) -> Any:
        """The chat model or text model that answers."""
        return self._answering

    @property
    def _provider(self) -> str:
        return self.model.partition(":")[0]

    def scores(self, states: Sequence[Any], questions: Mapping[str, Any]) -> list[dict[str, list[float]]]:
        """For each state the log-probabilities of each question's options, before any calibration."""
        asked = {name: options_of(question) for name, question in questions.items()}
        return [scores for scores, _ in self._scored([state_text(state) for state in states], asked)]

    def calibrate(
        self, examples: Iterable[Example], questions: Mapping[str, Any], *, method: Method = "auto"
    ) -> tuple[Self, dict[str, Reliability]]:
        """A model whose probabilities are fitted to labelled examples, and how reliable they are on these.

        Args:
            examples: Pairs of a state and the right answers by question: true or false, a label, a level. A question
                may be missing in some.
            questions: All questions.
            method: See `Calibration`.

        Raises:
            ValueError: There are no examples, or an answer is none of a question's options.
        """
        pairs = list(examples)
        if not pairs:
            raise ValueError("calibration needs labelled examples, and there are none")
        fitted, reports = dict(self.calibrations), dict[str, Reliability]()
        for name, (rows, right) in self._labelled(pairs, questions).items():
            fitted[name] = Calibration.fit(rows, right, method)
            reports[name] = reliability([fitted[name].probabilities(row) for row in rows], right)
        return self._with(fitted), reports

    def report(self, examples: Iterable[Example], questions: Mapping[str, Any]) -> dict[str, Reliability]:
        """How reliable the probabilities are on labelled examples that nothing was fitted to."""
        labelled = self._labelled(list(examples), questions)
        return {
            name: reliability([self._probabilities(name, row) for row in rows], right)
            for name, (rows, right) in labelled.items()
        }

    def _labelled(
        self, pairs: Sequence[Example], questions: Mapping[str, Any]
    ) -> dict[str, tuple[list[list[float]], list[int]]]:
        """For each question the scores of its examples, and which options are right."""
        scores = self.scores([state for state, _ in pairs], questions)
        found: dict[str, tuple[list[list[float]], list[int]]] = {}
        for row, (_, answers) in zip(scores, pairs, strict=True):
            for name in answers.keys() & questions.keys():
                rows, right = found.setdefault(name, ([], []))
                rows.append(row[name])
                right.append(place_of(questions[name], answers[name]))
        return found

    def save(self, path: str | Path) -> None:
        """Keep the calibrations in a JSON file."""
        kept = {name: one.model_dump() for name, one in self.calibrations.items()}
        Path(path).write_text(json.dumps(kept, indent=1), encoding="utf-8")

    def load(self, path: str | Path) -> Self:
        """This model with the calibrations of a file that `save` made.

        Raises:
            ValueError: The file holds something else.
        """
        kept = json.loads(Path(path).read_text(encoding="utf-8"))
        return self._with({name: Calibration.model_validate(one) for name, one in kept.items()})

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer several requests; a local model reads the texts of those with the same questions side by side."""
        same = inputs and all(request["questions"] == inputs[0]["questions"] for request in inputs[1:])
        if not same or return_exceptions or config is not None or not self._is_local:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        questions = dict(inputs[0]["questions"])
        asked = {name: options_of(question) for name, question in questions.items()}
        found = self._scored([state_text(request["state"]) for request in inputs], asked)
        return [self._response(questions, scores, tokens) for scores, tokens in found]

    def _classify(self, state: Any, questions: dict[str, Any]) -> ClassifierResponse:
        asked = {name: options_of(question) for name, question in questions.items()}
        ((scores, tokens),) = self._scored([state_text(state)], asked)
        return self._response(questions, scores, tokens)

    @property
    def _is_local(self) -> bool:
        return isinstance(self._answering, LocalChat | LocalLLM)

    def _scored(
        self, texts: Sequence[str], asked: Mapping[str, AskedQuestion]
    ) -> list[tuple[dict[str, list[float]], int]]:
        if not asked:
            raise ValueError("there are no questions")
        if self._is_local:
            return [
                one
                for start in range(0, len(texts), _AT_ONCE)
                for one in local.scored(self._answering, texts[start : start + _AT_ONCE], asked)
            ]
        return [(self._of_service(text, asked), 0) for text in texts]

    def _of_service(self, text: str, asked: Mapping[str, AskedQuestion]) -> dict[str, list[float]]:
        if "logprobs" not in getattr(type(self._answering), "model_fields", {}):
            return hosted.by_form(self._answering, text, asked)
        found = {name: hosted.by_letters(self._answering, text, name, options) for name, options in asked.items()}
        missing = {name: asked[name] for name, scores in found.items() if scores is None}
        stated = hosted.by_form(self._answering, text, missing) if missing else {}
        return {name: stated[name] if scores is None else scores for name, scores in found.items()}

    def _response(
        self, questions: Mapping[str, Any], scores: Mapping[str, list[float]], tokens: int
    ) -> ClassifierResponse:
        answers = {
            name: answer_of(question, self._probabilities(name, scores[name])) for name, question in questions.items()
        }
        usage: Any = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens} if tokens else None
        return ClassifierResponse(model=self.model, answers=answers, usage=usage)

    def _probabilities(self, name: str, scores: Sequence[float]) -> list[float]:
        known = self.calibrations.get(name)
        if known is not None and len(known.offsets or known.steps) in (0, len(scores)):
            return known.probabilities(scores)
        import numpy as np

        return softmax(np.asarray([scores], dtype=np.float64))[0].tolist()

    def _with(self, calibrations: dict[str, Calibration]) -> Self:
        made = self.model_copy(update={"calibrations": calibrations})
        made._answering = self._answering
        return made


@hides_given_keys
def decision_model(model: Any, *, calibration: str | Path | None = None) -> DecisionModel:
    """A model that answers typed questions about a text: a probability for yes, a label, a score.

    Args:
        model: A spec as of `chat_model`, or a chat model or text model.
        calibration: A file that `DecisionModel.save` made.

    Raises:
        SpecError: The spec cannot be understood.

    >>> import chainkit
    >>> said = '{"urgent": {"answer": "yes", "probability": 0.9}}'
    >>> decides = chainkit.decision_model(f"fake:?reply={said}")
    >>> urgent = chainkit.decisions.yes_no("Does it have to be answered today?")
    >>> found = decides.invoke({"state": "Help, now!", "questions": {"urgent": urgent}})
    >>> round(found.nouls["urgent"].noul, 3)
    0.9
    """
    answering: Any = opening.answering(model)
    name = model if isinstance(model, str) else str(getattr(answering, "model", type(answering).__name__))
    made = DecisionModel(model=name)
    made._answering = answering
    return made if calibration is None else made.load(calibration)

"""Show the prompts that a chain would send, without calling any model."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import BaseLLMOutputParser
from langchain_core.prompt_values import PromptValue, StringPromptValue
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnablePick,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.passthrough import RunnableAssign

Step: TypeAlias = Any


@dataclass(frozen=True)
class Explained:
    """One step of an explanation.

    Attributes:
        path: Its position: `2`, or `1.context` in a dictionary of steps.
        kind: `prompt`, `model`, `function`, `parser`, `branch` or `step`.
        name: Its name in traces.
        messages: For a prompt, and for a model: the messages sent, as (role, content) pairs; plain text has the role
            `text`. The unknown answer of a model appears as `<answer of step 2>`.
        settings: For a model: what is bound to the call, such as `stop` or `tools`.
        note: What is unknown, and why.
        text: For a local chat model: the prompt that its chat template makes of the messages.
    """

    path: str
    kind: str
    name: str
    messages: tuple[tuple[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    note: str = ""
    text: str = ""

    def __str__(self) -> str:
        lines = [f"{self.path}. {self.kind} {self.name}" + (f": {self.note}" if self.note else "")]
        if self.settings:
            lines.append("   settings: " + ", ".join(f"{name}={value!r}" for name, value in self.settings.items()))
        for role, content in self.messages:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
            lines.append(f"   [{role}]")
            lines.extend(f"   {line}" for line in text.splitlines())
        if self.text:
            lines.append("   [as the model reads it]")
            lines.extend(f"   {line}" for line in self.text.splitlines())
        return "\n".join(lines)


@dataclass(frozen=True)
class Explanation:
    """The input of each step of a chain; `str()` of it is readable.

    Attributes:
        steps: In the order in which they would run.
    """

    steps: tuple[Explained, ...]

    @property
    def prompts(self) -> tuple[tuple[tuple[str, Any], ...], ...]:
        """The prompt of each model, as (role, content) pairs."""
        return tuple(step.messages for step in self.steps if step.kind == "model")

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


class Unknown(str):
    """Stands in a prompt for what a model has yet to say."""


def explain(chain: Step, inputs: Any) -> Explanation:
    """What each step of a chain would be given for these inputs, without calling a model.

    Functions and retrievers that come before the first model are run, because the prompt depends on them; a model
    inside a function is stopped before it is asked.

    Raises:
        KeyError: The inputs lack a variable of a prompt.
    """
    walk = _Walk()
    walk.step(chain, inputs, "")
    return Explanation(tuple(walk.steps))


class _ModelAsked(BaseException):
    """A function is about to ask a model. No Exception, so that no fallback or retry takes it for a failure."""


class _Guard(BaseCallbackHandler):
    """Stops a model before it is asked."""

    raise_error = True
    run_inline = True

    def on_chat_model_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        raise _ModelAsked

    def on_llm_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        raise _ModelAsked


class _Walk:
    """Follows the steps as a run would, and records them."""

    def __init__(self) -> None:
        self.steps: list[Explained] = []

    def step(self, step: Step, value: Any, path: str) -> Any:  # noqa: C901 - a table of kinds
        """What the step would give; `Unknown` if only a model could say."""
        match step:
            case RunnableSequence():
                return self._line(cast("Any", step), value, path)
            case RunnableParallel():
                return self._each(cast("Any", step).steps__, value, path)
            case RunnableAssign():
                added = self._each(cast("Any", step).mapper.steps__, value, path)
                return {**cast("Any", value), **added} if isinstance(value, Mapping) else added
            case RunnableBindingBase():
                return self._bound(step, value, path)
            case RunnableWithFallbacks():
                return self._fallbacks(step, value, path)
            case RunnableBranch():
                return self._branch(step, value, path)
            case BasePromptTemplate():
                return self._prompt(cast("Any", step), value, path)
            case BaseLanguageModel():
                return self._model(cast("Any", step), value, path, {})
            case BaseLLMOutputParser():
                self._note(path, "parser", step)
                return self._unknown(path) if _depends(value) else self._run(step, value, path, "parser")
            case RunnablePassthrough() | RunnablePick():
                return value if _depends(value) and isinstance(value, Unknown) else _quietly(step, value)
            case RunnableLambda():
                return self._run(step, value, path, "function")
            case _:
                return self._run(step, value, path, "step")

    def _line(self, step: Step, value: Any, path: str) -> Any:
        for number, part in enumerate(step.steps, 1):
            value = self.step(part, value, f"{path}.{number}" if path else str(number))
        return value

    def _each(self, steps: Mapping[str, Step], value: Any, path: str) -> dict[str, Any]:
        return {key: self.step(part, value, f"{path}.{key}" if path else key) for key, part in steps.items()}

    def _bound(self, step: Step, value: Any, path: str) -> Any:
        settings: dict[str, Any] = {}
        while isinstance(step, RunnableBindingBase):
            settings = {**cast("Any", step).kwargs, **settings}
            step = cast("Any", step).bound
        if isinstance(step, BaseLanguageModel):
            return self._model(cast("Any", step), value, path, settings)
        return self.step(step, value, path)

    def _fallbacks(self, step: Step, value: Any, path: str) -> Any:
        others = ", ".join(_name(other) for other in step.fallbacks)
        self._note(path, "branch", step, f"if {_name(step.runnable)} fails, the same goes to {others}")
        return self.step(step.runnable, value, path)

    def _branch(self, step: Step, value: Any, path: str) -> Any:
        ways = [_name(way) for _, way in step.branches] + [_name(step.default)]
        if _depends(value):
            self._note(path, "branch", step, f"which of {', '.join(ways)} runs depends on an answer")
            return self._unknown(path)
        for condition, way in step.branches:
            chosen = self._run(condition, value, path, "function")
            if isinstance(chosen, Unknown):
                return chosen
            if chosen:
                return self.step(way, value, path)
        return self.step(step.default, value, path)

    def _prompt(self, step: Step, value: Any, path: str) -> Any:
        if isinstance(value, Unknown):
            value = dict.fromkeys(step.input_variables, value)
        prompt = _quietly(step, value)
        note = "<...> is known when the model has answered" if _depends(value) else ""
        self._note(path, "prompt", step, note, messages=_messages(prompt))
        return prompt

    def _model(self, step: Step, value: Any, path: str, settings: Mapping[str, Any]) -> Unknown:
        shown = {name: setting for name, setting in settings.items() if not name.endswith("structured_output_format")}
        if isinstance(value, Unknown):
            self._note(
                path,
                "model",
                step,
                f"is sent {value}",
                (("human" if isinstance(step, BaseChatModel) else "text", str(value)),),
                shown,
            )
        else:
            given = value if isinstance(value, PromptValue) else step._convert_input(value)
            messages = _spoken(given) if isinstance(step, BaseChatModel) else (("text", given.to_string()),)
            self._note(path, "model", step, "", messages, shown, _as_read(step, given))
        return Unknown(f"<answer of step {path or '1'}>")

    def _run(self, step: Step, value: Any, path: str, kind: str) -> Any:
        if _depends(value):
            self._note(path, kind, step, "waits for a model's answer")
            return self._unknown(path)
        try:
            result = step.invoke(value, {"callbacks": [_Guard()]})
        except _ModelAsked:
            self._note(path, kind, step, "calls another model; its result is unknown")
            return self._unknown(path)
        if kind != "parser":
            self._note(path, kind, step)
        return result

    def _unknown(self, path: str) -> Unknown:
        return Unknown(f"<result of step {path or '1'}>")

    def _note(
        self,
        path: str,
        kind: str,
        step: Step,
        note: str = "",
        messages: tuple[tuple[str, Any], ...] = (),
        settings: Mapping[str, Any] | None = None,
        text: str = "",
    ) -> None:
        self.steps.append(Explained(path or "1", kind, _name(step), messages, settings or {}, note, text))


def _as_read(step: Any, given: PromptValue) -> str:
    """What the template of a local chat model makes of messages; loads the model, and asks it nothing."""
    local = isinstance(step, BaseChatModel) and getattr(step, "has_template", False)
    written: Any = getattr(step, "prompt_text", None) if local else None
    return written(given.to_messages()) if written is not None else ""


def _name(step: Step) -> str:
    return step.get_name() if isinstance(step, Runnable) else type(step).__name__


def _quietly(step: Step, value: Any) -> Any:
    return step.invoke(value, {"callbacks": []})


def _depends(value: Any) -> bool:
    """Whether a value holds what only a model could say."""
    return any(True for _ in _unknowns(value))


def _unknowns(value: Any) -> Iterator[Unknown]:
    match value:
        case Unknown():
            yield value
        case str():
            return
        case Mapping():
            for part in cast("Mapping[Any, Any]", value).values():
                yield from _unknowns(part)
        case Sequence():
            for part in cast("Sequence[Any]", value):
                yield from _unknowns(part)
        case _:
            return


def _messages(prompt: PromptValue) -> tuple[tuple[str, Any], ...]:
    return (("text", prompt.text),) if isinstance(prompt, StringPromptValue) else _spoken(prompt)


def _spoken(prompt: PromptValue) -> tuple[tuple[str, Any], ...]:
    return tuple((_role(message), message.content) for message in prompt.to_messages())


def _role(message: BaseMessage) -> str:
    return getattr(message, "role", message.type)

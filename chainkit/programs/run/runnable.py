"""Programs as objects: made from a text, bound to a model, run alone, streamed or many at once."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig

from chainkit.base import opening
from chainkit.base.hiding import hides_given_keys
from chainkit.programs.language.parser import parse
from chainkit.programs.language.syntax import Template
from chainkit.programs.model.protocol import ProgramModel
from chainkit.programs.run import batches, checks
from chainkit.programs.run.limits import Limits
from chainkit.programs.run.live import Live, aruns, check_soft_prompt, child, engine_of, runs
from chainkit.programs.run.run import Options, Run, RunState


@hides_given_keys
def program(text: str, /, model: Any = None, *, soft_prompt: Any = ..., **variables: Any) -> Program:
    """A template in which a model writes, chooses, loops and calls tools.

    Args:
        text: The program; see docs/programs.md for the language.
        model: A chat model or language model of chainkit or langchain-core, or a spec such as "gguf:./model.gguf"; it
            can be given later as well. A spec is a chat model if the program has roles; if it has none, what continues
            text, where the provider has that.
        soft_prompt: Folder of a soft prompt to put before the text, or a `SoftPrompt`; None removes the model's own.
            A variable of this name is given in a dict.
        variables: Values, functions and other programs that the text names; they can be given later as well.

    Raises:
        ProgramSyntaxError: The text is not a program; the message shows the place.
        UnsupportedProgram: The model cannot do what the program needs.
        SpecError: The spec cannot be understood.
        TypeError: `model` is not a model.

    >>> from chainkit.testing import Scripted
    >>> hello = program("Dear {{name}},{{gen 'rest' stop='.'}}.", Scripted(" it rains. And more."))
    >>> run = hello(name="Ada")
    >>> print(run)
    Dear Ada, it rains.
    >>> run["rest"]
    ' it rains'
    """
    return Program(text, model, variables, Options(soft_prompt=soft_prompt))


class Program(Runnable[Any, Run]):
    """A program, with the model and the variables that it is bound to. It does not change; a call gives a `Run`.

    Attributes:
        template: The tree of its text.
        model: The model that it runs on, or None.
        variables: Those bound to it.
        options: How it is run.
    """

    @hides_given_keys
    def __init__(
        self, text: str, model: Any = None, variables: Mapping[str, Any] | None = None, options: Options | None = None
    ) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a program is a text, not {type(text).__name__}")
        self.template: Template = parse(text)
        self.checks = checks.TemplateChecks(self.template)
        self.variables = dict(variables or {})
        self.options = options or Options()
        self.name = None
        self.model = self._opened(model)
        self.runs_on = self._bound(self.model)

    @property
    def text(self) -> str:
        """The program as it was written."""
        return self.template.source

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names that the text reads and nobody has given yet, in the order in which they come."""
        return tuple(name for name in checks.free_names(self.template) if name not in self.variables)

    def with_options(
        self,
        *,
        seed: int | None = None,
        limits: Limits | None = None,
        shell: bool | None = None,
        soft_prompt: Any = ...,
    ) -> Program:
        """This program, run otherwise; see `Options`."""
        if seed is limits is shell is None and soft_prompt is ...:
            return self
        given = {"seed": seed, "limits": limits, "shell": shell}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if soft_prompt is not ...:
            changes["soft_prompt"] = soft_prompt
        return self._changed(options=replace(self.options, **changes))

    @hides_given_keys
    def with_model(self, model: Any) -> Program:
        """This program on another model.

        Raises:
            UnsupportedProgram: The model cannot do what the program needs.
        """
        model = self._opened(model)
        return self._changed(model=model, runs_on=self._bound(model))

    def _bound(self, model: Any) -> ProgramModel | None:
        """The runner on a model that has all required abilities."""
        if model is None:
            return None
        engine = engine_of(self.checks, model)
        check_soft_prompt(engine, self.options.soft_prompt)
        return engine

    def _on(self, model: Any, given: Mapping[str, Any]) -> Program:
        if model is None:
            return self
        return self._changed(variables={**self.variables, **given}).with_model(model)

    def _opened(self, model: Any) -> Any:
        """The model of a spec: a chat model if the program has roles, otherwise a completion model."""
        roles = isinstance(model, str) and checks.has_roles(self.template, self.variables)
        return opening.chat_model(model) if roles else opening.continuing(model)

    def with_variables(self, variables: Mapping[str, Any] | None = None, /, **more: Any) -> Program:
        """This program with more variables bound to it."""
        return self._changed(variables={**self.variables, **(variables or {}), **more})

    @hides_given_keys
    def __call__(
        self,
        variables: Mapping[str, Any] | None = None,
        /,
        *,
        model: Any = None,
        soft_prompt: Any = ...,
        **more: Any,
    ) -> Run:
        """Run it.

        Args:
            variables: By name; for names that cannot be written as keywords.
            model: Another model than the one that the program is bound to.
            soft_prompt: Another soft prompt for this run, or None for none.
            more: More variables.

        Raises:
            ProgramError: The program fails; the message shows where.
            ChainkitError: The model fails.
        """
        given = {**(variables or {}), **more}
        return self._on(model, given).invoke(given, soft_prompt=soft_prompt)

    def show(
        self,
        variables: Mapping[str, Any] | None = None,
        /,
        *,
        model: Any = None,
        soft_prompt: Any = ...,
        **more: Any,
    ) -> Run:
        """As a call, and shown while it runs: in a notebook as HTML, in a terminal as text in colours."""
        from chainkit.programs.run.display import live

        given = {**(variables or {}), **more}
        return live(self._on(model, given).stream(given, soft_prompt=soft_prompt))

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Run:  # noqa: A002
        """Run it on a dict of variables, or on one value if one variable is missing.

        Args:
            input: The variables.
            config: For its listeners.
            kwargs: `soft_prompt`, as for a call.
        """
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Run:  # noqa: A002
        """As `invoke`, without blocking the event loop."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Run]:  # noqa: A002
        """Run it, giving runs that grow; each has the `events` since the one before, and the last one is finished."""
        yield from self._transform_stream_with_config(iter([input]), self._stream, config, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Run]:
        """As `stream`, without blocking the event loop."""

        async def once() -> AsyncIterator[Any]:
            yield input

        async for run in self._atransform_stream_with_config(once(), self._astream, config, **kwargs):
            yield run

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Run]:
        """Run it on several dicts of variables together: what they share is read once.

        Args:
            inputs: As for `invoke`.
            config: `max_concurrency` bounds how many slots a hosted model fills at once.
            return_exceptions: Give errors in the place of runs instead of raising the first one.
            kwargs: `soft_prompt`, as for a call, or a list with one for each; different ones run together.
        """
        return self._batch_with_config(self._batch, inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Run]:
        """As `batch`, without blocking the event loop."""
        return await self._abatch_with_config(
            self._abatch, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def stream_batch(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        soft_prompt: Any = ...,
    ) -> Iterator[tuple[int, Run]]:
        """As `batch`, giving the place of a run and the run as it grows, in the order in which things happen.

        An error is raised when the other runs are over; `return_exceptions` gives it in the place of its run at once.
        """
        first: Exception | None = None
        for place, run in batches.streamed(self, inputs, config, soft_prompt):
            if isinstance(run, Run) or return_exceptions:
                yield place, cast("Run", run)
            else:
                first = first or run
        if first is not None:
            raise first

    async def astream_batch(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        soft_prompt: Any = ...,
    ) -> AsyncIterator[tuple[int, Run]]:
        """As `stream_batch`, without blocking the event loop."""
        first: Exception | None = None
        async with aclosing(batches.astreamed(self, inputs, config, soft_prompt)) as streamed:
            async for place, run in streamed:
                if isinstance(run, Run) or return_exceptions:
                    yield place, cast("Run", run)
                else:
                    first = first or run
        if first is not None:
            raise first

    def resumed(self, state: RunState, more: Mapping[str, Any]) -> Run:
        """Go on with a run that waits."""
        live = Live(self, state.given, state.log, more)
        return live.completed(runs([live]))

    async def aresumed(self, state: RunState, more: Mapping[str, Any]) -> Run:
        """As `resumed`, without blocking the event loop."""
        live = Live(self, state.given, state.log, more)
        async for _ in aruns([live]):
            pass
        return live.result()

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        model = "no model" if self.model is None else type(self.model).__name__
        return f"<Program {text!r} on {model}>"

    def streamed(self, state: RunState, more: Mapping[str, Any]) -> Iterator[Run]:
        """As `resumed`, giving runs that grow."""
        live = Live(self, state.given, state.log, more)
        for _, event in runs([live], streaming=True):
            if event is not None and not live.task.replay:  # the others were reported before
                yield live.run((event,))
        yield live.result()

    async def astreamed(self, state: RunState, more: Mapping[str, Any]) -> AsyncIterator[Run]:
        """As `streamed`, without blocking the event loop."""
        live = Live(self, state.given, state.log, more)
        async for _, event in aruns([live], streaming=True):
            if event is not None and not live.task.replay:
                yield live.run((event,))
        yield live.result()

    def _repr_html_(self) -> str:
        from chainkit.programs.run.display import program_html

        return program_html(self.text)

    def _changed(self, **changes: Any) -> Program:
        twin = copy.copy(self)
        for name, value in changes.items():
            setattr(twin, name, value)
        return twin

    def variables_for(self, given: Any) -> dict[str, Any]:
        """The variables of a run on an input.

        Raises:
            TypeError: The input is not a dict, and more or less than one variable is missing.
        """
        if isinstance(given, Mapping):
            if strange := [name for name in given if not isinstance(name, str)]:
                raise TypeError(f"the name of a variable is a text, not {strange[0]!r}")
            return {**self.variables, **given}
        missing = self.inputs
        if isinstance(given, Run):
            return {**self.variables, **given.variables}
        if len(missing) != 1:
            raise TypeError(f"the program needs a dict of variables, not {type(given).__name__}")
        return {**self.variables, missing[0]: given}

    def _begun(self, given: Any, run_manager: Any, config: RunnableConfig, soft_prompt: Any) -> Live:
        program = self.with_options(soft_prompt=soft_prompt)
        return Live(program, self.variables_for(given), config=child(config, run_manager))

    def _invoke(self, given: Any, run_manager: Any, config: RunnableConfig, soft_prompt: Any = ...) -> Run:
        live = self._begun(given, run_manager, config, soft_prompt)
        return live.completed(runs([live]))

    async def _ainvoke(self, given: Any, run_manager: Any, config: RunnableConfig, soft_prompt: Any = ...) -> Run:
        live = self._begun(given, run_manager, config, soft_prompt)
        async for _ in aruns([live]):
            pass
        return live.result()

    def _stream(
        self, inputs: Iterator[Any], run_manager: Any, config: RunnableConfig, soft_prompt: Any = ...
    ) -> Iterator[Run]:
        for given in inputs:
            live = self._begun(given, run_manager, config, soft_prompt)
            for _, event in runs([live], streaming=True):
                if event is not None:
                    yield live.run((event,))
            yield live.result()

    async def _astream(
        self, inputs: AsyncIterator[Any], run_manager: Any, config: RunnableConfig, soft_prompt: Any = ...
    ) -> AsyncIterator[Run]:
        async for given in inputs:
            live = self._begun(given, run_manager, config, soft_prompt)
            async for _, event in aruns([live], streaming=True):
                if event is not None:
                    yield live.run((event,))
            yield live.result()

    def _batch(
        self,
        inputs: Sequence[Any],
        run_manager: Sequence[Any],
        config: Sequence[RunnableConfig],
        soft_prompt: Any = ...,
    ) -> list[Run | Exception]:
        return batches.completed(self, inputs, run_manager, config, soft_prompt)

    async def _abatch(
        self,
        inputs: Sequence[Any],
        run_manager: Sequence[Any],
        config: Sequence[RunnableConfig],
        soft_prompt: Any = ...,
    ) -> list[Run | Exception]:
        return await batches.acompleted(self, inputs, run_manager, config, soft_prompt)

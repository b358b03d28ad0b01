"""/v1/programs: a program's text and variables, and its runs, streamed part by part with the source of each part."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from chainkit.base.errors import MissingVariable, Unsupported
from chainkit.programs.model.record import ROLE_BEGIN, Event, SlotBegun, SlotDone, TextAdded, ToolCalled
from chainkit.programs.run.run import Run
from chainkit.programs.run.runnable import Program
from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json, RequestFields, Text
from chainkit.server.services import Services, services_of
from chainkit.server.speakers.programs import ProgramSpeaker
from chainkit.server.wire import DONE, EventReply, JSONReply, event, parsed

_WAITING = 64
_COUNTS = ("cached", "read", "forced", "sampled", "calls", "seconds")


class RunBody(RequestFields):
    """A body of /v1/programs/runs: a program to run, or a waiting run to resume with a variable."""

    model: Text
    variables: Json = {}
    run: str | None = None
    seed: int | None = None


class WaitingRuns:
    """Runs that stand before an `{{await}}`, by names that cannot be guessed; the oldest are forgotten.

    Args:
        most: How many are kept.
    """

    def __init__(self, most: int = _WAITING) -> None:
        self._runs: OrderedDict[str, tuple[str, Run]] = OrderedDict()
        self._most = most

    def keep(self, model: str, run: Run) -> str:
        """Keep a run; its name."""
        name = f"run_{secrets.token_urlsafe(18)}"
        self._runs[name] = (model, run)
        while len(self._runs) > self._most:
            self._runs.popitem(last=False)
        return name

    def take(self, model: str, name: str) -> Run:
        """A run that was kept, once.

        Raises:
            RequestFault: There is none of this name.
        """
        kept, run = self._runs.pop(name, (None, None))
        if run is None or kept != model:
            raise RequestFault(404, "this run is not kept any more; begin anew", code="unknown_run", param="run")
        return run


async def show(request: Request) -> Response:
    """The source of a program, and its required variables."""
    name = request.path_params["name"]
    async with services_of(request).catalogue.use(name, "chat") as served:
        program = program_of(served)
    return JSONReply({"id": name, "object": "program", "text": program.text, "variables": list(program.inputs)})


async def run(request: Request) -> Response:
    """Run a program; a stream of events."""
    services = services_of(request)
    body = parsed(RunBody, await services.body(request))
    services.catalogue.find(body.model, "chat")
    waiting: WaitingRuns = _waiting_of(request)
    kept = None if body.run is None else waiting.take(body.model, body.run)
    return EventReply(_events(services, waiting, body, kept))


def program_of(served: Any) -> Program:
    """The program served under a name.

    Raises:
        Unsupported: It is none.
    """
    if not isinstance(served, ProgramSpeaker):
        raise Unsupported("it is not a program; serve one with --program FILE")
    return served.program


def event_json(happened: Event) -> Json | None:
    """An event of a run as JSON for the client; None if it is not shown."""
    match happened:
        case TextAdded(hidden=True):
            return None
        case TextAdded(text, "role", name):
            return {"role": name, "begins": text.startswith(ROLE_BEGIN)}
        case TextAdded(text, source, name):
            return {"text": text, "source": source, "name": name}
        case SlotBegun(name):
            return {"slot": name}
        case SlotDone(name, text, value, finish):
            return {"slot": name, "value": shown(value), "finish": finish}
        case ToolCalled(name, _, result):
            return {"tool": name, "result": result}
        case _:
            return None


def shown(value: Any) -> Any:
    """A variable as JSON; what JSON has no word for is a text.

    >>> shown({"a": (1, len)})
    {'a': [1, '<built-in function len>']}
    """
    if isinstance(value, dict):
        return {str(name): shown(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


async def _events(services: Services, waiting: WaitingRuns, body: RunBody, kept: Run | None) -> AsyncIterator[bytes]:
    async with services.at_work(body.model, "chat") as served:
        program = program_of(served)
        stream = program.with_options(seed=body.seed).astream(_given(program, body)) if kept is None else (
            kept.astream(body.variables)
        )  # fmt: skip
        last: Run | None = None
        async with aclosing(stream) as runs:  # pyright: ignore[reportArgumentType] - a generator
            async for grown in runs:
                last = grown
                for happened in grown.events:
                    if (reply := event_json(happened)) is not None:
                        yield event(reply)
    assert last is not None
    yield event(_end(last, waiting, body.model))
    yield DONE


def _given(program: Program, body: RunBody) -> Json:
    if missing := [name for name in program.inputs if name not in body.variables]:
        raise MissingVariable(f"the program needs {', '.join(missing)}; give them by name in 'variables'")
    return body.variables


def _end(run: Run, waiting: WaitingRuns, model: str) -> Json:
    reply: Json = {
        "variables": shown(run.variables),
        "incomplete": run.incomplete,
        "usage": {name: getattr(run.usage, name) for name in _COUNTS},
        "waiting": run.waiting,
    }
    if run.waiting is not None:
        reply["run"] = waiting.keep(model, run)
    return reply


def _waiting_of(request: Request) -> WaitingRuns:
    state = request.app.state
    if not hasattr(state, "waiting_runs"):
        state.waiting_runs = WaitingRuns()
    return state.waiting_runs

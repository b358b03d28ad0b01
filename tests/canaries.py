"""Canary keys: words that have not the form of a key, so that only knowing them helps to leave them out."""

from __future__ import annotations

import contextlib
import json
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.load import dumps
from langchain_core.tracers import BaseTracer

from chainkit.base.redaction import _forms
from chainkit.testing.server.wire import HTTPAnswer, Server

CANARY = "Zq7+canary/never=shown"
"""Has signs that percent-encoding, JSON in HTML and base64 change."""
FORMS = frozenset(_forms(CANARY))


_OWN = ("canaries.py", "test_partners.py")


class Shown:
    """Everything that people and programs could see of a model and of what went wrong with it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self.texts: dict[str, str] = {}
        self.count = self.errors = 0
        self.error: Exception | None = None

    def add(self, way: str, text: str) -> None:
        self.count += 1
        self.texts[f"{way} {self.count}"] = text

    def model(self, model: Any) -> None:
        self.add("repr", f"{model!r} {model!s}")
        self.add("dumps", dumps(model))
        with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):  # some hold open connections
            self.add("pickle", pickle.dumps(model, 0).decode("latin-1"))

    def failed(self, error: BaseException) -> None:
        self.add("message", f"{error!s} {error!r} {error.args!r}")
        self.add("traceback", "".join(traceback.format_exception(error)))
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.add("traceback with locals", "\n".join(_frames(told)))
        with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
            self.add("pickle", pickle.dumps(error, 0).decode("latin-1"))

    def runs(self, work: Callable[[], object]) -> None:
        """Run what most likely fails, and keep all that is to be seen of it."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - each way has its own
            self.errors += 1
            self.error = error
            self.failed(error)

    def found(self) -> list[str]:
        """The ways out in which the canary is."""
        self.add("log at DEBUG", self.caplog.text)
        return [
            f"{way}: ...{text[max(0, place - 300) : place + 60]}"
            for way, text in self.texts.items()
            for form in FORMS
            if (place := text.find(form)) >= 0
        ]


def _frames(told: traceback.TracebackException) -> Iterator[str]:
    """The variables of all frames but those of this file, where the keys are made; and of all causes."""
    for frame in told.stack:
        if not frame.filename.endswith(_OWN):
            yield f"{frame.filename} {frame.name} {frame.locals}"
    yield "".join(told.format_exception_only())
    for cause in (told.__cause__, told.__context__):
        if cause is not None:
            yield from _frames(cause)


class Everything(BaseTracer):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def _persist_run(self, run: Any) -> None:
        self.told.append(f"{run!r} {vars(run)!r}")


def answers(status: int, body: Any, kind: str = "application/json") -> HTTPAnswer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPAnswer(status, {"content-type": kind}, (data,))


ECHO = f"your key {CANARY} (Bearer {CANARY})"
FAULTS: dict[str, HTTPAnswer] = {
    "401": answers(401, {"error": {"message": ECHO, "code": ECHO}, "message": ECHO}),
    "400": answers(400, {"error": {"message": ECHO}, "message": ECHO}),
    "404": answers(404, {"detail": [{"msg": ECHO}], "message": ECHO}),
    "429": answers(429, {"error": {"message": ECHO}, "message": ECHO}),
    "500 page": answers(500, f"<html>{ECHO}</html>".encode(), "text/html"),
    "page": answers(200, f"<html>{ECHO}</html>".encode(), "text/html"),
    "broken JSON": answers(200, f'{{"id": "{ECHO}'.encode()),
    "odd JSON": answers(200, {"choices": [{"message": {"content": {ECHO: ECHO}}}], "data": ECHO, "usage": ECHO}),
    "odd numbers": answers(200, {"choices": [{"message": ECHO, "index": ECHO}], "data": [{"embedding": [ECHO]}]}),
    "odd event": answers(200, f'data: {{"choices": "{ECHO}"}}\n\n'.encode(), "text/event-stream"),
    "broken event": answers(200, f"data: {{{ECHO}\n\n".encode(), "text/event-stream"),
    "event of an error": answers(200, f'data: {{"error": "{ECHO}"}}\n\n'.encode(), "text/event-stream"),
}


class Echoing(Server):
    """Answers everything with the same, which repeats the key.

    Attributes:
        answer: What it answers now.
    """

    def __init__(self) -> None:
        super().__init__(lambda request: self.answer)
        self.answer = FAULTS["401"]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Echoing:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

"""The catalogue of a server: models, documents, chains and programs by name, opened at first use."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from chainkit.base.errors import NotEnoughMemory, nearest
from chainkit.server import memory
from chainkit.server.faults import RequestFault

Ability: TypeAlias = Literal["chat", "text", "embeddings", "rerank", "decisions"]

log = logging.getLogger("chainkit.server")


@dataclass(eq=False)
class ServedModel:
    """One name in the list of models.

    Attributes:
        name: What clients ask for.
        kind: "model", "embeddings", "reranker", "documents", "chain" or "program".
        makers: For each ability what makes the object that has it; called in a thread at the first use.
        opened: The objects that were made.
        busy: How many requests use it now.
        used: When it was last used, by `time.monotonic`.
        created: When it was put in, in seconds since 1970.
        about: What else the list of models tells.
        listed: Whether lists, hints and counts name it; others are known to who made them.
    """

    name: str
    kind: str
    makers: Mapping[Ability, Callable[[], Any]]
    opened: dict[Ability, Any] = field(default_factory=dict[Ability, Any])
    busy: int = 0
    used: float = 0.0
    created: int = field(default_factory=lambda: int(time.time()))
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    listed: bool = True
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def can_unload(self) -> bool:
        """Whether it holds memory that can be given back now."""
        return not self.busy and any(map(memory.holders, self.opened.values()))

    def taken(self) -> list[Any]:
        """Its objects that hold memory, which are opened anew at the next use."""
        held = {ability: one for ability, one in self.opened.items() if memory.holders(one)}
        self.opened = {ability: one for ability, one in self.opened.items() if ability not in held}
        return list(held.values())

    def close(self) -> None:
        """Give back its memory, and close its files."""
        for one in self.opened.values():
            memory.unload(one)
            close = getattr(one, "close", None)
            if callable(close):
                close()
        self.opened = {}


class Catalogue:
    """All that is served, by name.

    Where a model does not fit beside those that are loaded, the ones that nobody uses are unloaded, the longest unused
    first, until it does.

    Args:
        unload_seconds: After so long without a request a model is unloaded; None keeps it.
    """

    def __init__(self, unload_seconds: float | None = None) -> None:
        self._models: dict[str, ServedModel] = {}
        self._unload_seconds = unload_seconds
        self.unloaded = 0

    def add(self, model: ServedModel) -> ServedModel:
        """Serve it.

        Raises:
            ValueError: The name is empty, or taken.
        """
        if not model.name.strip():
            raise ValueError("the name of a model is empty; name it as NAME=SPEC")
        if model.name in self._models:
            raise ValueError(f"two models would be called {model.name!r}; name one of them as NAME=SPEC")
        self._models[model.name] = model
        return model

    def remove(self, name: str) -> None:
        """Serve it no longer; who uses it keeps it."""
        self._models.pop(name, None)

    @property
    def listed(self) -> list[ServedModel]:
        """The publicly listed names."""
        return [model for model in self if model.listed]

    def counted_as(self, name: str) -> str:
        """What a model is called where requests are counted."""
        model = self._models.get(name)
        return name if model is None or model.listed else "own"

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(list(self._models.values()))

    def __len__(self) -> int:
        return len(self._models)

    def find(self, name: str, ability: Ability) -> ServedModel:
        """The model of a name that can do something.

        Raises:
            RequestFault: There is none (404), or it cannot (400).
        """
        model = self._models.get(name)
        if model is None:
            names = [one.name for one in self.listed]
            hint = nearest(name, names)
            advice = f"did you mean '{hint}'?" if hint else f"models: {', '.join(names) or 'none'}"
            raise RequestFault(404, f"no model '{name}'; {advice}", code="model_not_found", param="model")
        if ability not in model.makers:
            able = [one.name for one in self.listed if ability in one.makers]
            advice = f"models that can: {', '.join(able)}" if able else "no model here can"
            if ability == "chat" and "text" in model.makers:
                advice = f"it has no chat template: ask /v1/completions, or serve it with chat_template=...; {advice}"
            raise RequestFault(
                400, f"'{name}' is for {_spoken(model.makers)}, not for {ability}; {advice}", code="unsupported",
                param="model",
            )  # fmt: skip
        return model

    @asynccontextmanager
    async def use(self, name: str, ability: Ability) -> AsyncIterator[Any]:
        """The object that has an ability, opened if it is not, and kept until it is given back.

        Raises:
            RequestFault: As `find`.
            ChainkitError: It cannot be opened.
        """
        model = self.find(name, ability)
        model.busy += 1
        model.used = time.monotonic()
        try:
            found = model.opened.get(ability)
            yield found if found is not None else await self._open(model, ability)
        finally:
            model.busy -= 1
            model.used = time.monotonic()

    async def _open(self, model: ServedModel, ability: Ability) -> Any:
        async with model.lock:  # who comes meanwhile waits for the same object
            if ability in model.opened:
                return model.opened[ability]
            while True:
                try:
                    model.opened[ability] = await asyncio.to_thread(_loaded, model.makers[ability])
                    return model.opened[ability]
                except NotEnoughMemory:
                    if not await self._make_room(model):
                        raise

    async def _make_room(self, wanted: ServedModel) -> bool:
        idle = [one for one in self if one is not wanted and one.can_unload]
        if not idle:
            return False
        await self._unload(min(idle, key=lambda one: one.used))
        return True

    async def _unload(self, model: ServedModel) -> None:
        async with model.lock:  # who comes meanwhile waits, and opens it again
            if not model.can_unload:
                return
            log.info("unload %s", model.name)
            self.unloaded += 1
            await asyncio.to_thread(_given_back, model.taken())

    async def unload_unused(self) -> None:
        """Unload what nobody has used for long enough; called now and then."""
        if self._unload_seconds is None:
            return
        now = time.monotonic()
        for model in list(self):
            if model.can_unload and now - model.used >= self._unload_seconds:
                await self._unload(model)

    def close(self) -> None:
        """Give back all memory, and close all files."""
        for model in self:
            model.close()


def _loaded(make: Callable[[], Any]) -> Any:
    made = make()
    memory.load(made)
    return made


def _given_back(taken: list[Any]) -> None:
    while taken:
        memory.unload(taken.pop())
    gc.collect()


def _spoken(makers: Mapping[Ability, Any]) -> str:
    return " and ".join(makers)

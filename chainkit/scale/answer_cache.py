"""Answers of models kept on disk, as langchain-core's cache."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from chainkit.base.answer_store import LAYOUT, LIMIT_BYTES, AnswerCounts, AnswerStore, answers_path
from chainkit.base.errors import ChainkitError
from chainkit.base.sqlite import is_damage, reason, set_aside

KIND = "answer"
_log = logging.getLogger("chainkit.scale")
_FORMAT = 1  # of the values; another one makes all that is kept unknown
_RECENT = 512  # answers that this process need not read again
_SETTING = r"""['"]?\b{}['"]?\s*[,:=]\s*(None|null|-?[\d.]+)"""
_TEMPERATURE, _SEED = (re.compile(_SETTING.format(name)) for name in ("temperature", "seed"))


class AnswerCache(BaseCache):
    """A cache of answers in one SQLite file, which many processes may use at once.

    The key is the whole request: the messages and everything that the model says decides its answer, its seed and
    address included. A call that samples (a temperature above 0, or none named) is kept only with a seed, or where
    `sampled` asks for it. What fails in the file is a warning, never an error of the call.

    Args:
        path: The file; None for `answers.sqlite` in the user's cache folder, where programs keep their results too.
        limit_bytes: What all answers of the file may take; those used longest ago are dropped.
        sampled: Keep answers of calls that sample without a seed too; a question then has one answer for ever.

    Raises:
        ChainkitError: The file is of something else, or cannot be made.
        ValueError: The limit is less than a byte.

    >>> import tempfile, chainkit
    >>> cache = AnswerCache(Path(tempfile.mkdtemp()) / "answers.sqlite")
    >>> model = chainkit.chat_model("fake:", cache=cache)
    >>> model.invoke("Hi").content, model.invoke("Hi").content, cache.counts()["answer"].hits
    ('Hi', 'Hi', 1)
    """

    def __init__(
        self, path: str | Path | None = None, *, limit_bytes: int = LIMIT_BYTES, sampled: bool = False
    ) -> None:
        self.path = answers_path() if path is None else Path(path)
        self.sampled = sampled
        self._store = open_store(self.path, limit_bytes)
        self._recent: dict[bytes, Sequence[Generation]] = {}

    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """The answer that is kept, or None."""
        if not self._keeps(llm_string):
            return None
        key = _key(prompt, llm_string)
        try:
            value = self._store.get(key, KIND)
            if value is None:
                return None
            found = self._recent.get(key)
            return self._remember(key, _read(value)) if found is None else found
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            _log.warning("%s: an answer that was kept cannot be read: %s", self.path, error)
            return None

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Keep an answer."""
        if not self._keeps(llm_string):
            return
        key = _key(prompt, llm_string)
        try:
            value = _written(return_val)
            self._store.put(key, value, KIND)
            self._recent.pop(key, None)
        except (sqlite3.Error, TypeError, ValueError) as error:
            why = reason(error) if isinstance(error, sqlite3.Error) else error
            _log.warning("%s: an answer is not kept: %s", self.path, why)

    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """As `lookup`; reading takes some microseconds, less than handing it to a thread."""
        return self.lookup(prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """As `update`, in a thread, as it may wait for another process."""
        await asyncio.to_thread(self.update, prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Forget all answers; the results of programs in the same file stay."""
        self._recent.clear()
        self._store.clear([KIND])

    def counts(self) -> dict[str, AnswerCounts]:
        """Entries, bytes, hits and misses by kind, of all processes."""
        return self._store.counts()

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _keeps(self, llm_string: str) -> bool:
        if self.sampled:
            return True
        temperature, seed = _last(_TEMPERATURE, llm_string), _last(_SEED, llm_string)
        return seed is not None or temperature == 0 or (temperature is None and "chainkit-fake" in llm_string)

    def _remember(self, key: bytes, found: Sequence[Generation]) -> Sequence[Generation]:
        while len(self._recent) >= _RECENT:
            self._recent.pop(next(iter(self._recent)), None)
        self._recent[key] = found
        return found


def open_store(path: Path, limit_bytes: int = LIMIT_BYTES) -> AnswerStore:
    """A file of answers; a damaged one is renamed, with a warning, and begun afresh.

    Raises:
        ChainkitError: The file is of something else, or cannot be made.
    """
    try:
        return AnswerStore(path, limit_bytes)
    except (sqlite3.Error, OSError) as error:
        aside = set_aside(path, LAYOUT) if is_damage(error) else None
        if aside is None:
            raise ChainkitError(f"{path}: cannot be used to keep answers: {reason(error)}") from error
    _log.warning("the file of answers was damaged: %s is now %s", path, aside)
    return AnswerStore(path, limit_bytes)


def _last(setting: re.Pattern[str], llm_string: str) -> float | None:
    """The value of a setting; if both the model and the call have it, that of the call, which comes last."""
    found = setting.findall(llm_string)
    return float(found[-1]) if found and found[-1] not in ("None", "null") else None


def _key(prompt: str, llm_string: str) -> bytes:
    digest = hashlib.blake2b(digest_size=20)
    for part in (str(_FORMAT), llm_string, prompt):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def _written(answers: Iterable[Generation]) -> bytes:
    """Answers as JSON: never as something that could run code when it is read.

    Raises:
        TypeError: An answer holds what JSON cannot.
    """
    return json.dumps([_fields(one) for one in answers], ensure_ascii=False).encode("utf-8", "surrogatepass")


def _fields(answer: Generation) -> dict[str, Any]:
    about = {"info": answer.generation_info}
    if not isinstance(answer, ChatGeneration):
        return about | {"text": answer.text}
    if type(answer.message) is not AIMessage:
        raise TypeError(f"a message of kind {type(answer.message).__name__} is not kept")
    return about | {"message": answer.message.model_dump(exclude_none=True)}


def _read(value: bytes) -> list[Generation]:
    found: list[Generation] = []
    for fields in json.loads(value.decode("utf-8", "surrogatepass")):
        if "message" in fields:
            message = AIMessage.model_validate(fields["message"])
            found.append(ChatGeneration(message=message, generation_info=fields["info"]))
        else:
            found.append(Generation(text=fields["text"], generation_info=fields["info"]))
    return found

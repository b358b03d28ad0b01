"""What tests and benchmarks of the answer cache run in processes of their own."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from chainkit.scale.answer_cache import AnswerCache

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.scale.cache_users"])
MODEL = "[('model', 'm'), ('temperature', 0.0)]"


def answer(number: int) -> list[ChatGeneration]:
    """The one right answer to a question."""
    return [ChatGeneration(message=AIMessage(f"answer {number} " + "x" * (number % 700)))]


def use(path: Path, seconds: float, seed: int, told: object) -> None:
    """Read and write for a while; tell how often, and how many answers were wrong or lost."""
    cache, chance = AnswerCache(path), random.Random(seed)
    reads = writes = wrong = lost = 0
    own: set[int] = set()
    told.send("ready")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number = chance.randrange(3000)
        found = cache.lookup(str(number), MODEL)
        reads += 1
        if found is None:
            lost += number in own
            cache.update(str(number), MODEL, answer(number))
            own.add(number)
            writes += 1
        else:
            wrong += found[0].text != answer(number)[0].text
    cache.close()
    told.send((reads, writes, wrong, lost))

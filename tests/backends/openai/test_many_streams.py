from __future__ import annotations

import asyncio
import gc
import resource

import pytest

from chainkit.backends.openai import OpenAIChat
from chainkit.testing.server.openai import OpenAIServer

STREAMS = 256
TOKENS = 400


@pytest.mark.slow
def test_256_streams_at_once_lose_and_mix_nothing_and_keep_no_memory(server: OpenAIServer) -> None:
    model = OpenAIChat(model="gpt-4o-mini", api_key=server.key, base_url=server.base_url)

    async def one(number: int) -> bool:
        words = [f"{number}-{place}" for place in range(TOKENS)]
        got = [chunk.text async for chunk in model.astream("say:" + " ".join(words)) if chunk.text]
        return "".join(got).split() == words and len(got) == TOKENS

    async def all_at_once() -> list[bool]:
        return await asyncio.gather(*(one(number) for number in range(STREAMS)))

    peaks: list[int] = []
    for _ in range(3):
        assert all(asyncio.run(all_at_once()))
        server.requests.clear()
        gc.collect()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[2] - peaks[1] < 30_000  # kB: the first round fills pools and caches, the others add nothing
    assert not model._clients._for_loops

"""Vectors of texts, over the Embeddings API."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any
from urllib.parse import quote

import numpy as np
from langchain_core.embeddings import Embeddings
from pydantic import Field

from chainkit.backends.openai import calls
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.errors import malformed
from chainkit.backends.openai.hosted import Hosted
from chainkit.backends.openai.services import Kind

CALLS_AT_ONCE = 4


class OpenAIEmbeddings(Hosted, Embeddings):
    """Embeddings of OpenAI, or of any service that speaks its API.

    Texts are sent as text, never as token ids, in batches and in order; nothing in them is changed. For the address,
    the key and the time limits see `Hosted`.

    Attributes:
        dimensions: The length of the vectors, for models that can shorten them.
        batch_size: The most texts in one request.
        batch_bytes: The most UTF-8 bytes of text in one request; a longer text goes alone.
        user: Who asks, for the service's own use.
    """

    dimensions: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=512, ge=1, le=2048)
    batch_bytes: int = Field(default=300_000, ge=1)
    user: str | None = None

    def _needed(self) -> Kind:
        return "embeddings"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text, in their order.

        Raises:
            ProviderError: The service failed; see its subclasses.
        """
        connection = self._connection()
        vectors: list[list[float]] = []
        for batch in batches(texts, self.batch_size, self.batch_bytes):
            reply = calls.post(self._clients, connection, self._path(), self._body(batch), listed="vectors")
            vectors += self._vectors(reply, len(batch))
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text, in their order; a few requests run at once."""
        return (await self.aembed_counted(texts))[0]

    async def aembed_counted(self, texts: list[str]) -> tuple[list[list[float]], int | None]:
        """As `aembed_documents`, with the number of tokens that the service counted; None if it tells none."""
        connection = self._connection()
        gate = asyncio.Semaphore(CALLS_AT_ONCE)

        async def embed(batch: list[str]) -> tuple[list[list[float]], int | None]:
            async with gate:
                reply = await calls.apost(self._clients, connection, self._path(), self._body(batch), listed="vectors")
            return self._vectors(reply, len(batch)), tokens_told(reply.data)

        tasks = [asyncio.ensure_future(embed(batch)) for batch in batches(texts, self.batch_size, self.batch_bytes)]
        try:
            made = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        counts = [count for _, count in made if count is not None]
        vectors = [vector for some, _ in made for vector in some]
        return vectors, sum(counts) if len(counts) == len(made) else None

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return (await self.aembed_documents([text]))[0]

    def _vectors(self, reply: calls.Reply, count: int) -> list[list[float]]:
        vectors = reply.read(lambda reply: read_vectors(reply.data, count, reply.connection))
        if self.dimensions is not None and len(vectors[0]) != self.dimensions:
            given = f"vectors of {len(vectors[0])} numbers where dimensions={self.dimensions} was asked for"
            raise malformed(reply.connection, f"{given}; the model cannot shorten them, leave dimensions out")
        return vectors

    def _path(self) -> str:
        return self._habits.vectors_path.replace("{model}", quote(self.model))

    def _body(self, texts: list[str]) -> dict[str, Any]:
        if "{model}" in self._habits.vectors_path:
            return {"inputs": texts, **self.extra_body}
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "base64"}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        if self.user is not None:
            body["user"] = self.user
        return {**body, **self.extra_body}


def batches(texts: Sequence[str], most: int, most_bytes: int) -> Iterator[list[str]]:
    """The texts in order, in lists of at most `most` texts and `most_bytes` bytes.

    >>> list(batches(["a", "b", "ccc", "d"], most=2, most_bytes=3))
    [['a', 'b'], ['ccc'], ['d']]

    Raises:
        TypeError: One of them is not text.
    """
    batch: list[str] = []
    size = 0
    for text in texts:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"only texts can be embedded, got {type(text).__name__}")
        length = len(text.encode("utf-8", "surrogatepass"))
        if batch and (len(batch) == most or size + length > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += length
    if batch:
        yield batch


def tokens_told(data: dict[str, Any]) -> int | None:
    """How many tokens a reply says that the texts have.

    >>> tokens_told({"usage": {"prompt_tokens": 3, "total_tokens": 3}}), tokens_told({"usage": {"total_tokens": 4}})
    (3, 4)
    >>> tokens_told({})
    """
    usage = data.get("usage")
    found = [usage.get(name) for name in ("prompt_tokens", "total_tokens")] if isinstance(usage, dict) else []
    return next((count for count in found if type(count) is int and count > 0), None)


def read_vectors(data: dict[str, Any], count: int, connection: Connection) -> list[list[float]]:
    """The vectors of a reply, sorted as the texts were; numbers or base64 of 32-bit floats.

    Raises:
        MalformedReply: There are not `count` of them, they differ in length, or one is not made of finite numbers.
    """
    rows = data.get("data")
    if isinstance(bare := data.get("vectors"), list):
        rows = [{"index": at, "embedding": vector} for at, vector in enumerate(bare)]
    if not isinstance(rows, list) or len(rows) != count:
        found = len(rows) if isinstance(rows, list) else "no"
        raise malformed(connection, f"{found} vectors for {count} texts")
    try:
        in_order = sorted(rows, key=lambda row: row["index"]) if count > 1 else rows
        vectors = [_vector(row["embedding"]) for row in in_order]
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise malformed(connection, f"a vector that cannot be read ({error})") from error
    if len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise malformed(connection, "vectors that differ in length, or empty ones")
    if not all(isfinite(sum(vector)) for vector in vectors):
        raise malformed(connection, "a vector that is not finite")
    return vectors


def _vector(embedding: str | list[float]) -> list[float]:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").tolist()
    return embedding if set(map(type, embedding)) == {float} else list(map(float, embedding))

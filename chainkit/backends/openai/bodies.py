"""The body of an answer, decompressed and bounded: memory use is limited whatever the server sends."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.errors import malformed
from chainkit.base.errors import MissingLibrary, ReplyTooLarge

try:
    import httpx2
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error

PIECE_BYTES = 1 << 18
ERROR_BYTES = 1 << 16
"""Maximum bytes read of an error page."""
_PLAIN = ("", "identity")
_ZIPPED = ("gzip", "x-gzip", "deflate")


class Body:
    """Decodes the pieces of one body and counts what comes out.

    Attributes:
        most: Bytes that may come out, after decompression.
    """

    def __init__(self, response: httpx2.Response, connection: Connection) -> None:
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in (*_PLAIN, *_ZIPPED):
            raise malformed(connection, f"an answer in the encoding {encoding[:40]!r}, which was not asked for")
        self.most = connection.max_reply_bytes
        self._connection = connection
        self._size = 0
        self._unzip = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding in _ZIPPED else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes say.

        Raises:
            ReplyTooLarge: All pieces together are longer than allowed.
            MalformedReply: They cannot be decompressed.
        """
        if self._unzip is None:
            yield self._counted(data)
            return
        while data and not self._unzip.eof:
            try:
                piece = self._unzip.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise malformed(self._connection, f"an answer that cannot be decompressed ({error})") from error
            data = self._unzip.unconsumed_tail
            if piece:
                yield self._counted(piece)

    def _counted(self, piece: bytes) -> bytes:
        self._size += len(piece)
        if self._size > self.most:
            raise ReplyTooLarge(self._connection.provider, self.most)
        return piece


def pieces(response: httpx2.Response, connection: Connection) -> Iterator[bytes]:
    """The body of an answer while it comes."""
    body = Body(response, connection)
    for data in response.iter_raw():
        yield from body.feed(data)


async def apieces(response: httpx2.Response, connection: Connection) -> AsyncGenerator[bytes]:
    """The body of an answer while it comes."""
    body = Body(response, connection)
    async for data in response.aiter_raw():
        for piece in body.feed(data):
            yield piece


def whole(response: httpx2.Response, connection: Connection) -> bytes:
    """The whole body; of an error only the beginning. The connection is free afterwards."""
    gathered = Gathered(response)
    try:
        for piece in pieces(response, connection):
            if gathered.add(piece):
                break
    finally:
        response.close()
    return bytes(gathered.data)


async def awhole(response: httpx2.Response, connection: Connection) -> bytes:
    """The whole body; of an error only the beginning. The connection is free afterwards."""
    gathered = Gathered(response)
    try:
        async with aclosing(apieces(response, connection)) as incoming:
            async for piece in incoming:
                if gathered.add(piece):
                    break
    finally:
        await response.aclose()
    return bytes(gathered.data)


class Gathered:
    """Bytes that are wanted together.

    Attributes:
        data: They so far.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self.data = bytearray()
        self._enough = ERROR_BYTES if response.status_code >= 400 else None

    def add(self, piece: bytes) -> bool:
        """Keep a piece; True if no more is wanted."""
        self.data += piece
        return self._enough is not None and len(self.data) >= self._enough

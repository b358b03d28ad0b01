"""Server-sent events, read from bytes that arrive in any pieces."""

from __future__ import annotations

LONGEST_EVENT_BYTES = 16_000_000
"""An event with an image or a whole answer has a few million."""


class EventReader:
    r"""Collects bytes and gives the data of each event that is complete.

    >>> reader = EventReader()
    >>> reader.feed(b'data: {"a"'), reader.feed(b": 1}\r\n\r"), reader.feed(b"\n: ping\n\ndata: [DONE]\n\n")
    ([], [b'{"a": 1}'], [b'[DONE]'])

    Args:
        most: Bytes that one event may have.
    """

    def __init__(self, most: int = LONGEST_EVENT_BYTES) -> None:
        self._most = most
        self._held = 0
        self._pieces: list[bytes] = []
        self._data: list[bytes] = []
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that this chunk completes, in order.

        Time is linear in the bytes fed, however they are cut.

        Raises:
            ValueError: An event is longer than allowed.
        """
        if not chunk:
            return []
        self._held += len(chunk)
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in chunk:
            self._pieces.append(chunk)
            self._check()
            return []
        lines = chunk.split(b"\n")
        if self._pieces:
            lines[0] = b"".join([*self._pieces, lines[0]])
        self._pieces = [lines.pop()]
        events = self._events(lines)
        if not self._data:
            self._held = len(self._pieces[0])
        self._check()
        return events

    def _check(self) -> None:
        if self._held > self._most:
            raise ValueError(f"an event of more than {self._most / 1e6:g} MB")

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                self._data.append(b"")
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events

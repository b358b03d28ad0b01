"""Answers of the Responses API that may be continued or fetched again; in memory, the oldest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json
from chainkit.server.wire import encoded


class KeptResponses:
    """Answers by id.

    Args:
        most: How many.
        most_bytes: How much in all, as JSON.
    """

    def __init__(self, most: int = 1000, most_bytes: int = 64 << 20) -> None:
        self._kept: OrderedDict[str, tuple[Json, Sequence[BaseMessage], int]] = OrderedDict()
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0

    def keep(self, response: Json, messages: Sequence[BaseMessage]) -> None:
        """Keep an answer with all that was said up to it."""
        size = len(encoded(response)) + sum(len(str(message.content)) for message in messages)
        self._kept[response["id"]] = (response, messages, size)
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._bytes -= self._kept.popitem(last=False)[1][2]

    def response(self, number: str) -> Json:
        """An answer.

        Raises:
            RequestFault: It is not kept.
        """
        return self._found(number, None, 404)[0]

    def messages(self, number: str) -> Sequence[BaseMessage]:
        """All that was said up to an answer; raises as `response`."""
        return self._found(number, "previous_response_id", 400)[1]

    def forget(self, number: str) -> None:
        """Forget an answer; raises as `response`."""
        self._bytes -= self._found(number, None, 404)[2]
        del self._kept[number]

    def _found(self, number: str, param: str | None, status: int) -> tuple[Json, Sequence[BaseMessage], int]:
        if number not in self._kept:
            message = f"no response '{number}'; this server keeps the last ones in memory, unless store is false"
            raise RequestFault(status, message, code="previous_response_not_found", param=param)
        return self._kept[number]

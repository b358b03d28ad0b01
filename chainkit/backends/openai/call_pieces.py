"""Pieces of streamed tool calls, as services that speak OpenAI's API send them, brought into one shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolCallChunk

from chainkit.decoding.unfinished import mark_of_cut, unfinished

Json = Mapping[str, Any]


@dataclass
class _Call:
    """A call on its way.

    Attributes:
        place: Its number in the answer, which its pieces are passed on with.
        index: Its number by the service, which may be missing or wrong.
    """

    place: int
    index: int | None
    id: str = ""
    name: str = ""
    arguments: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing of its arguments."""
        return bool(self.arguments.strip()) and not unfinished(self.arguments)


class CallPieces:
    """Tells which call a piece belongs to: by its id, else by its index, else it is the last one.

    A new call begins with a new id, or with a name once the arguments of the call before are whole. A repeated name or
    id is passed on once.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def chunks(self, pieces: Sequence[Json]) -> list[ToolCallChunk]:
        """The pieces as langchain-core merges them rightly."""
        return [self._chunk(piece) for piece in pieces if isinstance(piece, Mapping)]

    def end(self, finish: str | None) -> list[ToolCallChunk]:
        """What makes calls that are not whole invalid ones.

        Args:
            finish: Why the answer ended.
        """
        cut = finish == "length"
        reason = "cut: the limit of tokens was reached" if cut else "cut: the service sent no more of it"
        chunks: list[ToolCallChunk] = []
        for call in self._calls:
            empty = not call.arguments.strip()
            last_and_cut = empty and cut and call is self._calls[-1]
            if call.name and not last_and_cut and (empty or call.whole):
                continue
            why = reason if call.name else "the call has no name"
            mark = f"{{] {why}" if empty else mark_of_cut(call.arguments, why)
            chunks.append(_chunk(call.place, None, mark, None))
        return chunks

    def _chunk(self, piece: Json) -> ToolCallChunk:
        function = piece.get("function") or {}
        arguments = function.get("arguments")
        if isinstance(arguments, Mapping):  # some services send the object itself
            arguments = json.dumps(arguments)
        arguments = arguments if isinstance(arguments, str) else ""
        name, id_ = str(function.get("name") or ""), str(piece.get("id") or "")
        call = self._call(_number(piece.get("index")), id_, name, arguments)
        if call.whole and arguments == call.arguments:  # all of it once more
            arguments = ""
        new_name, new_id = _rest(call.name, name), id_ if not call.id else ""
        call.name, call.id, call.arguments = call.name + new_name, call.id or id_, call.arguments + arguments
        return _chunk(call.place, new_name or None, arguments, new_id or None)

    def _call(self, index: int | None, id_: str, name: str, arguments: str) -> _Call:
        known = next((call for call in self._calls if id_ and call.id == id_), None)
        if known is not None:
            return known
        beside = [call for call in self._calls if index is None or call.index in (index, None)]
        last = beside[-1] if beside else None
        if last is None or _begins(last, id_, name, arguments):
            last = _Call(len(self._calls), index)
            self._calls.append(last)
        return last


def _begins(last: _Call, id_: str, name: str, arguments: str) -> bool:
    """Whether a piece is the beginning of another call than the last one it could belong to."""
    if id_ and last.id:
        return True
    if not name or not last.name:
        return False
    if name == last.name:
        return last.whole and bool(arguments.strip()) and arguments != last.arguments
    grows = name.startswith(last.name) and not last.arguments  # a name that is repeated from its start in each piece
    return not grows


def _rest(known: str, name: str) -> str:
    """The part of a name that is not known yet."""
    return name[len(known) :] if name.startswith(known) else ""


def _number(index: Any) -> int | None:
    if isinstance(index, str) and index.strip().isdigit():
        return int(index)
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def _chunk(place: int, name: str | None, arguments: str, id_: str | None) -> ToolCallChunk:
    return ToolCallChunk(type="tool_call_chunk", name=name, args=arguments, id=id_, index=place)

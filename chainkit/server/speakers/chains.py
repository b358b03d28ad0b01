"""Chains that answer: any Runnable, with what its input form asks for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable
from pydantic import ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from chainkit.base.errors import MissingVariable
from chainkit.local.threads import stream_from_thread
from chainkit.server.speakers.call import ChatCall, Speaker, refuse_model_settings
from chainkit.server.wire import encoded

# what langchain-core 1 says of generators that are not asynchronous
_ONLY_SYNC = ("Cannot stream from a generator function asynchronously", "only supports sync methods")
_MESSAGES = frozenset({"messages", "history", "chat_history"})


class ChainSpeaker(Speaker):
    """A Runnable.

    Its input is what its schema says: a text is the last message of the user, a list all messages, an object the
    `variables` of the request, in which the one that is missing is the last message of the user, and "messages",
    "history" and "chat_history" are all of them. Without a schema it gets the text.

    Args:
        chain: The Runnable.
    """

    def __init__(self, chain: Runnable[Any, Any]) -> None:
        self.chain = chain
        self._schema = _input_schema(chain)
        self._only_sync = False

    async def stream(self, call: ChatCall) -> AsyncIterator[AIMessageChunk]:
        """What comes out of it, as text."""
        refuse_model_settings(call, "chains")
        told_end = False
        async with aclosing(self._pieces(self._input(call))) as chunks:
            async for chunk in chunks:
                piece = _chunk(chunk)
                told_end = told_end or bool(piece.response_metadata.get("finish_reason"))
                yield piece
        if not told_end:
            yield AIMessageChunk(content="", response_metadata={"finish_reason": "stop"}, chunk_position="last")

    async def _pieces(self, given: Any) -> AsyncGenerator[Any]:
        """What the chain gives, from a thread where it has a part that only streams there."""
        if not self._only_sync:
            begun = False
            try:
                async with aclosing(cast("AsyncGenerator[Any]", self.chain.astream(given))) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except (TypeError, NotImplementedError) as error:
                self._only_sync = not begun and any(words in str(error) for words in _ONLY_SYNC)
                if not self._only_sync:
                    raise
        threaded = cast("AsyncGenerator[Any]", stream_from_thread(lambda _: self.chain.stream(given)))
        async with aclosing(threaded) as chunks:
            async for chunk in chunks:
                yield chunk

    def _input(self, call: ChatCall) -> Any:
        kind = self._schema.get("type")
        if kind == "object" or call.variables is not None:
            return self._object(call)
        if kind == "string" or not self._takes_messages():
            return call.question
        return list(call.messages)

    def _takes_messages(self) -> bool:
        kinds = [self._schema, *self._schema.get("anyOf", ())]
        return any(one.get("type") == "array" for one in kinds)

    def _object(self, call: ChatCall) -> dict[str, Any]:
        given = dict(call.variables or {})
        wanted: Mapping[str, Any] = self._schema.get("properties", {})
        for name in _MESSAGES & wanted.keys() - given.keys():
            given[name] = list(call.messages)
        required = self._schema.get("required", list(wanted))
        missing = [name for name in required if name not in given]
        if len(missing) == 1 and call.question:
            given[missing[0]] = call.question
        elif missing:
            raise MissingVariable(f"the chain needs {', '.join(missing)}; give them by name in 'variables'")
        return given


def _input_schema(chain: Runnable[Any, Any]) -> Mapping[str, Any]:
    try:
        return chain.get_input_jsonschema()
    except (PydanticInvalidForJsonSchema, ValidationError, TypeError, NotImplementedError):
        return {}  # a function of one's own without a type


def _chunk(value: Any) -> AIMessageChunk:
    if isinstance(value, AIMessageChunk):
        return value
    if isinstance(value, AIMessage):
        return AIMessageChunk(
            content=value.content,
            tool_call_chunks=[
                {"name": one["name"], "args": encoded(one["args"]).decode(), "id": one["id"], "index": place,
                 "type": "tool_call_chunk"}
                for place, one in enumerate(value.tool_calls)
            ],
            usage_metadata=value.usage_metadata,
            response_metadata=value.response_metadata,
        )  # fmt: skip
    if isinstance(value, BaseMessage):
        return AIMessageChunk(content=str(value.text))
    if isinstance(value, str):
        return AIMessageChunk(content=value)
    dump = getattr(value, "model_dump", None)
    return AIMessageChunk(content=encoded(dump(mode="json") if dump else value).decode())

"""The events of a stream of the Responses API, numbered, in the order in which OpenAI sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk

from chainkit.server.api.items import call_item, cited, message_item
from chainkit.server.api.parts import call_deltas, logprobs_of, new_id, text_of
from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json
from chainkit.server.wire import event


class ResponseEvents:
    """Makes the events of one answer.

    Attributes:
        output: The items that are whole.
    """

    def __init__(self) -> None:
        self.output: list[Json] = []
        self._count = 0
        self._message: str | None = None  # the id of the message that is being written
        self._text: list[str] = []
        self._scores: list[Json] = []
        self._calls: dict[int, Json] = {}

    def begun(self, response: Json) -> bytes:
        """The first events."""
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def chunk(self, chunk: AIMessageChunk) -> Iterator[bytes]:
        """The events of a piece."""
        text = text_of(chunk)
        if text:
            if self._message is None:
                yield self._message_added()
            scores = (logprobs_of(chunk.response_metadata) or {}).get("content", [])
            self._text.append(text)
            self._scores += scores
            yield self._event("response.output_text.delta", **self._place, delta=text, logprobs=scores)
        for delta in call_deltas(chunk) if chunk.tool_call_chunks else ():
            yield from self._call(delta)

    def over(self, answer: AIMessage) -> Iterator[bytes]:
        """The events that end all items."""
        if self._message is None and not self._calls:
            yield self._message_added()
        if self._message is not None:
            yield from self._message_done(answer)
        for call in self._calls.values():
            yield from self._call_done(call)

    def finished(self, response: Json) -> bytes:
        """The last event."""
        return self._event(f"response.{response['status']}", response=response)

    @staticmethod
    def error(fault: RequestFault) -> bytes:
        """The event of an error in midst of a stream."""
        body = {
            "type": "error",
            "code": fault.code,
            "message": str(fault),
            "param": fault.param,
            "sequence_number": 0,
        }
        return event(body, "error")

    @property
    def _place(self) -> Json:
        return {"item_id": self._message, "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        made = event({"type": kind, "sequence_number": self._count, **fields}, kind)
        self._count += 1
        return made

    def _message_added(self) -> bytes:
        self._message = new_id("msg_")
        item = {"id": self._message, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        added = self._event("response.output_item.added", output_index=0, item=item)
        return added + self._event("response.content_part.added", **self._place, part=part)

    def _message_done(self, answer: AIMessage) -> Iterator[bytes]:
        notes = cited(answer.additional_kwargs.get("annotations", ()))
        for number, note in enumerate(notes):
            kind = "response.output_text.annotation.added"
            yield self._event(kind, **self._place, annotation_index=number, annotation=note)
        item = message_item(self._message or "", "".join(self._text), notes, self._scores)
        part = item["content"][0]
        yield self._event("response.output_text.done", **self._place, text=part["text"], logprobs=self._scores)
        yield self._event("response.content_part.done", **self._place, part=part)
        yield self._event("response.output_item.done", output_index=0, item=item)
        self.output.append(item)

    def _call(self, delta: Json) -> Iterator[bytes]:
        call = self._calls.get(delta["index"])
        function = delta["function"]
        if call is None:
            place = len(self._calls) + (self._message is not None)
            item = call_item(new_id("fc_"), delta.get("id") or new_id("call_"), function.get("name", ""), "")
            call = self._calls[delta["index"]] = {"place": place, "item": item}
            begun = {**item, "status": "in_progress"}
            yield self._event("response.output_item.added", output_index=place, item=begun)
        if arguments := function["arguments"]:
            call["item"]["arguments"] += arguments
            place = {"item_id": call["item"]["id"], "output_index": call["place"]}
            yield self._event("response.function_call_arguments.delta", **place, delta=arguments)

    def _call_done(self, call: Json) -> Iterator[bytes]:
        item = call["item"]
        place = {"item_id": item["id"], "output_index": call["place"]}
        kind = "response.function_call_arguments.done"
        yield self._event(kind, **place, arguments=item["arguments"], name=item["name"])
        yield self._event("response.output_item.done", output_index=call["place"], item=item)
        self.output.append(item)

"""Content blocks, in all the shapes that langchain-core's messages may hold, as parts of a chat request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainkit.base.errors import Unsupported

Json = Mapping[str, Any]
Part = dict[str, Any]

AUDIO_FORMATS = {"wav": "wav", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mp3": "mp3", "mpeg": "mp3"}
DROPPED = {
    "tool_call", "tool_call_chunk", "tool_use", "input_json_delta", "invalid_tool_call", "function_call",
    "server_tool_call", "server_tool_call_chunk", "server_tool_result",
    "thinking", "redacted_thinking", "reasoning", "reasoning_content",
}  # fmt: skip
"""Blocks of an assistant's message that stand elsewhere in a request (tool calls) or not at all (thoughts)."""


def parts(content: str | Sequence[str | Json]) -> list[Part]:
    """The parts of a user's message.

    Raises:
        Unsupported: A block cannot be sent to a chat model in this form; the message says what can.
    """
    blocks = [content] if isinstance(content, str) else content
    return [part(block) for block in blocks]


def spoken_parts(content: Sequence[str | Json]) -> list[Part]:
    """The parts of an assistant's message that the service takes back: text and refusals."""
    kept: list[Part] = []
    for block in content:
        if isinstance(block, Mapping) and block.get("type") in DROPPED:
            continue
        if isinstance(block, Mapping) and block.get("type") == "refusal":
            kept.append({"type": "refusal", "refusal": block["refusal"]})
            continue
        kept.append(part(block))
    return [one for one in kept if one.get("text") != ""]


def part(block: str | Json) -> Part:
    """One block of content as a part of a request."""
    if isinstance(block, str):
        return {"type": "text", "text": block}
    match block.get("type"):
        case "text" | "text-plain" | "input_text" | "output_text":
            return {"type": "text", "text": _text(block)}
        case "image_url" | "image" | "input_image":
            return _image(block)
        case "input_audio" | "audio":
            return _audio(block)
        case "file" | "document" | "input_file":
            return _file(block)
        case "non_standard":
            return dict(block["value"])
        case None if isinstance(block.get("text"), str):
            return {"type": "text", "text": block["text"]}
    raise Unsupported(
        f"a chat request has no place for a content block of type {block.get('type')!r}; "
        "it takes text, image, audio and file blocks"
    )


def _text(block: Json) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise Unsupported(f"a {block['type']} block needs its 'text'; an address or a file id is not read for you")
    return text


def _image(block: Json) -> Part:
    given = block.get("image_url")
    if isinstance(given, str):
        image: Part = {"url": given}
    elif isinstance(given, Mapping):
        image = {name: given[name] for name in ("url", "detail") if name in given}
    else:
        image = {"url": _address(block, "image")}
    if detail := block.get("detail"):
        image["detail"] = detail
    if not isinstance(image.get("url"), str):
        raise Unsupported("an image block needs a 'url', or 'base64' with a 'mime_type'")
    return {"type": "image_url", "image_url": image}


def _audio(block: Json) -> Part:
    if isinstance(given := block.get("input_audio"), Mapping):
        return {"type": "input_audio", "input_audio": dict(given)}
    data, mime = _base64(block)
    if data is None:
        raise Unsupported("audio is sent as 'base64' with a 'mime_type'; an address is not fetched for you")
    format_ = AUDIO_FORMATS.get((mime or "").lower().removeprefix("audio/").split(";")[0])
    if format_ is None:
        raise Unsupported(f"audio of type {mime!r} cannot be sent; the service takes audio/wav and audio/mpeg")
    return {"type": "input_audio", "input_audio": {"data": data, "format": format_}}


def _file(block: Json) -> Part:
    if isinstance(given := block.get("file"), Mapping):
        return {"type": "file", "file": dict(given)}
    if id_ := block.get("file_id") or (block.get("id") if block.get("source_type") == "id" else None):
        return {"type": "file", "file": {"file_id": id_}}
    data, mime = _base64(block)
    if data is None:
        raise Unsupported(
            "a file is sent as 'base64' with a 'mime_type', or by its 'file_id'; an address is not fetched"
        )
    mime = mime or "application/pdf"
    name = _filename(block) or f"file.{mime.rpartition('/')[2]}"
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{mime};base64,{data}"}}


def _filename(block: Json) -> str | None:
    for place in (block, block.get("extras") or {}, block.get("metadata") or {}):
        if name := place.get("filename") or place.get("name"):
            return name
    return None


def _address(block: Json, kind: str) -> str | None:
    """An address for a block with data: the one it has, or one that holds the data itself."""
    data, mime = _base64(block)
    if data is not None:
        if not mime:
            raise Unsupported(f"an {kind} block with base64 data needs its 'mime_type'")
        return f"data:{mime};base64,{data}"
    source = block.get("source")
    return source.get("url") if isinstance(source, Mapping) else block.get("url")


def _base64(block: Json) -> tuple[str | None, str | None]:
    """The data of a block and its type, in the shapes of langchain-core 1, of version 0, and of Anthropic."""
    source = block.get("source")
    if isinstance(source, Mapping):
        return source.get("data"), source.get("media_type")
    data = block.get("base64") or (block.get("data") if block.get("source_type") == "base64" else None)
    return data, block.get("mime_type")

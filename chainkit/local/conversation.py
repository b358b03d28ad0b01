"""Messages as the tokens of a prompt: rendered by the model's template, with no token forged by what a message says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from chainkit.base.errors import TemplateError, Unsupported
from chainkit.decoding.loop import Vocabulary
from chainkit.local.template import ChatTemplate

# Stand-ins for names of special tokens inside messages, from a private area of Unicode. What a message itself has of
# these characters is left alone: a stand-in that was not made here is not found in the table.
_OPEN, _CLOSE = "\U0010fa00", "\U0010fa01"
HERE = "\U0010fa02"
"""Stands in a message for text that is still to come."""
_STAND_IN = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class MessageEncoder:
    """Turns messages into tokens for one model.

    Special tokens come from the template only. A name of one inside a message ("<|im_end|>") is cut into tokens like
    any other text; where no message holds such a name, the tokens are exactly those of the plain rendering.
    """

    def __init__(self, template: ChatTemplate, vocabulary: Vocabulary, *, first_token: bool = True) -> None:
        """Take the template and the tokens of a model.

        Args:
            first_token: Begin with the model's first token if it expects one and the template has not written it.
        """
        self.template, self.vocabulary = template, vocabulary
        self._first_token = first_token
        names = (vocabulary.name(token).decode("utf-8", "replace") for token in _controls(vocabulary))
        self._specials = sorted({name for name in names if len(name) > 1}, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, self._specials)) or "(?!)")
        heads = sorted({name[:n] for name in self._specials for n in range(2, len(name))}, key=len, reverse=True)
        self._beginning = re.compile("|".join(map(re.escape, heads)) or "(?!)")

    def text(self, messages: Sequence[BaseMessage], **variables: Any) -> str:
        """The plain rendering, as a person would read it."""
        return self._render([as_dict(message) for message in messages], variables)

    def tokens(self, messages: Sequence[BaseMessage], **variables: Any) -> list[int]:
        """The tokens of the prompt.

        Raises:
            TemplateError: The template fails or refuses the messages.
            Unsupported: A message holds something other than text.
        """
        rendered, hidden = self._guarded([as_dict(message) for message in messages], variables)
        return self._with_first(self._tokenize(rendered, hidden))

    def begun(self, messages: Sequence[BaseMessage]) -> tuple[list[int], str]:
        """The tokens up to where the text of the last message begins, and the plain text that would end it.

        Args:
            messages: The text of the last one must be `HERE`, the placeholder for text that is still to come.

        Raises:
            TemplateError: The template fails, refuses the messages, or leaves the last one out.
        """
        dicts = [as_dict(message) for message in messages]
        rendered, hidden = self._guarded(dicts, {"add_generation_prompt": False})
        before, mark, after = rendered.rpartition(HERE)
        if not mark:
            raise TemplateError(f"the chat template does not write a message of '{dicts[-1]['role']}' in the end")
        ending = self._special.split(after, maxsplit=1)[0]
        return self._with_first(self._tokenize(before, hidden)), ending.strip()

    def _guarded(self, dicts: list[dict[str, Any]], variables: Mapping[str, Any]) -> tuple[str, list[str]]:
        """The rendering in which no message can make a special token."""
        spoken = list(_texts([dicts, variables]))
        rendered, hidden = self._rendered(dicts, variables, self._special)
        if any(self._beginning.search(self._special.sub("", text)) for text in spoken):
            # A template that cuts pieces out of a message could join the halves of a name.
            safe, safe_hidden = self._rendered(dicts, variables, self._beginning)
            if len(self._special.findall(safe)) < len(self._special.findall(rendered)):
                return safe, safe_hidden
        return rendered, hidden

    def _rendered(
        self, dicts: list[dict[str, Any]], variables: Mapping[str, Any], unwanted: re.Pattern[str]
    ) -> tuple[str, list[str]]:
        """The rendering with stand-ins for what must not become a special token, and what they stand for."""
        hidden: list[str] = []

        def hide(match: re.Match[str]) -> str:
            hidden.append(match.group())
            return f"{_OPEN}{len(hidden) - 1}{_CLOSE}"

        def cover(text: str) -> str:
            return unwanted.sub(hide, text)

        covered = [_mapped(message, cover) for message in dicts]
        return self._render(covered, {name: _mapped(value, cover) for name, value in variables.items()}), hidden

    def _render(self, dicts: list[dict[str, Any]], variables: Mapping[str, Any]) -> str:
        bos, eos = self.vocabulary.bos, self.vocabulary.eos
        known = {
            "bos_token": "" if bos is None else self.vocabulary.name(bos).decode("utf-8", "replace"),
            "eos_token": "" if eos < 0 else self.vocabulary.name(eos).decode("utf-8", "replace"),
            "add_generation_prompt": True,
        }
        return self.template.render(dicts, **known | dict(variables))

    def _tokenize(self, rendered: str, hidden: list[str]) -> list[int]:
        tokens: list[int] = []
        trusted, position = [], 0
        for match in _STAND_IN.finditer(rendered):
            if int(match.group(1)) < len(hidden):
                trusted.append((rendered[position : match.start()], True))
                trusted.append((hidden[int(match.group(1))], False))
                position = match.end()
        for text, special in [*trusted, (rendered[position:], True)]:
            if text:
                tokens += self.vocabulary.tokenize(text, special=special)
        return tokens

    def _with_first(self, tokens: list[int]) -> list[int]:
        """The model's first token, unless the template has written it already."""
        bos = self.vocabulary.bos
        if not self._first_token or bos is None or not self.vocabulary.adds_bos or tokens[:1] == [bos]:
            return tokens
        return [bos, *tokens]


def as_dict(message: BaseMessage) -> dict[str, Any]:
    """A message as templates expect it.

    Raises:
        Unsupported: It holds images or other things that are not text.
    """
    entry: dict[str, Any] = {"role": _role(message), "content": plain_text(message)}
    if message.name:
        entry["name"] = message.name
    if isinstance(message, AIMessage) and message.tool_calls:
        entry["tool_calls"] = [
            {"type": "function", "id": call["id"], "function": {"name": call["name"], "arguments": call["args"]}}
            for call in message.tool_calls
        ]
    if isinstance(message, ToolMessage):
        entry["tool_call_id"] = message.tool_call_id
    return entry


def plain_text(message: BaseMessage) -> str:
    """The text of a message.

    Raises:
        Unsupported: It holds images or other things that are not text.
    """
    if isinstance(message.content, str):
        return message.content
    parts: list[str] = []
    for block in message.content:
        if isinstance(block, str):
            parts.append(block)
        elif block.get("type") in ("text", "text-plain"):
            parts.append(str(block.get("text", "")))
        elif block.get("type") not in _IGNORED:
            raise Unsupported(f"this chat model reads text only, and a message holds {block.get('type')!r}")
    return "".join(parts)


def with_hint(messages: Sequence[BaseMessage], hint: str) -> Sequence[BaseMessage]:
    """The messages with a sentence about the form of the answer at the end, unless the last one speaks of JSON."""
    if not hint or not messages or not isinstance(messages[-1], HumanMessage):
        return messages
    text = plain_text(messages[-1])
    if "json" in text.lower():
        return messages
    return [*messages[:-1], messages[-1].model_copy(update={"content": f"{text}\n\n{hint}"})]


# parts of an answer that stand elsewhere on the message, or that are not said to the model again
_IGNORED = frozenset({"tool_use", "tool_call", "tool_call_chunk", "input_json_delta", "reasoning", "thinking"})


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    for kind, role in (
        (SystemMessage, "system"),
        (HumanMessage, "user"),
        (AIMessage, "assistant"),
        (ToolMessage, "tool"),
    ):
        if isinstance(message, kind):
            return role
    raise TemplateError(f"chat templates know no message of type {type(message).__name__}")


def _controls(vocabulary: Vocabulary) -> Iterable[int]:
    return (token for token in range(vocabulary.size) if vocabulary.is_control(token))


def _texts(value: Any) -> Iterable[str]:
    """Every text in nested lists and dicts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return value

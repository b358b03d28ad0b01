"""The context of a program on a local model, as text and tokens: text is tokenized only once."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chainkit.base.errors import UnsupportedProgram
from chainkit.local.runtime import common
from chainkit.local.session import LocalSession
from chainkit.programs.model.chats import OpenMessage, extended
from chainkit.programs.model.protocol import SlotResult, Tally, ToolCall
from chainkit.programs.model.record import ROLE_BEGIN, ROLE_END

_KEPT = 4096  # texts of templates whose tokens are known
_TAIL = 8  # tokens at the end of a text that may change when it is continued


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text at the end of a context, with its tokens once they are known.

    Attributes:
        text: As a person reads it.
        tokens: None until the text was read.
        special: Whether names of special tokens in it are those tokens.
        literal: Whether it was not the model who wrote it, so that its last tokens may be taken back.
    """

    text: str
    tokens: tuple[int, ...] | None = None
    special: bool = False
    literal: bool = True


@dataclass(frozen=True, slots=True)
class HeldText:
    """The content of a context; frozen, so that a mark is the state itself.

    Attributes:
        messages: Those that are complete, on a chat model.
        opened: The open message, without its text.
        parts: Text after the messages.
    """

    messages: tuple[Any, ...] = ()
    opened: OpenMessage | None = None
    parts: tuple[TextPart, ...] = ()


class Cuts:
    """The tokens of texts, as a model cuts them; the texts of a template come again and again."""

    def __init__(self, vocabulary: Any) -> None:
        self._vocabulary = weakref.proxy(vocabulary)
        self._known: dict[tuple[str, bool, bool], tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def tokens(self, text: str, *, special: bool = False, whole: bool = False) -> tuple[int, ...]:
        """The tokens of a text; see `Vocabulary.tokenize` of the backend."""
        found = self._known.get((text, special, whole))
        if found is None:
            found = tuple(self._vocabulary.tokenize(text, special=special, whole=whole))
            with self._lock:
                if len(self._known) >= _KEPT:
                    self._known.clear()
                self._known[text, special, whole] = found
        return found


_cuts: weakref.WeakKeyDictionary[Any, Cuts] = weakref.WeakKeyDictionary()


def cuts(vocabulary: Any) -> Cuts:
    """The cuts of a vocabulary, shared by all programs on it."""
    found = _cuts.get(vocabulary)
    if found is None:
        found = _cuts[vocabulary] = Cuts(vocabulary)
    return found


@dataclass
class TokenContext:
    """Tokens in a session; text becomes tokens when something is generated.

    Attributes:
        session: The tokens that were read.
        chat: The chat model whose template writes the messages, or None if roles are marks in the text.
        held: What should be read.
    """

    session: LocalSession
    chat: Any
    tally: Tally
    name: str
    held: HeldText = field(default_factory=HeldText)
    begun: tuple[Any, Any, str, list[int], str] | None = None  # messages, tools, role; their tokens and what ends them

    def __post_init__(self) -> None:
        self.session.counters = self.tally

    @property
    def prompt(self) -> str:
        """All the model would read now."""
        text = "".join(part.text for part in self.held.parts)
        if self.chat is None:
            return text
        opened = self.held.opened
        if opened is not None and opened.role != "assistant":
            from chainkit.local.conversation import HERE

            messages = extended(self.held.messages, replace(opened, text=HERE))
            return self.chat.conversation.text(messages, add_generation_prompt=False).rpartition(HERE)[0] + text
        return (self.chat.prompt_text(self.held.messages) if self.held.messages else "") + text

    def append(self, text: str) -> None:
        """Put text at the end."""
        if self.chat is not None and self.held.opened is None:
            if text.strip():
                raise UnsupportedProgram(f"{self.name} takes messages, and {text.strip()[:40]!r} is outside of them")
            return
        self._add(TextPart(text))

    def open(self, role: str, attributes: Mapping[str, str]) -> None:
        """Begin a message."""
        if self.chat is None:
            marks = "".join(f' {name}="{value}"' for name, value in attributes.items())
            self._add(TextPart(f"{ROLE_BEGIN}{role}", special=True))
            self._add(TextPart(f"{marks}\n"))
        self.held = replace(self.held, opened=OpenMessage(role, attributes))

    def close(self) -> None:
        """End the message that is open."""
        assert self.held.opened is not None
        if self.chat is None:
            self._add(TextPart(ROLE_END, special=True))
            self.held = replace(self.held, opened=None)
            return
        opened = replace(self.held.opened, text="".join(part.text for part in self.held.parts))
        said = opened.text or opened.role != "assistant"
        messages = extended(self.held.messages, opened) if said else self.held.messages
        self.held = HeldText(messages)

    def add_tool_result(self, call: ToolCall, result: str) -> None:
        """The result of a call."""
        from langchain_core.messages import ToolMessage

        if self.chat is None:
            self._add(TextPart(f"\nResult of the tool {call.name}: {result}\n"))
        else:
            message = ToolMessage(result, tool_call_id=call.id, name=call.name)
            self.held = replace(self.held, messages=(*self.held.messages, message))

    def called(self, text: str, calls: Sequence[ToolCall]) -> None:
        """The model has asked for calls."""
        from langchain_core.messages import AIMessage

        if self.chat is None:
            self._add(TextPart(text))
            return
        wanted = [{"name": call.name, "args": dict(call.arguments), "id": call.id} for call in calls]
        message = AIMessage("", tool_calls=wanted)
        self.held = replace(self.held, messages=(*self.held.messages, message), parts=())

    def mark(self) -> object:
        """A place to go back to."""
        return self.held

    def rewind(self, mark: Any) -> None:
        """Forget all that came after the mark."""
        self.held = mark

    def fork(self) -> TokenContext:
        """A second context with the same text."""
        return TokenContext(self.session.fork(), self.chat, self.tally, self.name, self.held, self.begun)

    def replay(self, written: SlotResult) -> None:
        """Take up what a slot wrote in an earlier run."""
        if written.calls:
            self.called(written.data, written.calls)
        else:
            self.take(written.text, written.tokens, written.data or "")

    def release(self) -> None:
        """Give the memory to others."""
        self.session.close()

    def take(self, text: str, tokens: Sequence[int], healed: str = "") -> None:
        """Text that the model has written, as the tokens in which it wrote it.

        Args:
            text: The written text.
            tokens: Its tokens; text beyond `text` is ignored.
            healed: The end of the text before, if the tokens cover it too (token healing).
        """
        if healed:
            self._shorten(healed)
        data, used, length = (healed + text).encode("utf-8", "replace"), 0, 0
        for token in tokens:
            piece = self.session.vocabulary.piece(token)
            if data[length : length + len(piece)] != piece:
                break
            length += len(piece)
            used += 1
        certain = data[:length].decode("utf-8", "ignore")
        while used and certain.encode() != data[:length]:  # half a character
            used -= 1
            length -= len(self.session.vocabulary.piece(tokens[used]))
            certain = data[:length].decode("utf-8", "ignore")
        if certain:
            self._add(TextPart(certain, tuple(tokens[:used]), literal=False))
        if rest := (healed + text)[len(certain) :]:
            self._add(TextPart(rest, literal=False))

    def synchronise(self, tools: Any = None) -> LocalSession:
        """The session with all tokens of this context, and no others."""
        soft, known = self.session.tokens[: self.session.virtual], cuts(self.session.vocabulary)
        tokens = [*soft, *self._beginning(tools)]
        parts: list[TextPart] = []
        for part in _joined(self.held.parts):
            if part.tokens is None:
                whole = len(tokens) == len(soft) and not parts
                part = replace(part, tokens=known.tokens(part.text, special=part.special, whole=whole))
            parts.append(part)
            tokens.extend(part.tokens or ())
        self.held = replace(self.held, parts=tuple(parts))
        self.session.rewind(common(self.session.tokens, tokens))
        self.session.append(tokens[len(self.session.tokens) :])
        return self.session

    @property
    def tail(self) -> tuple[int, ...]:
        """The last tokens, as far as they are plain text that somebody gave."""
        last = self.held.parts[-1] if self.held.parts else None
        if last is None or not last.literal or last.special or last.tokens is None:
            return ()
        first = len(self.held.parts) == 1 and self.chat is None
        return last.tokens[-_TAIL:] if len(last.tokens) > _TAIL or not first else last.tokens[1:]

    def _shorten(self, text: str) -> None:
        *before, last = self.held.parts
        tokens, left = last.tokens or (), len(text.encode())
        while tokens and left > 0:
            left -= len(self.session.vocabulary.piece(tokens[-1]))
            tokens = tokens[:-1]
        shorter = replace(last, text=last.text[: len(last.text) - len(text)], tokens=tokens)
        self.held = replace(self.held, parts=(*before, shorter))

    def _beginning(self, toolbox: Any) -> list[int]:
        if self.chat is None:
            return []
        opened = self.held.opened
        if opened is None:
            raise UnsupportedProgram(f"{self.name} writes messages, and this slot is outside of every role")
        if opened.role != "assistant" and toolbox is not None:
            raise UnsupportedProgram(f"{self.name} calls tools as the assistant only, not as '{opened.role}'")
        known = self.begun
        if known is None or known[0] is not self.held.messages or known[1:3] != (toolbox, opened.role):
            ending = ""
            if opened.role == "assistant":
                tokens = self._rendered(toolbox)
            else:
                tokens, ending = self._opening(opened)
            self.begun = known = self.held.messages, toolbox, opened.role, tokens, ending
        return known[3]

    @property
    def ending(self) -> str:
        """Plain text with which the template ends the message that is open, where no special token ends it."""
        return self.begun[4] if self.chat is not None and self.begun is not None else ""

    def _opening(self, opened: OpenMessage) -> tuple[list[int], str]:
        from chainkit.local.conversation import HERE  # needs jinja2, which models without messages do not

        return self.chat.conversation.begun(extended(self.held.messages, replace(opened, text=HERE)))

    def _rendered(self, toolbox: Any) -> list[int]:
        from chainkit.local.tools import without_tools

        conversation = self.chat.conversation
        messages = without_tools(self.held.messages, toolbox, conversation.template)
        shown = {"tools": list(toolbox.tools)} if toolbox is not None and toolbox.native else {}
        return list(conversation.tokens(messages, **shown))

    def _add(self, part: TextPart) -> None:
        if part.text:
            self.held = replace(self.held, parts=(*self.held.parts, part))


def _joined(parts: Sequence[TextPart]) -> list[TextPart]:
    """Neighbours without tokens as one text, so that tokens may stand across their border."""
    result: list[TextPart] = []
    for part in parts:
        last = result[-1] if result else None
        if last and last.tokens is None and part.tokens is None and last.special == part.special:
            result[-1] = replace(last, text=last.text + part.text, literal=part.literal)
        else:
            result.append(part)
    return result

"""A model's own chat template: messages in, the text that the model was trained on out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from chainkit.base.errors import MissingLibrary, TemplateError

try:
    from jinja2 import Template
    from jinja2.exceptions import TemplateError as JinjaError

    from chainkit.local.sandbox import MAX_TEXT, ChatEnvironment, guarded, weigh, with_budget
except ImportError as error:
    raise MissingLibrary("jinja2", extra="gguf") from error

MAX_SOURCE = 128_000  # characters; the longest template in the wild has some 30,000
_STRANGE_TIME = re.compile(r"%[-_0^#]*\d")


class ChatTemplate:
    """A Jinja template in a sandbox, with what Hugging Face's templates expect.

    Attributes:
        source: The template.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._template = _compiled(source)

    def render(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """The prompt text for a conversation.

        Args:
            messages: Each with `role` and `content`.
            variables: What else the template may use: `tools`, `bos_token`, `add_generation_prompt`, ...

        Raises:
            TemplateError: The template fails, refuses the messages, or uses more time or text than any chat needs.
        """
        names = {"raise_exception": _raise, "strftime_now": _now, "messages": list(messages)} | variables
        try:
            return with_budget(lambda: self._template.generate(names))
        except TemplateError:
            raise
        except JinjaError as error:
            raise TemplateError(f"the chat template was refused: {error}") from error
        except Exception as error:  # a template may raise any exception
            raise TemplateError(f"the chat template failed: {type(error).__name__}: {str(error)[:300]}") from error

    def mentions(self, name: str) -> bool:
        """Whether the template uses a variable of this name: a template without `tools` ignores tools."""
        return re.search(rf"\b{re.escape(name)}\b", self.source) is not None


@lru_cache(maxsize=32)
def _compiled(source: str) -> Template:
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"the chat template has {len(source)} characters, and {MAX_SOURCE} are allowed")
    environment = ChatEnvironment()
    environment.filters["tojson"] = guarded(_tojson)
    try:
        return environment.from_string(source)
    except JinjaError as error:
        raise TemplateError(f"the chat template is not valid Jinja: {error}") from error
    except (RecursionError, SyntaxError, MemoryError, ValueError) as error:
        raise TemplateError(f"the chat template cannot be compiled: {type(error).__name__}") from error


def _raise(message: str = "") -> None:
    raise TemplateError(f"the chat template refuses these messages: {str(message)[:300]}")


def _now(pattern: str) -> str:
    if len(pattern) > 200 or _STRANGE_TIME.search(pattern):
        raise TemplateError(f"the chat template asks for a strange time format: {pattern[:50]!r}")
    return datetime.now().strftime(pattern)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """JSON as Hugging Face's templates expect it: no escapes for HTML."""
    if indent is not None and not 0 <= int(indent) <= 16:
        raise TemplateError(f"the chat template indents JSON by {indent}")
    weight = weigh(value, printed=True)
    between = sum(len(str(part)) for part in options.get("separators") or ("", ""))
    if weight.characters + weight.items * (between + 2 + (indent or 0) * weight.depth) > MAX_TEXT:
        raise TemplateError("the chat template makes a huge JSON text")
    known = {name: options[name] for name in ("separators", "sort_keys") if name in options}
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **known)

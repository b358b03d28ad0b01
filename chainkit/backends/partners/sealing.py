"""The seam of partner packages: their classes with chainkit's errors, whose words and tracebacks hold no key."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from functools import wraps
from typing import Any, cast

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, Field, PrivateAttr

from chainkit.backends.partners.faults import named
from chainkit.base.hiding import (
    ahides_locals,
    astream_hides_locals,
    hides_locals,
    stream_hides_locals,
)

Method = Callable[..., Any]
_PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def sealed(base: type[Any], provider: str, *, limits_tokens: bool, pickled: Callable[[Any], Any]) -> type[Any]:
    """A subclass that differs in its errors and its pickle only.

    Args:
        base: A class of a partner package: a chat model or embeddings.
        provider: Named in errors.
        limits_tokens: Give it the field `max_tokens`, which goes into each call that does not say otherwise.
        pickled: What `__reduce__` answers.
    """
    parent = _limited(base) if limits_tokens else base
    members: dict[str, Any] = {
        name: wrap(getattr(parent, name), provider)
        for name, wrap in _WRAPPERS.items()
        if hasattr(parent, name) and not _inherited(parent, name)
    }
    members |= {"__init__": hides_locals(parent.__init__), "__reduce__": pickled, "__module__": base.__module__}
    members |= {"_given": PrivateAttr(default=frozenset()), "__doc__": base.__doc__, "__qualname__": base.__qualname__}
    kind: Any = type(base)
    return kind(base.__name__, (parent,), members)


def settings(model: BaseModel, hidden: Collection[str]) -> dict[str, Any]:
    """Settings of a partner package's model, without keys and open connections, for pickling.

    Args:
        model: The model.
        hidden: Names, or aliases, of options to leave out.
    """
    fields, config = type(model).model_fields, type(model).model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return {
        (None if by_name else fields[name].alias) or name: value
        for name in sorted(model.model_fields_set & {*fields})
        if not {name, fields[name].alias} & {*hidden}
        and isinstance(value := getattr(model, name), _PLAIN)
        and not fields[name].exclude
        and value != fields[name].get_default(call_default_factory=True)
    }


def _inherited(kind: type[Any], name: str) -> bool:
    """Whether a method is langchain-core's default, which means that the model does not implement it."""
    return any(getattr(kind, name) is getattr(base, name, None) for base in (BaseChatModel, Embeddings))


def _limited(base: type[Any]) -> type[Any]:
    class Limited(base):
        max_tokens: int | None = Field(default=None, ge=1)

    for name in ("_generate", "_agenerate", "_stream", "_astream"):
        setattr(Limited, name, _limiting(getattr(base, name)))
    Limited.__name__ = Limited.__qualname__ = base.__name__
    return Limited


def _limiting(method: Method) -> Method:
    @wraps(method)
    def call(model: Any, *args: Any, **kwargs: Any) -> Any:
        limit = {} if model.max_tokens is None else {"max_tokens": model.max_tokens}
        return method(model, *args, **{**limit, **kwargs})

    return call


# each raises outside of `except`, or the error of the package would stay beside ours, whatever is in it
def _plain(method: Method, provider: str) -> Method:
    @hides_locals
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised below
            failed = named(error, provider)
        raise failed

    return call


def _async(method: Method, provider: str) -> Method:
    @ahides_locals
    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised below
            failed = named(error, provider)
        raise failed

    return call


def _stream(method: Method, provider: str) -> Method:
    @stream_hides_locals
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Generator[Any]:
        try:
            yield from method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised below
            failed = named(error, provider)
        else:
            return
        raise failed

    return call


def _astream(method: Method, provider: str) -> Method:
    @astream_hides_locals
    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        try:
            async for chunk in method(*args, **kwargs):
                yield chunk
        except Exception as error:  # noqa: BLE001 - raised below
            failed = named(error, provider)
        else:
            return
        raise failed

    return call


_WRAPPERS: Mapping[str, Callable[[Method, str], Method]] = {
    "_generate": _plain,
    "_agenerate": _async,
    "_stream": _stream,
    "_astream": cast("Any", _astream),
    "get_num_tokens_from_messages": _plain,
    "embed_documents": _plain,
    "embed_query": _plain,
    "aembed_documents": _async,
    "aembed_query": _async,
}


def remade(maker: Callable[..., Any], model: str, options: Mapping[str, Any]) -> Any:
    """The model of a pickle; its key is looked for again."""
    return maker(model=model, **options)

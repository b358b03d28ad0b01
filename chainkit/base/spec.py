"""The string that names a model: `provider:name?option=value&...`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from chainkit.base.errors import SpecError, UnknownProvider, nearest

_OPTIONS = re.compile(r"\?(?=[A-Za-z_]\w*=)")
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_FILE_PROVIDERS = {".gguf": "gguf", ".bin": "ggml"}


@dataclass(frozen=True)
class Spec:
    """A model's name, taken apart.

    Attributes:
        provider: Lower case, with `_` for `-`.
        name: What the provider calls the model; may be empty.
        options: Settings as they were written, all of them text.
    """

    provider: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])


def parse_spec(text: str, known: Collection[str]) -> Spec:
    """Take a spec apart, without asking whether the model exists.

    A bare path that ends in `.gguf` or `.bin` needs no provider; a provider alone is a spec too.

    >>> parse_spec("OpenAI:gpt-4o-mini?temperature=0", known={"openai"})
    Spec(provider='openai', name='gpt-4o-mini', options={'temperature': '0'})

    Raises:
        SpecError: The text is empty or its options cannot be read.
        UnknownProvider: The part before the colon is not among the known ones.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
        raise SpecError(f"a model is named by a text like 'openai:gpt-4o-mini', got {type(text).__name__}")
    main, options = split_options(text.strip())
    if not main:
        raise SpecError("the name of a model is empty; write it as 'provider:name', like 'openai:gpt-4o-mini'")
    prefix, colon, name = main.partition(":")
    provider = normalised(prefix)
    if provider in known and not _WINDOWS_DRIVE.match(main):
        return Spec(provider, name, options)
    if file_provider := _provider_of_file(main):
        return Spec(file_provider, main, options)
    if not colon:
        hint = nearest(provider, known)
        advice = f"did you mean '{hint}'? Else write" if hint else "write"
        raise SpecError(
            f"'{main}' names no provider; {advice} it as 'provider:name', like 'openai:{main}' or 'ollama:{main}'"
        )
    raise UnknownProvider(prefix, known, spec=main)


def written(spec: Spec) -> str:
    """A spec as one text, which `parse_spec` reads as the same spec; of a provider alone, its name.

    >>> written(Spec("openai", "m", {"user": "a&b"})), written(Spec("smollm2", ""))
    ('openai:m?user=a%26b', 'smollm2')
    """
    if not spec.name and not spec.options:
        return spec.provider
    pairs = [f"{name}={value.replace('%', '%25').replace('&', '%26')}" for name, value in spec.options.items()]
    return f"{spec.provider}:{spec.name}" + (f"?{'&'.join(pairs)}" if pairs else "")


def normalised(provider: str) -> str:
    """A provider's name as the tables have it.

    >>> normalised("Azure-OpenAI")
    'azure_openai'
    """
    return provider.strip().lower().replace("-", "_")


def _provider_of_file(path: str) -> str | None:
    return next((p for ending, p in _FILE_PROVIDERS.items() if path.lower().endswith(ending)), None)


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """Split a spec into the part before its options and the options.

    >>> split_options("fast?temperature=0")
    ('fast', {'temperature': '0'})

    Raises:
        SpecError: An option is not name=value, or is given twice.
    """
    match = _OPTIONS.search(text)
    if match is None:
        return text, {}
    name = text[: match.start()]
    options: dict[str, str] = {}
    for pair in text[match.end() :].split("&"):  # values may be keys, so no message shows one
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise SpecError(f"an option after '{name}?' is not name=value; write & as %26 inside a value")
        if key in options:
            raise SpecError(f"option '{key}' is given twice after '{name}?'")
        options[key] = unquote(value)
    return name, options

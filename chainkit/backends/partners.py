"""Providers whose clients others keep, as LangChain partner packages: data, and one way to make them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo

from chainkit.base.errors import KeyWithheld, MissingLibrary, SpecError
from chainkit.base.keys import KEY_VARIABLES, checked_key, need_key
from chainkit.base.redaction import remember


@dataclass(frozen=True, kw_only=True)
class Partner:
    """One class of a partner package, called like a class of chainkit: `partner(model=name, **options)`.

    Attributes:
        provider: The word before the colon of a spec, and under which its key is stored.
        package: The module that has the class.
        name: The class.
        extra: The chainkit extra that brings the package.
        key_option: What the class calls the key; empty if its library finds credentials by itself.
        model_option: What the class calls the name of the model.
        address_options: Options that send requests, and with them the key, to another host.
        plain_key: Whether the class wants the key as a text; one that is a `SecretStr` would be sent as `**********`.
        words: What the class calls options that other models have, by the usual word.
        limits_tokens: Whether a call takes `max_tokens` though the class has no such field.
    """

    provider: str
    package: str
    name: str
    extra: str
    key_option: str = "api_key"
    model_option: str = "model"
    address_options: tuple[str, ...] = ("base_url",)
    plain_key: bool = False
    words: Mapping[str, str] = field(default_factory=dict[str, str])
    limits_tokens: bool = False

    def load(self) -> Any:
        """The class itself.

        Raises:
            MissingLibrary: The package, or one that it needs, is not installed.
        """
        try:
            module = importlib.import_module(self.package)
        except ImportError as error:
            raise MissingLibrary(error.name or self.package, self.extra) from error
        found = getattr(module, self.name)
        return _limited(found) if self.limits_tokens else found

    @property
    def model_fields(self) -> Mapping[str, FieldInfo]:
        """The options of the class; the key is always `api_key`.

        An address is no option of a class that finds its credentials by itself: they would follow it anywhere.
        """
        fields: Mapping[str, FieldInfo] = self.load().model_fields
        fields = {**fields, **{word: fields[name] for word, name in self.words.items()}}
        if self.key_option:
            return {**fields, "api_key": FieldInfo(annotation=SecretStr)}
        return {
            name: field for name, field in fields.items() if not {name, field.alias}.intersection(self.address_options)
        }

    def __call__(self, *, model: str, **options: Any) -> Any:
        """The model, with the key that was given or found.

        Raises:
            SpecError: The model has no name.
            MissingKey: There is no key.
            KeyWithheld: There may be one, but another address is asked and gets only a key that was given.
            MissingLibrary: The package is not installed.
        """
        if not model.strip():
            raise SpecError(f"{self.provider} needs the name of a model, as in '{self.provider}:name'")
        if self.key_option:
            options = self._with_key(options)
        named = {self.words.get(name, name): value for name, value in options.items()}
        return self.load()(**{self.model_option: model}, **named)

    def _with_key(self, options: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in options.items() if name != "api_key"}
        given = options.get("api_key", rest.get(self.key_option))
        if given is not None:
            secret = given.get_secret_value() if isinstance(given, SecretStr) else str(given)
            return {**rest, self.key_option: self._as_wanted(secret)}
        for option in self.address_options:
            if rest.get(option):
                raise KeyWithheld(self.provider, KEY_VARIABLES[self.provider], f"the address in {option}")
        return {**rest, self.key_option: self._as_wanted(need_key(self.provider).secret)}

    def _as_wanted(self, secret: str) -> str | SecretStr:
        try:
            key = checked_key(secret, self.provider)
        except ValueError as error:
            raise SpecError(str(error)) from None
        remember(key)
        return key if self.plain_key else SecretStr(key)


@cache
def _limited(base: type[Any]) -> type[Any]:
    """A chat class with the field `max_tokens`, which goes into each call that does not say otherwise."""

    class Limited(base):
        max_tokens: int | None = Field(default=None, ge=1)

        def _told(self, kwargs: dict[str, Any]) -> dict[str, Any]:
            return kwargs if self.max_tokens is None else {"max_tokens": self.max_tokens, **kwargs}

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            return super()._generate(*args, **self._told(kwargs))

        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            return await super()._agenerate(*args, **self._told(kwargs))

        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            return super()._stream(*args, **self._told(kwargs))

        def _astream(self, *args: Any, **kwargs: Any) -> Any:
            return super()._astream(*args, **self._told(kwargs))

    Limited.__name__ = Limited.__qualname__ = base.__name__
    return Limited


ANTHROPIC_CHAT = Partner(
    provider="anthropic",
    package="langchain_anthropic",
    name="ChatAnthropic",
    extra="anthropic",
    address_options=("base_url", "anthropic_api_url", "anthropic_proxy"),
)
BEDROCK_CHAT = Partner(
    provider="bedrock",
    package="langchain_aws",
    name="ChatBedrockConverse",
    extra="bedrock",
    key_option="",
    address_options=("base_url", "endpoint_url"),
)
BEDROCK_EMBEDDINGS = Partner(
    provider="bedrock",
    package="langchain_aws",
    name="BedrockEmbeddings",
    extra="bedrock",
    key_option="",
    model_option="model_id",
    address_options=("endpoint_url",),
)
COHERE_CHAT = Partner(
    provider="cohere",
    package="langchain_cohere",
    name="ChatCohere",
    extra="cohere",
    key_option="cohere_api_key",
    words={"timeout": "timeout_seconds"},
    limits_tokens=True,
)
COHERE_EMBEDDINGS = Partner(
    provider="cohere",
    package="langchain_cohere",
    name="CohereEmbeddings",
    extra="cohere",
    key_option="cohere_api_key",
    plain_key=True,
)
GOOGLE_CHAT = Partner(
    provider="google",
    package="langchain_google_genai",
    name="ChatGoogleGenerativeAI",
    extra="google",
    address_options=("base_url", "client_options", "client_args"),
)
GOOGLE_EMBEDDINGS = Partner(
    provider="google",
    package="langchain_google_genai",
    name="GoogleGenerativeAIEmbeddings",
    extra="google",
    address_options=("base_url", "client_args"),
)

PARTNERS: tuple[Partner, ...] = (
    ANTHROPIC_CHAT,
    BEDROCK_CHAT,
    BEDROCK_EMBEDDINGS,
    COHERE_CHAT,
    COHERE_EMBEDDINGS,
    GOOGLE_CHAT,
    GOOGLE_EMBEDDINGS,
)
"""Every partner class that the registry has a row for."""

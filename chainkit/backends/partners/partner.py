"""One way to make the classes of LangChain's partner packages: by chainkit's specs, keys and errors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from chainkit.backends.partners.sealing import remade, sealed, settings
from chainkit.base.errors import KeyWithheld, MissingLibrary, SpecError
from chainkit.base.hiding import hides_locals, keep_keys_out_of_logs
from chainkit.base.keys import KEY_VARIABLES, checked_key, need_key
from chainkit.base.redaction import remember

_made: dict[type[Any], type[Any]] = {}


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
        loggers: Further libraries of the package that log answers of the service, keys in them too.
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
    loggers: tuple[str, ...] = ()

    def load(self) -> Any:
        """The class, made so that its errors are chainkit's and hold no key, as a subclass of the package's.

        Raises:
            MissingLibrary: The package, or one that it needs, is not installed.
        """
        try:
            module = importlib.import_module(self.package)
        except ImportError as error:
            raise MissingLibrary(error.name or self.package, self.extra) from error
        found = getattr(module, self.name)
        made = _made.get(found)
        if made is None:
            made = sealed(
                found, self.provider, limits_tokens=self.limits_tokens, pickled=lambda made: self._pickled(made)
            )
            _made[found] = made
        return made

    @property
    def model_fields(self) -> Mapping[str, FieldInfo]:
        """The options of the class; the key is always `api_key`.

        An address is not an option of a class that finds its credentials by itself: they would follow it anywhere.
        """
        fields: Mapping[str, FieldInfo] = self.load().model_fields
        fields = {**fields, **{word: fields[name] for word, name in self.words.items()}}
        if self.key_option:
            return {**fields, "api_key": FieldInfo(annotation=SecretStr)}
        return {
            name: field for name, field in fields.items() if not {name, field.alias}.intersection(self.address_options)
        }

    @hides_locals
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
        made = self.load()(**{self.model_option: model}, **named)
        made._given = frozenset(named)
        keep_keys_out_of_logs(self.package, *self.loggers)
        return made

    def _pickled(self, made: Any) -> tuple[Any, ...]:
        """What a pickle of a model of this row holds: how to make it again, and no key."""
        keys = [name for name in type(made).model_fields if isinstance(getattr(made, name), SecretStr)]
        given: frozenset[str] = made._given if self.key_option else frozenset()  # credentials follow no address
        usual = {*self.address_options} - given
        options = settings(made, {"api_key", self.key_option, *keys, *usual})
        called = [name for name, field in type(made).model_fields.items() if self.model_option in (name, field.alias)]
        model = next((options.pop(name) for name in (self.model_option, *called) if name in options), "")
        return remade, (self, model, options)

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

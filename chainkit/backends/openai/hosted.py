"""Settings of all models of OpenAI-compatible services: address, key and timeouts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from chainkit.backends.openai.access import Access, addresses, checked_url, find_accesses
from chainkit.backends.openai.client import MAX_REPLY_BYTES, Clients, Connection
from chainkit.backends.openai.services import COMPATIBLE, OPENAI, SERVICES, Kind, Service
from chainkit.base.errors import Unsupported, nearest
from chainkit.base.hiding import hides_locals

_KEY_IN_NAME = re.compile(r"api_?key\s*=", re.IGNORECASE)
KIND_NAMES = {
    "chat": "chat models",
    "responses": "the Responses API",
    "text": "models that continue a text",
    "embeddings": "embeddings",
}
SECRET_HEADERS = re.compile(r"authorization|cookie|.*(api|auth)[-_]?(key|token).*", re.IGNORECASE)


def _parsed(value: object) -> object:
    """JSON where a spec gives text: `openai:gpt-4o?extra_body={"top_k":1}`."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('expected JSON, like {"name": 1}') from None


def _without_input(error: ValidationError) -> ValidationError:
    """The same error without the input values, which `errors()` and a pickle would repeat, keys included."""
    lines: list[Any] = [
        {"type": fault["type"], "loc": fault["loc"], "input": None, "ctx": fault.get("ctx", {})}
        for fault in error.errors(include_input=False, include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, lines, hide_input=True)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


JsonObject = Annotated[dict[str, Any], BeforeValidator(_parsed)]
"""A dict, or JSON text of one."""
Texts = Annotated[list[str], BeforeValidator(_listed)]
"""A list of texts, or one text."""
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Hosted(BaseModel):
    """Base of a service's models.

    A key that is given is used for any address. Without one, the key is looked for in the environment, then among
    the stored ones, and sent to the provider's own hosts only; see `access.find_access`. It is never part of `repr`,
    of a pickle or of a serialised chain.

    Attributes:
        model: What the service calls the model.
        api_key: The key; better left to the environment.
        service: Whose address, key and habits apply, one of `services.SERVICES`; "openai" with another `base_url`
            means any service.
        base_url: The address of a compatible service, up to and including `/v1`; several with commas between them are
            servers of the same model, and calls go to the one that is least busy.
        timeout: Longest wait in seconds: for the head of an answer, for all of the rest of it, and between two pieces
            of a stream. A service that sends a byte now and then does not lengthen it.
        connect_timeout: Longest wait in seconds for a connection.
        first_token_timeout: Longest wait in seconds for the first piece of a stream, signs of life that hold nothing
            left out; None leaves it to `timeout`.
        total_timeout: Longest time in seconds for a call with all its repeats; None for no limit.
        max_retries: How often a call is repeated after a failure that may pass.
        max_retry_seconds: Longest time in seconds spent on waiting between repeats; a service that asks for more
            with Retry-After gets no second try.
        max_reply_bytes: The longest answer that is read, after decompression; a longer one is an error.
        headers: Sent with every request; none may hold a key.
        extra_body: Parameters that only this service knows.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    model: str
    api_key: SecretStr | None = Field(default=None, repr=False)
    service: str = "openai"
    base_url: str | None = None
    timeout: Seconds = 600.0
    connect_timeout: Seconds = 5.0
    first_token_timeout: Seconds | None = None
    total_timeout: Seconds | None = None
    max_retries: int = Field(default=2, ge=0, le=20)
    max_retry_seconds: float = Field(default=60.0, ge=0, allow_inf_nan=False)
    max_reply_bytes: int = Field(default=MAX_REPLY_BYTES, ge=1_000)
    headers: Annotated[dict[str, str], BeforeValidator(_parsed)] = Field(default_factory=dict, repr=False)
    extra_body: JsonObject = Field(default_factory=dict)

    _clients: Clients = PrivateAttr(default_factory=Clients)
    _found: dict[tuple[str, str | None, SecretStr | None], tuple[Access, ...]] = PrivateAttr(default_factory=dict)

    if not TYPE_CHECKING:  # there the options are those of the fields

        @hides_locals
        def __init__(self, *args: Any, **options: Any) -> None:
            try:
                super().__init__(*args, **options)
            except ValidationError as error:
                refused = _without_input(error)
            else:
                return
            raise refused  # outside of `except`: the other would stay beside it

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            names = [name for key, field in cls.model_fields.items() for name in (key, field.alias) if name]
            for option in given:
                if option not in names:
                    hint = nearest(str(option), names)
                    advice = f"did you mean '{hint}'? " if hint else ""
                    other = "what only this service knows goes into extra_body={...}"
                    raise ValueError(f"no option '{option}'; {advice}{other}")
            service = SERVICES.get(str(given.get("service")))
            if service and service.any_model and not str(given.get("model") or "").strip():
                return {**given, "model": service.any_model}
        return given

    @field_validator("model")
    @classmethod
    def _named(cls, model: str) -> str:
        if not model.strip():
            raise ValueError("the service needs the name of a model, like openai:gpt-4o-mini")
        if _KEY_IN_NAME.search(model):
            raise ValueError("the name of the model holds an API key; options follow one '?': openai:NAME?api_key=KEY")
        return model

    @field_validator("service")
    @classmethod
    def _known_service(cls, service: str) -> str:
        if service not in SERVICES:
            hint = nearest(service, SERVICES)
            advice = f"did you mean '{hint}'?" if hint else f"there are: {', '.join(SERVICES)}"
            raise ValueError(f"no service '{service}'; {advice}")
        return service

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, base_url: str | None) -> str | None:
        for address in () if base_url is None else addresses(base_url) or [base_url]:
            checked_url(address)
        return base_url

    @field_validator("headers")
    @classmethod
    def _no_secret_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if SECRET_HEADERS.fullmatch(name):
                raise ValueError(f"header '{name}' would hold a secret in the open; give the key as api_key")
        return headers

    @model_validator(mode="after")
    def _find_key(self) -> Any:
        """Fail now and not in the first call if there is no key, or no such kind of model."""
        self._accesses()
        self._check_kind()
        return self

    def _needed(self) -> Kind:
        """Which of its kinds of models the service needs to have."""
        raise NotImplementedError

    def _check_kind(self) -> None:
        kind, service = self._needed(), self._habits
        if kind not in service.kinds:
            has = ", ".join(sorted(service.kinds))
            raise Unsupported(
                f"{service.name} is not known to have {KIND_NAMES[kind]} (it has: {has}); if yours does, give its "
                "address: openai:...?base_url=..."
            )

    @property
    def _habits(self) -> Service:
        """The quirks of this model's service."""
        service = SERVICES[self.service]
        own = self.base_url is None or all(access.own for access in self._accesses())
        return COMPATIBLE if service is OPENAI and not own else service

    def __getstate__(self) -> dict[Any, Any]:
        """A pickle holds no key; the model looks for one again when it is used."""
        state = super().__getstate__()
        private = {**(state["__pydantic_private__"] or {}), "_found": {}}
        fields = {**state["__dict__"], "api_key": None}
        fields.pop("_serialized", None)
        return {**state, "__dict__": fields, "__pydantic_private__": private}

    def _accesses(self) -> tuple[Access, ...]:
        """The address and the key of each server."""
        place = (self.service, self.base_url, self.api_key)
        found = self._found.get(place)
        if found is None:
            secret = self.api_key.get_secret_value() if self.api_key else None
            found = self._found[place] = find_accesses(SERVICES[self.service], self.base_url, secret)
        return found

    def _connection(self) -> Connection:
        access, *others = self._accesses()
        return Connection(
            provider=self.service,
            variables=SERVICES[self.service].variables,
            access=access,
            others=tuple(others),
            timeout=self.timeout,
            connect_timeout=self.connect_timeout,
            first_token_timeout=self.first_token_timeout,
            total_timeout=self.total_timeout,
            max_retries=self.max_retries,
            max_retry_seconds=self.max_retry_seconds,
            max_reply_bytes=self.max_reply_bytes,
            headers=tuple(self.headers.items()),
        )

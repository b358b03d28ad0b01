"""Whether JSON is of a schema, as a whole and as it grows: what no grammar can say is checked here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from chainkit.base.errors import ConstraintError
from chainkit.decoding.outline import Outline, end_of, load
from chainkit.decoding.schemas import adapter, readable, schema_of

# faults of an object or array that no further key or item mends
_LASTING = frozenset({"uniqueItems", "maxItems", "maxProperties", "additionalProperties", "propertyNames", "type"})
# what these say may change with each key that comes
_CHANGING = frozenset({"if", "then", "else", "unevaluatedProperties", "unevaluatedItems"})
_CHECKED_TYPES = frozenset(
    {"bytes", "decimal", "timedelta", "url", "multi-host-url", "complex", "date", "datetime", "time"}
)


@dataclass(frozen=True)
class Fault:
    """Why a value is not of a schema.

    Attributes:
        reason: In words.
        path: Keys and indices that lead to the value.
    """

    reason: str
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        where = "".join(f"[{step!r}]" for step in self.path)
        return f"{self.reason} (at {where})" if where else self.reason


@dataclass(frozen=True)
class Validator:
    """Tells whether JSON is of a schema, and of a type of pydantic where the schema comes from one.

    Attributes:
        text: The schema as JSON.
        source: The type that it comes from; None if it was given as a dict.
    """

    text: str
    source: Any = None

    @classmethod
    def of(cls, schema: Any) -> Validator:
        """The validator of a JSON schema or a type.

        Raises:
            ConstraintError: The schema is none, or refers to another document.
        """
        made = cls(json.dumps(schema_of(schema)), schema if readable(schema) else None)
        _rules(made.text)
        return made

    def fault(self, value: Any, text: str | bytes | None = None) -> Fault | None:
        """Why a value is not of the schema, or None.

        Args:
            value: As `json.loads` gives it.
            text: The JSON that it was read from, where the type has numbers that a float cannot hold.
        """
        rules = _rules(self.text)
        try:
            if rules.is_valid(value):
                return None if self.source is None else self._typed(json.dumps(value) if text is None else text)
            error = next(iter(rules.iter_errors(value)))
        except UnicodeEncodeError as error:
            return Fault(f"a text is not valid Unicode ({error.reason})")
        return Fault(_short(error.message), tuple(error.instance_path))

    def fault_of_text(self, text: str | bytes) -> Fault | None:
        """Why a text is not JSON of the schema, or None."""
        try:
            value = load(text)
        except ValueError as error:
            return Fault(f"it is not JSON ({error})")
        return self.fault(value, text)

    def fault_so_far(self, data: bytes, outline: Outline) -> Fault | None:
        """Why no text that begins so can be of the schema, as far as whole values and keys show it."""
        try:
            value = outline.partial(data)
            if _rules(self.text).is_valid(value):
                return None
        except ValueError as error:
            return Fault(str(error))
        opened, waiting = outline.open_paths(value)
        for error in _rules(self.text).iter_errors(value):
            if _lasts(error, opened, waiting):
                return Fault(_short(error.message), tuple(error.instance_path))
        return None

    @property
    def impossible(self) -> bool:
        """Whether it is certain that no value is of the schema; False where that is hard to tell."""
        import jsonschema_rs

        try:
            form = jsonschema_rs.canonicalize(json.loads(self.text), validate_formats=True, offline=True)
        except ValueError:
            return False
        return form.kind == jsonschema_rs.canonical.CanonicalKind.FALSE

    def place(self, text: str, fault: Fault) -> int:
        """Where the faulty value ends, in characters; for a missing one, where its object ends."""
        return end_of(text, fault.path)

    @cached_property
    def _adapter(self) -> Any:
        return adapter(self.source)

    def _typed(self, text: str | bytes) -> Fault | None:
        from pydantic import ValidationError

        try:
            self._adapter.validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            return Fault(str(first["msg"]), tuple(step for step in first["loc"] if isinstance(step, str | int)))
        return None

    @cached_property
    def typed_further(self) -> bool:
        """Whether the type demands more of a value than its schema says."""
        return self.source is not None and _demands(self._adapter.core_schema)


def _lasts(error: Any, opened: list[str] | None, waiting: list[str] | None) -> bool:
    """Whether a fault of a partial value stays, whatever comes."""
    if opened is None:
        return True
    at = list(map(str, error.instance_path))  # keys of digits come as numbers
    if at == waiting or _CHANGING.intersection(map(str, error.schema_path)):
        return False
    return error.kind.name in _LASTING if at == opened[: len(at)] else True


@lru_cache(256)
def _rules(text: str) -> Any:
    import jsonschema_rs  # only needed where there is a schema

    try:
        return jsonschema_rs.validator_for(json.loads(text), validate_formats=True, offline=True)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise ConstraintError(f"the JSON schema cannot be followed: {_short(str(error))}") from error


def _demands(core: Any, depth: int = 0) -> bool:
    """Whether a pydantic core schema has validator functions, or types that check more than their JSON schema says."""
    if isinstance(core, dict):
        kind = core.get("type")
        if isinstance(kind, str) and (kind.startswith("function-") or kind in _CHECKED_TYPES):
            return True
        return any(_demands(value, depth + 1) for key, value in core.items() if key not in ("metadata", "cls"))
    return isinstance(core, list | tuple) and any(_demands(item, depth + 1) for item in core)


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= 300 else f"{line[:297]}..."

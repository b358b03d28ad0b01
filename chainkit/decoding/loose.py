"""A grammar that takes all values of a JSON schema, and perhaps more: for schemas that no exact grammar can say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llguidance import LLMatcher

from chainkit.decoding.schemas import resolved

_KINDS = ("object", "array", "string", "number", "integer", "boolean", "null")
_LIMITS = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_MOST_NAMES = 400  # maximum number of named keys that a free key must differ from


def loose_grammar(schema: Mapping[str, Any], whitespace: str) -> str:
    """A grammar in Lark's syntax: objects have their keys in any order, and what combines schemas is widened.

    Args:
        schema: Any JSON schema.
        whitespace: A regular expression of what may stand between the parts.
    """
    rules = _Rules(schema, whitespace)
    start = rules.of(schema)
    return f"start: {start}\n" + "\n".join(f"{name}: {body}" for name, body in rules.bodies.items()) + "\n"


class _Rules:
    def __init__(self, root: Mapping[str, Any], whitespace: str) -> None:
        self._root = root
        self._options = {"x-guidance": {"whitespace_pattern": whitespace, "lenient": True, "coerce_one_of": True}}
        self._names: dict[str, str] = {}
        self.bodies: dict[str, str] = {"WS": f"/{whitespace}/", "any": self._json({})}

    def of(self, schema: Any) -> str:
        """The name of the rule for a schema."""
        if not isinstance(schema, Mapping) or not schema:
            return "any"
        key = json.dumps(schema, sort_keys=True)
        if key not in self._names:
            name = self._names[key] = f"r{len(self._names)}"
            self.bodies[name] = ""  # in its place before the rules it needs
            self.bodies[name] = self._body(schema)
        return self._names[key]

    def _body(self, schema: Mapping[str, Any]) -> str:
        must = list(self._members(schema, ("allOf",)))
        for one in must:
            if "enum" in one or "const" in one:
                return self._json({"enum": one["enum"] if "enum" in one else [one["const"]]})
        branches = _branches(must)
        if branches is not None:
            return " | ".join(dict.fromkeys(self.of(branch) for branch in branches)) or "any"
        kinds = self._kinds(must)
        if kinds == set(_KINDS) and not any("properties" in one or "items" in one for one in must):
            return "any"
        makers = {"object": self._object, "array": self._array}
        found = [makers[kind](schema, must) for kind in ("object", "array") if kind in kinds]
        found += [self._scalar(kind, must) for kind in ("string", "number", "integer") if kind in kinds]
        found += ['"true" | "false"'] * ("boolean" in kinds) + ['"null"'] * ("null" in kinds)
        return " | ".join(found) or "any"

    def _members(self, schema: Any, keys: Sequence[str], depth: int = 0) -> Iterator[Mapping[str, Any]]:
        """A schema with those that it refers to and those in the lists of these keys."""
        if not isinstance(schema, Mapping) or depth > 12:
            return
        yield schema
        if isinstance(reference := schema.get("$ref"), str):
            yield from self._members(resolved(reference, self._root), keys, depth + 1)
        for key in keys:
            value = schema.get(key)
            for part in value if isinstance(value, list) else [value]:
                yield from self._members(part, keys, depth + 1)

    def _kinds(self, must: Sequence[Mapping[str, Any]]) -> set[str]:
        kinds: set[str] = set(_KINDS)
        for one in must:
            named = one.get("type")
            if isinstance(named, str | list):
                allowed = {named} if isinstance(named, str) else set(filter(_is_text, named))
                kinds &= allowed | ({"integer"} if "number" in allowed else set[str]())
        return kinds - {"integer"} if "number" in kinds else kinds

    def _object(self, schema: Mapping[str, Any], must: Sequence[Mapping[str, Any]]) -> str:
        parts: dict[str, str] = {}
        for one in must:
            for name, part in _properties(one).items():
                if part is not False:
                    parts.setdefault(name, self.of(part))
        shut = next((one for one in must if one.get("additionalProperties") is False), None)
        if shut is not None and not shut.get("patternProperties"):
            own = _properties(shut)
            parts = {name: rule for name, rule in parts.items() if name in own}
            free = ""
        else:
            alone = len(must) == 1 and not any(key in schema for key in ("patternProperties", "anyOf", "oneOf"))
            other = schema.get("additionalProperties") if alone else None
            free = f'{self._free_key(parts)} WS ":" WS {self.of(other) if isinstance(other, Mapping) else "any"}'
        pairs = [f'{_literal(name)} WS ":" WS {rule}' for name, rule in parts.items()]
        pairs += [free] if free else []
        if not pairs:
            return '"{" WS "}"'
        pair = self._helper(" | ".join(pairs))
        return f'"{{" WS "}}" | "{{" WS {pair} (WS "," WS {pair})* WS "}}"'

    def _free_key(self, names: Mapping[str, Any]) -> str:
        text = r'/"(\\(["\\\/bfnrt]|u[a-fA-F0-9]{4})|[^"\\\x00-\x1F\x7F])*"/'
        if not names or len(names) > _MOST_NAMES:
            return self._helper(text, "KEY")
        return self._helper(f"{text} & ~({' | '.join(map(_literal, names))})", "KEY")

    def _array(self, schema: Mapping[str, Any], must: Sequence[Mapping[str, Any]]) -> str:
        rules: dict[str, None] = {}
        for one in must:
            listed = one.get("prefixItems", one.get("items"))
            if isinstance(listed, list):
                rest = one.get("items" if "prefixItems" in one else "additionalItems", True)
                rules = dict.fromkeys(self.of(part) for part in [*listed, *([rest] if rest is not False else [])])
                break
            if "items" in one:
                rules = {self.of(one["items"]): None}
                if one["items"] is False:
                    return '"[" WS "]"'
                break
        item = self._helper(" | ".join(rules or {"any": None}))
        return f'"[" WS "]" | "[" WS {item} (WS "," WS {item})* WS "]"'

    def _scalar(self, kind: str, must: Sequence[Mapping[str, Any]]) -> str:
        names = _LIMITS["string" if kind == "string" else "number"]
        for one in must:
            limits = {name: one[name] for name in names if name in one and not isinstance(one[name], bool)}
            if limits:
                body = self._json({"type": kind, **limits})
                if not LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(f"start: {body}\n")):
                    return body
        return self._json({"type": kind})

    def _json(self, schema: Mapping[str, Any]) -> str:
        return f"%json {json.dumps({**schema, **self._options})}"

    def _helper(self, body: str, prefix: str = "p") -> str:
        for name, known in self.bodies.items():
            if known == body and name.startswith(prefix):
                return name
        name = f"{prefix}{len(self.bodies)}"
        self.bodies[name] = body
        return name


def _branches(must: Sequence[Mapping[str, Any]]) -> list[Any] | None:
    """The alternatives of schemas that say nothing but these."""
    said = [one for one in must if set(one) & {"type", "properties", "items", "additionalProperties", "required"}]
    choices = [one[key] for one in must for key in ("anyOf", "oneOf") if isinstance(one.get(key), list)]
    return choices[0] if choices and not said else None


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def _literal(name: str) -> str:
    return json.dumps(json.dumps(name, ensure_ascii=False), ensure_ascii=False)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)

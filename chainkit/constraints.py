"""Constraints for constrained decoding: regular expressions, choices, JSON schemas, Lark grammars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.decoding.constraints import Constraint as Constraint
    from chainkit.decoding.constraints import any_json_object as any_json_object
    from chainkit.decoding.constraints import choices as choices
    from chainkit.decoding.constraints import json_schema as json_schema
    from chainkit.decoding.constraints import lark as lark
    from chainkit.decoding.constraints import regex as regex

_HOMES = {
    "Constraint": "chainkit.decoding.constraints",
    "any_json_object": "chainkit.decoding.constraints",
    "choices": "chainkit.decoding.constraints",
    "json_schema": "chainkit.decoding.constraints",
    "lark": "chainkit.decoding.constraints",
    "regex": "chainkit.decoding.constraints",
}

__all__ = [
    "Constraint",
    "any_json_object",
    "choices",
    "json_schema",
    "lark",
    "regex",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)

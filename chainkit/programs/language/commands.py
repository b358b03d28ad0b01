"""The commands of the language and their parameters, in the order in which they may be written without names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    """The arguments of a command.

    Attributes:
        parameters: Names, in order.
        required: Those that must be there.
        passes: Whether it takes other names too: settings of the model, attributes of a role.
        rest: Whether it takes any number of values without names.
        aliases: Other names for parameters.
    """

    parameters: tuple[str, ...]
    required: tuple[str, ...] = ()
    passes: bool = False
    rest: bool = False
    aliases: Mapping[str, str] | None = None


GEN = (
    "name stop stop_regex save_stop_text max_tokens n stream temperature top_p logprobs pattern hidden list_append "
    "save_prompt token_healing function_call schema grammar type options tools tool_choice tool_rounds retries seed"
)
GEN_EACH = (
    "list_name stop max_iterations min_iterations num_iterations hidden join single_call single_call_temperature "
    "single_call_max_tokens single_call_top_p"
)

COMMANDS: Mapping[str, Signature] = {
    "gen": Signature(tuple(GEN.split()), passes=True),
    "select": Signature(
        ("name", "options", "logprobs", "list_append", "method", "temperature", "seed", "hidden", "retries"),
        aliases={"variable_name": "name"},
    ),
    "set": Signature(("name", "value", "hidden"), ("name",)),
    "await": Signature(("name", "consume"), ("name",)),
    "parse": Signature(("string", "name", "hidden"), ("string",)),
    "break": Signature(()),
    "continue": Signature(()),
}
"""Commands that stand in a tag of their own."""

ROLES = ("system", "user", "assistant", "function", "tool")

BLOCKS: Mapping[str, Signature] = {
    "if": Signature(("value", "invert"), ("value",)),
    "unless": Signature(("value",), ("value",)),
    "each": Signature(("list", "hidden", "parallel", "item_name", "start_index", "join"), ("list",)),
    "geneach": Signature(tuple(GEN_EACH.split()), ("list_name",), aliases={"name": "list_name"}),
    "block": Signature(("name", "hidden")),
    "select": COMMANDS["select"],
    "role": Signature(("role_name", "hidden"), ("role_name",), passes=True),
    **{role: Signature(("hidden",), passes=True) for role in ROLES},
}
"""Commands that end with `{{/name}}`."""

INCLUDE = Signature((), passes=True, rest=True)

SEPARATORS = ("else", "elif", "or")
VALUES = ("await", "gen", "parse", "select")
"""Commands that can stand inside another one: `{{set 'a' (await 'b')}}`."""

CONSTANTS: Mapping[str, object] = {
    "True": True,
    "true": True,
    "False": False,
    "false": False,
    "None": None,
    "none": None,
    "null": None,
}

FOREIGN_MARKS: Mapping[str, str] = {
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "|": "there are no filters; give a function as a variable and write {{f x}}",
    "$": "write the name without it",
    "`": "put texts in straight quotes, ' or \"",
    **dict.fromkeys("“”„‘’«»", "texts stand in straight quotes, ' or \""),
}
"""Marks of other languages inside a tag, and what to write instead."""

FOREIGN_TAGS: Mapping[str, str] = {
    "if": "{{#if a}}...{{else}}...{{/if}}",
    "elif": "{{elif a}}",
    "else": "{{else}}",
    "endif": "{{/if}}",
    "for": "{{#each list item_name='x'}}...{{/each}}",
    "endfor": "{{/each}}",
    "set": "{{set 'name' value}}",
    "include": "{{>program}}",
}
"""Jinja's commands, and what to write instead."""

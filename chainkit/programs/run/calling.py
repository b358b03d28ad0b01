"""Values of expressions, calls of functions, and programs included in others."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from chainkit.base.errors import MissingVariable, ProgramError, nearest
from chainkit.programs.language.commands import BLOCKS, COMMANDS
from chainkit.programs.language.syntax import (
    Binary,
    Call,
    DictOf,
    Expression,
    Include,
    Inner,
    Item,
    ListOf,
    Literal,
    Name,
    Template,
    Unary,
)
from chainkit.programs.run import text_calls, values
from chainkit.programs.run.line import ExecutionLine
from chainkit.programs.run.steps import Invoke, Steps

_SHELL_SECONDS = 60.0
_COMMAND_NAMES = (*COMMANDS, *values.FUNCTIONS, *BLOCKS, "shell")
_CLOSELY = 0.85  # a bare name is more likely a variable than a misspelt command


def value(run: ExecutionLine, expression: Expression) -> Steps:
    """The value of an expression."""
    try:
        return (yield from _value(run, expression))
    except ProgramError as error:
        error.at(run.source, expression.at)
        raise


def _value(run: ExecutionLine, expression: Expression) -> Steps:
    match expression:
        case Literal():
            return expression.value
        case Name():
            return _named(run, expression.name)
        case Item():
            of = yield from value(run, expression.of)
            return values.member(of, (yield from value(run, expression.key)))
        case Unary():
            of = yield from value(run, expression.value)
            return not values.truth(of) if expression.operator == "not" else values.unary("-", of)
        case Binary():
            return (yield from _binary(run, expression))
        case ListOf():
            return (yield from _all(run, expression.items))
        case DictOf():
            return (yield from _dict(run, expression))
        case Call():
            return (yield from _call(run, expression))
        case Inner():
            return (yield from run.command(expression))


def _named(run: ExecutionLine, name: str) -> Any:
    if name in run.scope:
        return run.scope[name]
    if name in ("@prefix", "@raw_prefix"):
        spans = run.record.spans
        return run.context.prompt if name == "@raw_prefix" else "".join(s.text for s in spans if not s.hidden)
    if name in values.FUNCTIONS:
        return values.FUNCTIONS[name]
    if name == "llm" or name in text_calls.NAMES:
        about = text_calls.TextCallModel(run.shared.abilities)
        return about if name == "llm" else about[name]
    raise MissingVariable(missing(name, run.scope.names()))


def missing(name: str, variables: Sequence[str]) -> str:
    """The error text for an unknown name."""
    if name.startswith("@"):
        special = [one for one in variables if one.startswith("@")]
        there = f"here there is {', '.join(special)}" if special else "it is known inside loops"
        return f"there is no {name} here; {there}; @prefix and @raw_prefix are known everywhere"
    hint = nearest(name, variables)
    if hint:
        return f"the variable '{name}' is missing; did you mean '{hint}'?"
    if name in BLOCKS or difflib.get_close_matches(name, _COMMAND_NAMES, n=1, cutoff=_CLOSELY):
        return no_command(name, variables)
    given = f"given: {', '.join(variables[:20])}" if variables else "no variables were given"
    return f"the variable '{name}' is missing; {given}"


def no_command(name: str, variables: Sequence[str]) -> str:
    """The error text for an unknown command."""
    if name in BLOCKS and name not in COMMANDS:
        return f"{name} is a block: write {{{{#{name} ...}}}}...{{{{/{name}}}}}"
    hint = near_command(name) or nearest(name, variables)
    advice = f"did you mean '{hint}'?" if hint else "functions are given as variables, as in program(..., f=f)"
    return f"there is no command or function '{name}'; {advice}"


def near_command(name: str) -> str | None:
    """The command that a name may have been meant to be."""
    return nearest(name, _COMMAND_NAMES)


def _binary(run: ExecutionLine, node: Binary) -> Steps:
    left = yield from value(run, node.left)
    if node.operator == "and":
        return left if not values.truth(left) else (yield from value(run, node.right))
    if node.operator == "or":
        return left if values.truth(left) else (yield from value(run, node.right))
    return values.binary(node.operator, left, (yield from value(run, node.right)))


def _dict(run: ExecutionLine, node: DictOf) -> Steps:
    result: dict[Any, Any] = {}
    for key, item in node.items:
        name = yield from value(run, key)
        if not isinstance(name, str | int | float):
            raise ProgramError("a key of a dict is a text or a number").at(run.source, key.at)
        result[name] = yield from value(run, item)
    return result


def _all(run: ExecutionLine, expressions: Sequence[Expression]) -> Steps:
    results: list[Any] = []
    for expression in expressions:
        result = yield from value(run, expression)
        results.append(result)
    return results


def _call(run: ExecutionLine, node: Call) -> Steps:
    function = yield from _function(run, node.function)
    positional = yield from _all(run, node.positional)
    named: dict[str, Any] = {}
    for name, argument in node.named.items():
        named[name] = yield from value(run, argument)
    return (yield from called(run, node.function, function, positional, named))


def _function(run: ExecutionLine, expression: Expression) -> Steps:
    if not isinstance(expression, Name):
        function = yield from value(run, expression)
        if not callable(function):
            raise ProgramError(f"this {type(function).__name__} is not a function, and cannot be given values")
        return function
    name = expression.name
    if name in run.scope and callable(run.scope[name]):
        return run.scope[name]
    if name in run.scope and (call := text_calls.extract_function_call(run.scope[name])) is not None:
        return _called_in_text(run, call)
    if name in values.FUNCTIONS:
        return values.FUNCTIONS[name]
    if name == "extract_function_call" and name not in run.scope:
        return text_calls.extract_function_call
    if name == "shell" and name not in run.scope:
        if not run.shared.shell:
            raise ProgramError("shell is not allowed; allow it with program(...).with_options(shell=True)")
        return _shell
    if name in run.scope:
        raise ProgramError(f"'{name}' is a {type(run.scope[name]).__name__} and no function, so nothing may follow it")
    raise MissingVariable(no_command(name, run.scope.names()))


def _called_in_text(run: ExecutionLine, call: text_calls.TextCall) -> Callable[..., Any]:
    """The function that the model calls in its text; it must be a variable, and among `functions` if that is set."""
    described = text_calls.names_of(run.scope["functions"]) if "functions" in run.scope else None
    known = [name for name in run.scope.names() if callable(run.scope[name])]
    if call.name not in known or (described is not None and call.name not in described):
        there = ", ".join(name for name in known if described is None or name in described) or "none"
        raise ProgramError(f"the model calls '{call.name}', which is not a function that it may call: {there}")
    function = run.scope[call.name]
    if problem := misfit(function, (), call.arguments):
        raise ProgramError(f"{call.name} does not take the values that the model wrote: {problem}")
    return partial(function, **call.arguments)


def called(
    run: ExecutionLine,
    expression: Expression,
    function: Callable[..., Any],
    positional: Sequence[Any],
    named: Mapping[str, Any],
) -> Steps:
    """The result of a function; its exceptions are reported with the place of the call."""
    built_in = any(function is known for known in values.FUNCTIONS.values()) or isinstance(function, values.Method)
    if built_in:
        try:
            return function(*positional, **named)
        except TypeError as error:
            raise ProgramError(f"it does not take these values: {error}") from error
    if problem := misfit(function, positional, named):
        raise ProgramError(f"{getattr(function, '__name__', 'the function')} does not take these values: {problem}")
    try:
        return (yield Invoke(function, positional, named))
    except ProgramError:
        raise
    except Exception as error:
        place = ProgramError("", run.source, expression.at)
        error.add_note(f"in a function called by the program at line {place.line}, column {place.column}")
        raise


def misfit(function: Callable[..., Any], positional: Sequence[Any], named: Mapping[str, Any]) -> str:
    """Why a function cannot be called with these arguments; empty if it can, or if it does not tell."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # a built-in function without a signature
        return ""
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        return str(error)
    return ""


def include(run: ExecutionLine, node: Include, following: str) -> Steps:
    """Run another program here, with the variables of this one."""
    if node.fallback is not None and isinstance(node.program, Name) and node.program.name not in run.scope:
        yield from run.inside().run(node.fallback, following)
        return
    program = yield from value(run, node.program)
    if not isinstance(getattr(program, "template", None), Template):
        advice = "; a text is run by {{parse}}" if isinstance(program, str) else ""
        raise ProgramError(f"'>' includes a Program, not a {type(program).__name__}{advice}")
    names: dict[str, Any] = {}
    if node.arguments.rest:
        names["args"] = yield from _all(run, node.arguments.rest)
    for name, argument in node.arguments.extra.items():
        names[name] = yield from value(run, argument)
    for name, own in program.variables.items():
        if name not in run.scope and name not in names:
            names[name] = values.copied(own)
    inner = run.inside(**names)
    inner.source = program.template.source
    yield from inner.run(program.template.body, following)


def _shell(command: str, safe: bool = True) -> str:
    """The output of a command of the operating system.

    Args:
        command: With `safe`, a program and its arguments; else whatever the shell understands.
        safe: Run the program directly, so that pipes, variables and patterns are plain text.
    """
    import shlex
    import subprocess

    if not isinstance(command, str) or not command.strip():
        raise ProgramError("shell needs a command")
    try:
        done = subprocess.run(  # noqa: S603 - the caller has allowed it
            shlex.split(command) if safe else command,
            shell=not safe,
            capture_output=True,
            text=True,
            timeout=_SHELL_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ProgramError(f"shell: {error}") from error
    if done.returncode:
        raise ProgramError(f"shell: the command ended with {done.returncode}: {done.stderr.strip()[:300]}")
    return done.stdout

"""Every construct of the language that needs no model.

Where the original (guidance 0.0.64) runs a template and has no fault there, the wanted text is what it gave.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

import chainkit
from chainkit.base.errors import LimitReached, MissingVariable, ProgramError, ProgramSyntaxError
from chainkit.programs import Limits


class Place(BaseModel):
    city: str


@dataclass
class Person:
    name: str
    _secret: str = "hidden"


class Pair(NamedTuple):
    left: int
    right: int


VALUES: dict[str, Any] = {
    "name": "Ada",
    "none": None,
    "n": 3,
    "list": ["a", "b", "c"],
    "d": {"k": {"x": 1}, "items": "own", "0": "zero"},
    "items": ["one", "two"],
    "person": Person("Bob"),
    "place": Place(city="Oslo"),
    "pair": Pair(1, 2),
    "double": lambda x: x * 2,
    "hello": lambda: "hello",
    "keys": "a variable called keys",
    "text": "a variable called text",
}


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("Hello {{name}}!", "Hello Ada!"),
        ("[{{None}}]", "[]"),
        ("{{list[0]}}{{list[-1]}}{{list.1}}", "acb"),
        ("{{d.k.x}}{{d['k']['x']}}{{d.items}}{{d['0']}}", "11ownzero"),
        ("{{items[1]}} {{keys}} {{text}}", "two a variable called keys a variable called text"),
        ("{{person.name}} {{place.city}} {{pair.left}}{{pair[1]}}", "Bob Oslo 12"),
        ("{{name.upper()}} {{name.replace('A', 'E')}}", "ADA Eda"),
        ("{{add 1 2}} {{add(1, 2)}} {{add (add 1 2) 3}} {{add add(1, 2) 3}}", "3 3 6 6"),
        ("{{1 + 2 * 3}} {{(1 + 2) * 3}} {{7 / 2}} {{-n}} {{n-1}} {{n - 1}} {{7 % 4}}", "7 9 3.5 -3 2 2 3"),
        ("{{multiply 5 -2}} {{-n + 1}} {{add(n, -n)}}", "-10 -2 0"),
        ("{{'a' + 'b'}} {{[1] + [2]}} {{add 'x' 'y'}}", "ab [1, 2] xy"),
        ("{{1 == 1}} {{1 != 1}} {{2 >= 2}} {{1 <= 0}} {{1 < 2}} {{1 > 2}}", "True False True False True False"),
        ("{{'a' in list}} {{'z' not in list}} {{'d' in 'Ada'}} {{not 1 == 2}}", "True True True True"),
        ("{{1 and 0 or 5}} {{none or 'x'}} {{n is 3}} {{n is not 3}}", "5 x True False"),
        ("{{True}} {{false}} {{null}}|{{[1, 'x', [2]]}} {{len {'a': 1}}}", "True False |[1, 'x', [2]] 1"),
        (r"{{'a\nb'}} {{'\d\''}} {{'\u00e9'}}", "a\nb \\d' é"),
        ("{{double 4}} {{double(4)}} {{hello}} {{hello()}}", "8 8 hello hello"),
        ("a {{! a comment }}b {{!-- with }} in it --}}c", "a b c"),
        ("a\n {{~ name ~}} \n b {{~! gone ~}} c", "aAdabc"),
        (r"\{{name}} \ {{name}} \\{{name}}", "{{name}} \\ Ada \\Ada"),
        ("{{#if n == 3}}yes{{/if}}{{#if 0}}no{{else}}else{{/if}}", "yeselse"),
        ("{{#if 0}}a{{elif 0}}b{{elif n}}c{{else}}d{{/if}}", "c"),
        ("{{#if 0}}a{{elif 0}}b{{else}}d{{/if}}{{#if 0}}a{{else if n}}e{{/if}}", "de"),
        ("{{#unless none}}u{{/unless}}{{#if n invert=True}}i{{else}}j{{/if}}", "uj"),
        ("{{#if equal n 3}}e{{/if}}{{#if (greater n 2)}}g{{/if}}{{#if not none}}n{{/if}}", "egn"),
        (
            "{{#each list}}{{@index}}{{this}}{{#if @first}}F{{/if}}{{#unless @last}}, {{/unless}}{{/each}}",
            "0aF, 1b, 2c",
        ),
        ("{{#each d}}{{@key}};{{/each}}", "k;items;0;"),
        ("{{#each list item_name='x' start_index=1}}{{@index}}{{x}}{{/each}}", "1b2c"),
        ("{{#each []}}x{{else}}empty{{/each}}{{#each range(3)}}{{this}}{{/each}}", "empty012"),
        ("{{#each list join=', '}}{{this}}{{/each}}.", "a, b, c."),
        ("{{#each list join=', ' parallel=True}}{{this}}{{/each}}.", "a, b, c."),
        ("{{#each list join=', ' hidden=True}}{{this}}{{/each}}.", "."),
        ("{{#each list join=', ' start_index=2}}{{this}}{{/each}}", "c"),
        ("{{#each list}}{{#if this == 'b'}}{{break}}{{/if}}{{this}}{{/each}}", "a"),
        ("{{#each list}}{{#if this == 'b'}}{{continue}}{{/if}}{{this}}{{/each}}", "ac"),
        ("{{#each list parallel=True}}<{{this}}>{{/each}}", "<a><b><c>"),
        ("{{#each list}}{{list[@index]}}{{/each}}", "abc"),
        ("{{#each [[1, 2], [3]]}}{{#each this}}{{this}}{{/each}};{{/each}}", "12;3;"),
        ("{{set 'x' 5}}{{x}}{{set 'x.y' 1}}{{x.y}}{{set 'z' 2 hidden=False}}", "512"),
        ("{{set {'a': 1, 'b': [1, 2]}}}{{a}}{{b[1]}}{{set 'b[0]' 9}}{{b}}", "12[9, 2]"),
        ("{{#block 'x' hidden=True}}in {{name}}{{/block}}[{{x}}]", "[in Ada]"),
        ("{{#block 'x'}}in{{/block}}[{{x}}]", "in[in]"),
        ("{{parse 'Hi {{name}}' name='p'}}{{p}}", "Hi AdaHi Ada"),
        (
            "{{strip '  a '}}|{{len list}}|{{contains list 'a'}}|{{less 1 2}}|{{subtract 5 3}}|{{multiply 2 3 4}}",
            "a|3|True|True|2|24",
        ),
        ("{{notequal 1 2}} {{not 1}} {{range 1 4}} {{callable double}}", "True False [1, 2, 3] True"),
        ("abc{{set 'p' @prefix}}|{{p}}", "abc|abc"),
        ("{{#>gone}}fallback{{/gone}}", "fallback"),
        ("{{#system}}s{{/system}}", "<|im_start|>system\ns<|im_end|>"),
        ("{{#role 'x' name='bob'}}s{{/role}}", '<|im_start|>x name="bob"\ns<|im_end|>'),
        ("a{{#user hidden=True}}s{{/user}}b", "ab"),
        ("{{set 'a' {}}}{{set 'a.b.c' 1}}{{a}}", "{'b': {'c': 1}}"),
    ],
)
def test_what_needs_no_model(template: str, wanted: str) -> None:
    assert str(chainkit.program(template)(VALUES)) == wanted


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{#if x}}", r"line 1, column 1: this if is not closed"),
        ("a\n{{#if x}}\n{{/each}}", r"line 3, column 1: \{\{/each\}\} cannot close the if of line 2"),
        ("{{/if}}", "closes nothing"),
        ("{{#foreach x}}{{/foreach}}", "no block is called 'foreach'; did you mean 'each'"),
        ("{{#set 'x'}}{{/set}}", "set is not a block"),
        ("{{name", "this tag does not end"),
        ("{{'abc}}", "this text does not end"),
        ("{{!-- abc }}", "this comment does not end"),
        ("{{}}", "this tag is empty"),
        ("{{f (a }}", r"'\(' is not closed"),
        ("{{a ; b}}", "';' means nothing"),
        ("{{#if a}}x{{elseif b}}y{{/if}}", re.escape("no elseif; write {{elif a}}")),
        ("{% if a %}x{% endif %}", re.escape("is Jinja's; write {{#if a}}")),
        ("text {%- for x in y -%}", re.escape("write {{#each list item_name='x'}}")),
        ("{{{a}}}", "write one value in two braces"),
        ("{{#if a && b}}x{{/if}}", "write 'and'"),
        ("{{#if a || b}}x{{/if}}", "write 'or'"),
        ("{{#if !a}}x{{/if}}", "write 'not'"),
        ("{{a | upper}}", "there are no filters"),
        ("{{gen “x”}}", "straight quotes"),
        ("{{if a}}x{{/if}}", re.escape("write {{#if ...}}...{{/if}}")),
        ("{{gen 'x' temprature=1}}", "no parameter 'temprature'; did you mean 'temperature'"),
        ("{{#each list paralel=True}}{{/each}}", "no parameter 'paralel'; did you mean 'parallel'"),
        ("{{#each}}{{/each}}", "each needs list"),
        ("{{set}}", "set needs name"),
        ("{{break}}", "outside of every loop"),
        ("{{else}}", "else belongs into"),
        ("{{#if 1}}{{else}}{{elif 1}}{{/if}}", "elif comes after the else"),
        ("{{#if 1}}{{or}}{{/if}}", "or belongs into"),
        ("{{select 'x'}}", "select needs options"),
        ("{{#select 'x'}}a{{gen 'y'}}{{/select}}", "an option of select is text"),
        ("{{1 +}}", "expected a value"),
        ("{{a b, c}}", "a comma separates values inside parentheses"),
        ("{{" + "(" * 100 + "1" + ")" * 100 + "}}", "nested too deeply"),
        ("{{#if 1}}" * 100 + "{{/if}}" * 100, "nested more than"),
        ("{{" + "not " * 100 + "1}}", "nested too deeply"),
        ("{{1" + " + 1" * 100 + "}}", "this expression is too long"),
        ("{{a" + ".b" * 100 + "}}", "this expression is too long"),
        ("{{f" + "()" * 100 + "}}", "this expression is too long"),
        ("{{gen 'a' 'b' name='c'}}", "given name twice"),
        ("{{x" + "9" * 200 + " " + "9" * 200 + "}}", "too long"),
    ],
)
def test_a_text_that_is_no_program_is_refused_with_the_place(template: str, message: str) -> None:
    with pytest.raises(ProgramSyntaxError, match=message) as caught:
        chainkit.program(template)
    assert caught.value.line > 0
    assert str(caught.value).rstrip().endswith("^")


def test_the_place_of_a_wrong_value_is_the_value() -> None:
    for tag in ("{{gen 'x' max_tokens=5 top_p=9}}", "{{gen 'x' n=0}}", "{{#each [1] item_name='1'}}{{/each}}"):
        with pytest.raises(ProgramError) as caught:
            chainkit.program(f"first\nand {tag}", model="fake:")()
        value = caught.value
        assert (value.line, value.source_line[value.column - 1]) == (2, tag[tag.rindex("=") + 1])


def test_what_looks_like_jinja_can_be_text() -> None:
    assert str(chainkit.program("{{'{%'}} if a %}, 5 {% of 7, {%s}")()) == "{% if a %}, 5 {% of 7, {%s}"


@pytest.mark.parametrize(
    ("template", "kind", "message"),
    [
        ("{{nam}}", MissingVariable, "'nam' is missing; did you mean 'name'"),
        ("{{gne 'x'}}", MissingVariable, "no command or function 'gne'; did you mean 'gen'"),
        ("{{each list}}", MissingVariable, "each is a block"),
        ("{{gen answer}}", MissingVariable, "put the name of a variable to set in quotes: 'answer'"),
        ("{{d.q}}", MissingVariable, "no 'q'; there is: k, items, 0"),
        ("{{list[7]}}", MissingVariable, "no item 7 in a list of 3"),
        ("{{person._secret}}", MissingVariable, "no field '_secret'"),
        ("{{person.__class__}}", MissingVariable, "no field '__class__'"),
        ("{{name.__class__}}", MissingVariable, "a text has no '__class__'"),
        ("{{name.format}}", MissingVariable, "a text has no 'format'"),
        ("{{double.__globals__}}", MissingVariable, "cannot read attributes of function"),
        ("{{list.append}}", MissingVariable, "a list has no 'append'"),
        ("{{d.__class__}}", MissingVariable, "no '__class__'"),
        ("{{d.keys}}", MissingVariable, "no 'keys'"),
        ("{{@index}}", MissingVariable, "no @index here|'@index' is missing"),
        ("{{1 / 0}}", ProgramError, "has no value"),
        ("{{1 + 'a'}}", ProgramError, "works on numbers"),
        ("{{'a' < 1}}", ProgramError, "have no order"),
        ("{{name 1}}", ProgramError, "'name' is a str and no function"),
        ("{{#each 5}}{{/each}}", ProgramError, "each goes through a list"),
        ("{{range 1000000000}}", ProgramError, "too long"),
        ("{{double}}", ProgramError, "does not take these values: missing a required argument: 'x'"),
        ("{{>name}}", ProgramError, "includes a Program, not a str; a text is run by"),
        ("{{parse '{{#if'}}", ProgramSyntaxError, "this tag does not end"),
        ("{{shell 'ls'}}", ProgramError, "shell is not allowed"),
        ("{{#user}}{{#user}}{{/user}}{{/user}}", ProgramError, "user is inside user"),
        ("{{set 5 6}}", ProgramError, "set needs a name in quotes"),
        ("{{set 'a b' 6}}", ProgramError, "is not a name of a variable"),
        ("{{gen 'x'}}", ProgramError, "here a model is needed"),
        ("{{double 1 2 3}}", ProgramError, "too many positional arguments"),
    ],
)
def test_a_run_that_fails_says_why_and_where(template: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        chainkit.program("first line\n" + template)(VALUES)
    if isinstance(caught.value, ProgramError):
        assert caught.value.line == 2 or "parse" in template
    else:
        assert "line 2" in caught.value.__notes__[0]


def test_missing_names_are_told_before_anything_is_done() -> None:
    done: list[int] = []
    with pytest.raises(MissingVariable, match="'nowhere' is missing"):
        chainkit.program("{{act}} {{#if nowhere}}{{/if}}")(act=lambda: done.append(1))
    assert not done


def test_a_name_in_a_branch_not_taken_is_not_missed() -> None:
    assert str(chainkit.program("{{#if 0}}{{nowhere}}{{/if}}a")()) == "a"


def test_names_may_come_from_loops() -> None:
    run = chainkit.program(
        "{{#each ['a', 'b'] item_name='n'}}{{set n @index}}{{/each}}{{#each ['c']}}{{set this 5}}{{/each}}"
    )()
    assert (run["a"], run["b"]) == (0, 1)
    with pytest.raises(TypeError, match="the name of a variable is a text, not 1"):
        chainkit.program("a")({1: 2})  # pyright: ignore


def test_a_run_never_changes_what_it_was_given() -> None:
    given = {"a": [1, {"b": 2}]}
    run = chainkit.program("{{set 'a[1].b' 5}}{{set 'a[0]' 'x'}}")(given)
    assert run["a"] == ["x", {"b": 5}]
    assert given == {"a": [1, {"b": 2}]}


def test_programs_include_programs_and_share_variables() -> None:
    inner = chainkit.program("[{{word}} {{args[0]}} {{mark}}{{set 'made' 1}}]", word="own", mark="?")
    run = chainkit.program("{{>inner 'x' mark='!'}}{{made}}", inner=inner)()
    assert str(run) == "[own x !]1"
    assert str(chainkit.program("{{>inner 'x'}}", inner=inner, word="given")()) == "[given x ?]"


def test_a_program_that_includes_itself_ends() -> None:
    me = chainkit.program("{{#if n}}{{set 'n' n - 1}}x{{>me}}{{/if}}")
    assert str(me(me=me, n=5)) == "xxxxx"
    with pytest.raises(LimitReached, match="nested more than 60 deep"):
        me(me=me, n=1000)


@pytest.mark.parametrize(
    ("template", "limits", "message"),
    [
        ("{{#each range(10)}}{{#each range(10)}}{{/each}}{{/each}}", Limits(iterations=50), "50 rounds"),
        ("{{#each range(1000)}}aaaaaaaaaa{{/each}}", Limits(characters=500), "longer than 500 characters"),
        ("{{set 's' 'ab'}}{{#each range(64)}}{{set 's' s + s}}{{/each}}", Limits(), "too long"),
        ("{{set 'l' [1]}}{{#each range(64)}}{{set 'l' [l, l]}}{{/each}}", Limits(), "too large or too deep"),
        ("{{set 'n' 9}}{{#each range(64)}}{{set 'n' n * n}}{{/each}}", Limits(), "too large"),
        ("{{#each range(100000)}}{{#each range(100000)}}{{/each}}{{/each}}", Limits(seconds=0.2), "0.2 seconds"),
    ],
)
def test_runaway_programs_are_stopped(template: str, limits: Limits, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        chainkit.program(template).with_options(limits=limits)()


def test_the_deepest_programs_leave_room_on_the_stack() -> None:
    import sys

    me = chainkit.program("{{#if n}}{{#each [1]}}{{#block 'x'}}{{>me}}{{/block}}{{/each}}{{/if}}")
    me = me.with_options(limits=Limits(depth=120))
    deep = chainkit.program("{{#if 1}}" * 55 + "{{" + "(" * 28 + "1" + ")" * 28 + "}}" + "{{/if}}" * 55)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(600)  # the suite itself takes some 100 of them
    try:
        assert str(deep()) == "1"
        with pytest.raises(LimitReached):
            me(me=me, n=1)
    finally:
        sys.setrecursionlimit(before)


def test_shell_runs_only_when_it_is_allowed() -> None:
    allowed = chainkit.program("{{shell 'echo $HOME'}}").with_options(shell=True)
    assert str(allowed()) == "$HOME\n"  # no shell looks at it
    with pytest.raises(ProgramError, match="ended with 1"):
        chainkit.program("{{shell 'false'}}").with_options(shell=True)()


async def test_functions_may_be_asynchronous() -> None:
    async def later(x: int) -> int:
        return x + 1

    program = chainkit.program("{{later 1}}{{#each [1, 2] parallel=True}} {{later this}}{{/each}}", later=later)
    assert str(await program.ainvoke({})) == "2 2 3"
    assert str(program()) == "2 2 3"  # inside a running loop, as in a notebook


def test_an_error_of_a_function_is_that_error_and_says_where() -> None:
    def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk") as caught:
        chainkit.program("a\n  {{fail()}}")(fail=fail)
    assert "line 2, column 5" in caught.value.__notes__[0]


def test_await_pauses_and_goes_on_without_doing_anything_twice() -> None:
    calls: list[int] = []
    program = chainkit.program("{{count()}}{{#each [1, 2]}} {{await 'word'}}{{/each}}.", count=lambda: calls.append(1))
    first = program()
    assert (first.waiting, str(first), first.finished) == ("word", " ", False)
    second = first(word="a")
    assert (second.waiting, str(second)) == ("word", " a ")
    third = second(word="b")
    assert (third.waiting, str(third), third.finished) == (None, " a b.", True)
    assert str(first(word="z")) == " z "  # a run can go on in several ways
    assert calls == [1]
    with pytest.raises(ProgramError, match="is finished"):
        third(word="c")


def test_a_program_needs_no_await_for_what_is_given() -> None:
    run = chainkit.program("{{set 'q' (await 'word')}}[{{q}}]")(word="a")
    assert str(run) == "[a]"
    assert "word" not in run


def test_what_a_program_needs_can_be_read_off() -> None:
    program = chainkit.program("{{a}}{{#each b}}{{this.c}}{{@index}}{{/each}}{{gen 'd'}}{{d}}{{len e}}{{f g}}", g=1)
    assert program.inputs == ("a", "b", "e", "f")


def test_the_package_names_what_it_offers() -> None:
    import chainkit.programs as package
    from chainkit import program
    from chainkit.programs import Program

    assert package.program is program
    assert isinstance(program("a"), Program)
    with pytest.raises(AttributeError, match="no attribute 'Progam'"):
        _ = package.Progam

"""What templates read of the model, and functions that it calls in its text, as in the first Guidance."""

from __future__ import annotations

from typing import Any

import pytest

import chainkit
from chainkit.base.errors import MissingVariable, ProgramError, UnsupportedProgram
from chainkit.programs.run.text_calls import described, extract_function_call
from chainkit.testing import Scripted, ScriptedChat

WEATHER = {
    "name": "get_weather",
    "description": "The weather\nof today.",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["location"],
    },
}
CALL = '```typescript\nfunctions.get_weather({"location": "Graz", "unit": "celsius"})\n```'
# the loop of the first Guidance's own notebook on functions
LOOP = """{{~#system~}}
You are a helpful assistant.
{{>tool_def functions=functions}}
{{~/system~}}
{{~#user~}}
Get the current weather in Graz.
{{~/user~}}
{{~#each range(10)~}}
    {{~#assistant~}}
    {{gen 'answer' temperature=1.0 max_tokens=50 function_call="auto"}}
    {{~/assistant~}}
    {{#if not callable(answer)}}{{break}}{{/if}}
    {{~#function name=answer.__name__~}}
    {{answer()}}
    {{~/function~}}
{{~/each~}}"""


def weather(location: str, unit: str = "fahrenheit") -> str:
    return f"22 {unit} in {location}"


@pytest.mark.parametrize("kind", [Scripted, ScriptedChat])
def test_the_model_calls_a_function_in_its_text_and_goes_on_with_what_it_gives(kind: Any) -> None:
    run = chainkit.program(LOOP, kind([CALL, "It is warm."]))(functions=[WEATHER], get_weather=weather)
    assert run["answer"] == "It is warm."
    (_, system), *_ = run.messages
    assert "type get_weather = (_: {" in system
    assert [text.strip() for role, text in run.messages if role == "function"] == ["22 celsius in Graz"]
    assert '<|im_start|>function name="get_weather"\n' in run.text


async def test_asynchronous_functions_are_called_too() -> None:
    async def get_weather(location: str, unit: str) -> str:
        return weather(location, unit)

    program = chainkit.program(LOOP, ScriptedChat([CALL, "Warm."]), functions=[WEATHER], get_weather=get_weather)
    assert "22 celsius in Graz" in str(await program.ainvoke({}))


def test_functions_are_declared_as_typescript_declares_them() -> None:
    assert described([{"type": "function", "function": WEATHER}]).startswith(
        """# Tools

## functions

namespace functions {

// The weather
// of today.
type get_weather = (_: {
  // The city
  location: string,
  unit?: "celsius" | "fahrenheit",
  days?: Array<number>,
}) => any;

} // namespace functions"""
    )
    assert "type weather = (_: {\n  location: string,\n  unit?: string," in described([weather])
    assert described([]) == ""
    assert str(chainkit.program("-{{>llm.tool_def functions=f}}")(f=[])) == "-"
    for wrong in ("weather", [3], [{"description": "x"}]):
        with pytest.raises(ProgramError, match="function"):
            chainkit.program("{{>tool_def functions=f}}")(f=wrong)


@pytest.mark.parametrize(
    ("text", "call"),
    [
        (CALL, ("get_weather", {"location": "Graz", "unit": "celsius"})),
        ("\n\n```\nfunctions.f()```and more", ("f", {})),
        ("I call " + CALL, None),
        ("```typescript\nfunctions.f({wrong})```", None),
        ("```typescript\nfunctions.f([1])```", None),
        ("plain", None),
        (3, None),
    ],
)
def test_a_call_is_the_first_thing_in_a_text(text: Any, call: Any) -> None:
    found = extract_function_call(text)
    assert (found and (found.name, dict(found.arguments))) == call
    run = chainkit.program("{{callable(x)}} {{set 'c' (extract_function_call x)}}{{#if c}}{{c.name}}{{/if}}")(x=text)
    assert str(run) == ("False " if call is None else f"True {call[0]}")


def test_the_model_calls_nothing_that_it_was_not_told_of() -> None:
    text = "{{>tool_def functions=functions}}{{gen 'x'}}{{x()}}"
    given: dict[str, Any] = {"functions": [WEATHER], "get_weather": weather, "secret": lambda: "secret"}
    with pytest.raises(ProgramError, match="calls 'secret', which is not a function that it may call: get_weather"):
        chainkit.program(text, Scripted("```\nfunctions.secret()```"))(given)
    with pytest.raises(ProgramError, match="calls 'range', which is not a function"):
        chainkit.program("{{gen 'x'}}{{x()}}", Scripted("```\nfunctions.range()```"))()
    with pytest.raises(ProgramError, match="does not take the values that the model wrote: .*'location'"):
        chainkit.program(text, Scripted('```\nfunctions.get_weather({"where": 1})```'))(given)
    with pytest.raises(ProgramError, match="is a str and no function"):
        chainkit.program("{{gen 'x'}}{{x()}}", Scripted("plain"))()
    with pytest.raises(ProgramError, match="'get_weather' asks for a call, and this slot has no tools="):
        chainkit.program("{{gen 'x' function_call='get_weather'}}", Scripted("a"))()


def test_a_text_has_no_other_private_names() -> None:
    with pytest.raises(MissingVariable, match="__class__"):
        chainkit.program("{{x.__class__}}")(x=CALL)
    with pytest.raises(MissingVariable, match="__name__"):
        chainkit.program("{{x.__name__}}")(x="plain")
    run = chainkit.program("{{x.__name__}} {{x.__kwdefaults__.location}}")(x=CALL)
    assert str(run) == "get_weather Graz"


def test_llm_tells_of_the_model_and_says_what_to_write_for_its_settings() -> None:
    model = chainkit.chat_model("fake:small")
    text = "{{#user}}{{llm.model_name}} {{llm.chat_mode}} {{llm.default_system_prompt}}{{/user}}"
    assert chainkit.program(text, model)().messages == [("user", "small True You are a helpful assistant.")]
    assert str(chainkit.program("{{llm}} {{llm['chat_mode']}}", Scripted("a"))()) == "Scripted False"
    assert chainkit.program("{{llm.model_name}}").inputs == ()
    assert str(chainkit.program("{{llm}}")(llm="mine")) == "mine"
    for text, told in (
        ("{{llm.temperature}}", "write temperature= into"),
        ("{{llm.role_start('user')}}", "a message is"),
        ("{{llm.model_nam}}", "did you mean 'model_name'"),
        ("{{llm.__class__}}", "llm has no '__class__'"),
    ):
        with pytest.raises(ProgramError, match=told) as caught:
            chainkit.program(text, Scripted("a"))()
        assert caught.value.line == 1


def test_a_stop_regex_of_the_model_ends_before_a_call() -> None:
    text = "{{gen 'x' stop_regex=llm.function_call_stop_regex save_stop_text='call'}}"
    run = chainkit.program(text, Scripted("Let me see. " + CALL + " more"))()
    assert run["x"] == "Let me see."
    assert extract_function_call(run["call"])


def test_a_slot_in_a_message_of_the_user_of_a_service_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        UnsupportedProgram, match="of 'user'; let it write as the assistant with the roles turned round"
    ):
        chainkit.program("{{#user}}{{gen 'x'}}{{/user}}", ScriptedChat("a"))
    assert chainkit.program("{{#user}}{{gen 'x'}}{{/user}}", Scripted("a"))()["x"] == "a"

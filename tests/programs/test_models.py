"""The same programs on a local model, on a chat model, and on a service with OpenAI's API."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pydantic import BaseModel

import chainkit
from chainkit import registry
from chainkit.base.errors import FormMissed, ProgramError, SpecError, TemplateError, UnknownProvider, UnsupportedProgram
from chainkit.local.conversation import HERE
from chainkit.programs import Program
from chainkit.programs.model import cache, structured
from chainkit.programs.model.forms import wanted
from chainkit.programs.model.protocol import Slot
from chainkit.programs.model.record import Beside, TextAdded
from chainkit.programs.run import checks
from chainkit.testing import Scripted, ScriptedChat
from chainkit.testing.server.openai import OpenAIServer, running

ROOT = Path(__file__).parents[2]
DEMO = f"gguf:{ROOT / 'examples' / 'demo_model' / 'demo-q8_0.gguf'}"
EXAMPLES = sorted((ROOT / "examples" / "programs").glob("*.ck"))
WEAPONS = ["sword", "axe", "mace", "spear", "bow", "crossbow"]


class Fact(BaseModel):
    name: str
    age: int


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


@pytest.fixture(scope="module")
def llm() -> Any:
    return chainkit.llm(DEMO)


@pytest.fixture(scope="module")
def chat() -> Any:
    return chainkit.chat_model(DEMO)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with running() as service:
        yield service


@pytest.fixture
def openai(server: OpenAIServer) -> Any:
    server.requests.clear()
    return chainkit.chat_model("openai:gpt-4o-mini", base_url=server.base_url, api_key=server.key)


def example(name: str) -> str:
    return (ROOT / "examples" / "programs" / f"{name}.ck").read_text("utf-8")


def test_there_are_ten_examples_and_all_can_be_read() -> None:
    assert len(EXAMPLES) == 10
    for path in EXAMPLES:
        checks.check_commands(Program(path.read_text("utf-8")).template)


TALK = "{{#user}}Who?{{/user}}{{#assistant}}{{gen 'x' max_tokens=5}}{{/assistant}}"


def test_one_string_picks_the_model_of_a_program(llm: Any, chat: Any) -> None:
    text = "The cat {{gen 'x' max_tokens=5}}"
    named = chainkit.program(text, model=DEMO)
    assert type(named.model) is type(llm)
    assert named.model.runtime is llm.runtime  # loaded once
    assert str(named()) == str(chainkit.program(text)(model=DEMO)) == str(chainkit.program(text, llm)())
    assert type(chainkit.program(TALK, DEMO).model) is type(chat)
    including = chainkit.program("{{>talk}}")
    assert str(including(talk=chainkit.program(TALK), model=DEMO)) == str(chainkit.program(TALK, chat)())
    with pytest.raises(UnknownProvider, match="did you mean 'openai'"):
        chainkit.program(text, model="opnai:gpt-4o")
    with pytest.raises(SpecError, match="names no provider"):
        named.with_model("gpt-4o")
    with pytest.raises(TypeError, match="not on int"):
        named(model=3)


def test_a_string_picks_the_kind_of_model_that_the_program_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    assert type(chainkit.program(TALK, "openai:gpt-4o-mini").model).__name__ == "OpenAIChat"
    assert type(chainkit.program("a {{gen 'x'}}", "openai:gpt-3.5-turbo-instruct").model).__name__ == "OpenAIModel"
    assert type(chainkit.program("a {{gen 'x'}}", "ollama:llama3").model).__name__ == "OpenAIModel"
    with pytest.raises(UnsupportedProgram, match="takes messages and cannot continue a text"):
        chainkit.program("a {{gen 'x'}}", "openai:gpt-4o-mini")
    assert type(registry.answering("openai:davinci-002")).__name__ == "OpenAIModel"


def test_the_character_is_json_whatever_the_model_is(llm: Any) -> None:
    program = chainkit.program(example("character"), llm, valid_weapons=WEAPONS).with_options(seed=4)
    given = [{"id": str(number), "description": f"Fighter {number}."} for number in range(3)]
    runs = program.batch(given)
    for run, one in zip(runs, given, strict=True):
        written = json.loads(re.search(r"```json(.*)```", str(run), re.DOTALL)[1])  # pyright: ignore
        assert (written["id"], written["weapon"], written["age"]) == (one["id"], run["weapon"], int(run["age"]))
        assert written["items"] == run["items"]
        assert written["weapon"] in WEAPONS
        assert len(written["items"]) == 5
        assert str(program(one)) == str(run)
    assert str(list(program.stream(given[1]))[-1]) == str(runs[1])


async def test_the_asynchronous_twins_write_the_same(llm: Any) -> None:
    program = chainkit.program("The cat {{gen 'x' max_tokens=8}} {{gen 'y' temperature=1 max_tokens=5}}", llm)
    program = program.with_options(seed=1)
    assert str(await program.ainvoke({})) == str(program())
    assert [str(run) for run in await program.abatch([{}, {}])] == [str(program())] * 2


def test_options_are_compared_as_wholes_and_their_chances_sum_to_one(llm: Any) -> None:
    options = ["red", "red wine", "a dog", "dogs"]
    text = "Context: The wine is red. The colour is {{select 'x' options=o logprobs='p'}}."
    for method in ["joint", "normalised", "unconditional", "greedy"]:
        run = chainkit.program(text.replace("logprobs", f"method='{method}' logprobs"), llm)(o=options)
        assert math.fsum(math.exp(one) for one in run["p"].values()) == pytest.approx(1)
        assert list(run["p"]) == options
        if method != "greedy":
            assert run["x"] == max(options, key=lambda one: run["p"][one])


def test_forms_hold_at_any_temperature(llm: Any) -> None:
    text = """{{gen 'i' type=int temperature=2}} {{gen 'f' type=float temperature=2}} {{gen 'b' type=bool}}
    {{gen 'o' options=['cat', 'catfish']}} {{gen 'p' pattern='[a-c]{3}' temperature=2}}
    {{gen 's' schema=Fact temperature=1.5}} {{gen 'g' grammar='start: "x" "y"+ "z"' temperature=1 max_tokens=60}}"""
    run = chainkit.program(text, llm, Fact=Fact).with_options(seed=5)()
    assert [type(run[name]) for name in "ifb"] == [int, float, bool]
    assert run["o"] in ("cat", "catfish")
    assert re.fullmatch("[a-c]{3}", run["p"])
    assert isinstance(run["s"], Fact) or "s" in run.incomplete
    assert re.fullmatch("xy+z", run["g"]) or "g" in run.incomplete


def test_patterns_of_local_models_are_those_of_rust_and_say_where_they_are_wrong(llm: Any) -> None:
    assert chainkit.program(r"{{gen 'x' pattern='\p{Lu}{2}'}}", llm)()["x"].isupper()
    with pytest.raises(ProgramError, match="line 2, column 1: the regular expression") as caught:
        chainkit.program("\n{{gen 'x' pattern='(a'}}", llm)()
    assert caught.value.line == 2
    with pytest.raises(ProgramError, match="line 1, column 1: the pattern .* cannot be read"):
        chainkit.program("{{gen 'x' pattern='(a'}}", Scripted("a"))()


def test_a_form_that_a_limit_cuts_is_told(llm: Any) -> None:
    run = chainkit.program("{{gen 'x' schema=Fact max_tokens=3}}", llm, Fact=Fact)()
    assert run["x"] is None
    assert "max_tokens=3" in run.incomplete["x"]


def test_a_local_chat_model_reads_its_own_template_and_may_be_led(chat: Any) -> None:
    text = """{{#system~}}You answer from the context.{{~/system}}
    {{#user~}}Tom has a cat. Who has a cat?{{~/user}}
    {{#assistant~}}{{gen 'a' max_tokens=20}}{{~/assistant}}
    {{#user~}}And which animal?{{~/user}}
    {{#assistant~}}It is a {{select 'b' options=['cat', 'dog']}}.{{~/assistant}}"""
    run = chainkit.program(text, chat)()
    messages = [("system", "You answer from the context."), ("human", "Tom has a cat. Who has a cat?")]
    assert run["a"] == chat.invoke(messages, max_tokens=20).text
    assert run["b"] == "cat"
    assert run.messages[-1] == ("assistant", "It is a cat.")


def test_results_of_tools_can_be_written_by_the_template(chat: Any, openai: Any, server: OpenAIServer) -> None:
    text = """{{#user}}say:fine{{/user}}{{#assistant}}Let me look.{{/assistant}}
    {{#function name='look'}}sunny{{/function}}{{#assistant}}{{gen 'x' max_tokens=4}}{{/assistant}}"""
    assert chainkit.program(text, chat)().finished
    assert chainkit.program(text, openai)()["x"] == "fine"
    call, result = server.bodies[0]["messages"][1:3]
    assert (call["content"], call["tool_calls"][0]["function"]["name"]) == ("Let me look.", "look")
    assert result == {"role": "tool", "content": "sunny", "tool_call_id": call["tool_calls"][0]["id"]}


def test_a_local_chat_model_runs_programs_without_roles_as_text(llm: Any, chat: Any) -> None:
    text = "The cat {{gen 'x' max_tokens=8}}"
    assert str(chainkit.program(text, chat)()) == str(chainkit.program(text, llm)())
    with pytest.raises(UnsupportedProgram, match="is outside of every role"):
        chainkit.program("{{#user}}a{{/user}}{{gen 'x'}}", chat)


def test_tools_are_called_with_arguments_of_their_schema(llm: Any, chat: Any) -> None:
    def weather(city: Literal["Oslo", "Rome"]) -> str:
        """The weather."""
        return f"sun in {city}"

    slot = "{{gen 'x' tools=[weather] tool_choice='weather' tool_rounds=1 max_tokens=60}}"
    on_text = chainkit.program("Rome? " + slot, llm, weather=weather)()
    on_chat = chainkit.program("{{#user}}Rome?{{/user}}{{#assistant}}" + slot + "{{/assistant}}", chat)
    for run in (on_text, on_chat(weather=weather)):
        call = run["x_calls"][0]
        assert call["name"] == "weather"
        assert call["result"] == f"sun in {call['arguments']['city']}"
        assert call["arguments"]["city"] in ("Oslo", "Rome")


def test_an_answer_with_tools_that_a_limit_cuts_is_told(llm: Any) -> None:
    run = chainkit.program("{{gen 'x' tools=[add] tool_choice='add' max_tokens=5}}", llm, add=add)()
    assert "max_tokens=5" in run.incomplete["x"]


def test_rows_differ_by_their_seeds(llm: Any) -> None:
    program = chainkit.program("The cat {{gen 'x' n=4 temperature=1.5 max_tokens=6}}", llm).with_options(seed=3)
    run = program()
    assert len(set(run["x"])) > 1
    assert run["x"] == program()["x"]
    assert str(run) == f"The cat {run['x'][0]}"


def test_stops_leave_what_stopped_them_to_the_template(llm: Any) -> None:
    free = chainkit.program("The cat {{gen 'x' max_tokens=12}}", llm)()["x"]
    word = free.split()[1]
    run = chainkit.program("The cat {{gen 'x' max_tokens=12 stop=w save_stop_text=True}}|", llm)(w=word)
    assert (run["x"], run["x_stop_text"]) == (free[: free.index(word)], word)
    run = chainkit.program("The cat {{gen 'x' max_tokens=12 stop_regex=w save_stop_text=True}}|", llm)(w=r"\s\w")
    match = re.search(r"\s\w", free)
    assert match
    assert (run["x"], run["x_stop_text"]) == (free[: match.start()], match[0])


def test_logprobs_are_told_token_by_token(llm: Any) -> None:
    run = chainkit.program("The cat {{gen 'x' max_tokens=4 logprobs=2}}", llm)()
    assert "".join(one["token"] for one in run["x_logprobs"]).lstrip() == run["x"]  # the first may stand in the border
    assert all(one["logprob"] <= 0 and len(one["top_logprobs"]) == 2 for one in run["x_logprobs"])


def test_a_service_gets_the_messages_that_it_expects(openai: Any, server: OpenAIServer) -> None:
    text = """{{#system~}}Be brief.{{~/system}}
    {{#user name='Bo'}}say:hello there{{/user}}
    {{#assistant~}}{{gen 'a' temperature=0.5 max_tokens=20}}{{~/assistant}}
    {{#user}}say:two{{/user}}
    {{#assistant}}{{gen 'b' stop=' '}}{{/assistant}}"""
    run = chainkit.program(text, openai)()
    assert (run["a"], run["b"]) == ("hello there", "two")
    first, second = server.bodies
    assert first["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "say:hello there", "name": "Bo"},
    ]
    assert (first["temperature"], first["max_tokens"]) == (0.5, 20)
    assert second["messages"][2:] == [
        {"role": "assistant", "content": "hello there"},
        {"role": "user", "content": "say:two"},
    ]
    assert (second["temperature"], second["stop"]) == (0.0, [" "])
    assert run.usage.calls == 2
    assert run.usage.read > 0 < run.usage.sampled


def test_one_chat_program_gives_each_model_what_it_expects(chat: Any, openai: Any, server: OpenAIServer) -> None:
    text = """{{#system~}}Be {{how}}.{{~/system}}
    {{#user~}}say:hello{{~/user}}
    {{#assistant~}}{{gen 'a' max_tokens=6}}{{~/assistant}}
    {{#user~}}say:bye{{~/user}}
    {{#assistant~}}{{gen 'b' max_tokens=6 save_prompt='p'}}{{~/assistant}}"""
    program = chainkit.program(text, how="brief")
    local, hosted = program(model=chat), program(model=openai)

    def said(run: Any) -> list[tuple[str, str]]:
        return [("system", "Be brief."), ("user", "say:hello"), ("assistant", run["a"]), ("user", "say:bye")]

    assert local["p"] == chat.prompt_text(chat._convert_input(said(local)).to_messages())
    assert [(one["role"], one["content"]) for one in server.bodies[1]["messages"]] == said(hosted)
    assert local.messages == [*said(local), ("assistant", local["b"])]
    assert hosted.messages == [*said(hosted), ("assistant", hosted["b"])]


def test_a_model_that_takes_no_temperature_is_sent_none(server: OpenAIServer) -> None:
    server.requests.clear()
    for name, own in (("gpt-5-mini", None), ("gpt-4o-mini", 0.3)):
        model = chainkit.chat_model(f"openai:{name}", base_url=server.base_url, api_key=server.key, temperature=own)
        chainkit.program("{{#user}}say:a{{/user}}{{#assistant}}{{gen 'x'}}{{/assistant}}", model)()
    thinking, warm = server.bodies
    assert "temperature" not in thinking
    assert warm["temperature"] == 0.3


def test_a_local_chat_model_writes_messages_of_anybody(chat: Any) -> None:
    text = """{{#system}}Ask.{{/system}}{{#user}}Where {{gen 'q' max_tokens=9 save_prompt='o'}}{{/user}}
    {{#assistant}}{{gen 'a' max_tokens=6 save_prompt='p'}}{{/assistant}}
    {{#role 'user' hidden=True}}{{gen 'h' max_tokens=4}}{{/role}}
    {{#assistant}}{{select 's' options=['yes', 'no']}}{{/assistant}}"""
    with cache.disabled():
        run = chainkit.program(text, chat)()
    said = [("system", "Ask."), ("user", f"Where {run['q']}"), ("assistant", run["a"]), ("assistant", run["s"])]
    assert run.messages == said
    assert run["p"] == chat.prompt_text(chat._convert_input(said[:2]).to_messages())
    assert (
        run["o"]
        == chat.prompt_text(chat._convert_input([said[0], ("user", "Where ")]).to_messages()).rpartition("<|end|>")[0]
    )
    assert run["q"]
    with pytest.raises(UnsupportedProgram, match="calls tools as the assistant only, not as 'user'"):
        chainkit.program("{{#user}}{{gen 'x' tools=[add]}}{{/user}}", chat, add=add)()


def test_a_message_of_the_user_begins_and_ends_as_the_template_has_it(chat: Any) -> None:
    messages = [SystemMessage("Be brief."), HumanMessage(HERE)]
    tokens, ending = chat.conversation.begun(messages)
    whole = chat.conversation.tokens([SystemMessage("Be brief."), HumanMessage("x")])
    assert tokens == whole[: len(tokens)]
    assert chat._vocabulary.detokenize(whole[len(tokens) :]).startswith("x")
    assert ending == ""  # a special token ends it
    item = "{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else m.content }}"
    template = "{% for m in messages %}" + item + "{% endfor %}"
    other = chainkit.chat_model(DEMO, chat_template=template)
    tokens, ending = other.conversation.begun([HumanMessage("a"), AIMessage("b"), HumanMessage(HERE)])
    assert ending == "[/INST]"
    assert tokens == other.conversation.tokens([HumanMessage("a"), AIMessage("b"), HumanMessage("x")])[: len(tokens)]
    template = "{% for m in messages %}{% if m.role != 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    silent = chainkit.chat_model(DEMO, chat_template=template)
    with pytest.raises(TemplateError, match="does not write a message of 'user'"):
        silent.conversation.begun([HumanMessage(HERE)])


def test_a_service_is_asked_for_structured_output(openai: Any, server: OpenAIServer) -> None:
    text = """{{#user}}Somebody is 7.{{/user}}{{#assistant}}{{gen 'x' schema=Fact}}{{/assistant}}
    {{#user}}Which?{{/user}}{{#assistant}}{{select 'c' options=['red', 'blue']}}{{/assistant}}"""
    run = chainkit.program(text, openai, Fact=Fact)()
    assert isinstance(run["x"], Fact)
    assert run["x"].age == 7
    assert run["c"] == "red"
    formats = [body["response_format"]["json_schema"]["schema"] for body in server.bodies]
    assert formats[0]["required"] == ["name", "age"]
    assert formats[1]["properties"]["choice"]["enum"] == ["red", "blue"]
    assert run.messages[-1] == ("assistant", "red")


FORMS: list[tuple[str, dict[str, Any], Any]] = [
    ("select 'x' options=['red', 'blue']", {"type": "string", "enum": ["red", "blue"]}, "red"),
    ("gen 'x' options=['red', 'blue']", {"type": "string", "enum": ["red", "blue"]}, "red"),
    ("gen 'x' type=int", {"type": "integer"}, 47),
    ("gen 'x' type=float", {"type": "number"}, 47.0),
    ("gen 'x' type=bool", {"type": "boolean"}, True),
    ("gen 'x' pattern='[0-9]{2}'", {"type": "string", "pattern": "^(?:[0-9]{2})$"}, "47"),
    ("gen 'x' schema=numbers", {"type": "array", "items": {"type": "integer"}}, [47]),
    ("gen 'x' schema=facts", {"type": "array", "items": {"$ref": "#/$defs/Fact"}}, [Fact(name="47", age=47)]),
]


@pytest.mark.parametrize(("command", "form", "value"), FORMS)
@pytest.mark.parametrize("provider", ["openai", "azure_openai"])
def test_a_service_is_sent_the_form_of_a_slot_and_its_answer_is_checked(
    server: OpenAIServer, provider: str, command: str, form: dict[str, Any], value: Any
) -> None:
    server.requests.clear()
    model = chainkit.chat_model(f"{provider}:gpt-4o-mini", base_url=server.base_url, api_key=server.key)
    own = provider == "azure_openai"  # what is behind another address is not known to hold texts to a pattern
    said = "say:47" if "pattern" in form and not own else "say:47 '47'"
    text = "{{#user}}" + said + "{{/user}}{{#assistant}}{{" + command + "}}{{/assistant}}"
    run = chainkit.program(text, model)(numbers=list[int], facts=list[Fact])
    sent = [body.get("response_format") for body in server.bodies]
    assert run["x"] == value
    assert type(run["x"]) is type(value)
    if "pattern" in form and not own:
        assert sent == [None]
        return
    (sent_form,) = sent
    described = sent_form["json_schema"]
    ((key, part),) = described["schema"]["properties"].items()
    assert part == form
    assert described["schema"]["required"] == [key]
    assert described.get("strict", False) is (own and "schema" not in command)
    assert ("$defs" in described["schema"]) is ("facts" in command)


def test_what_a_service_answers_in_another_form_is_asked_for_again(server: OpenAIServer) -> None:
    model = chainkit.chat_model("azure_openai:gpt-4o-mini", base_url=server.base_url, api_key=server.key)
    for pattern, forms in (("[0-9]{9}", {"json_schema"}), (r"(?=4)[0-9]{9}", {None}), (r"\d{9}(?i:x)", {None})):
        server.requests.clear()
        text = "{{#user}}Give me '47'.{{/user}}{{#assistant}}{{gen 'x' pattern=p retries=1}}{{/assistant}}"
        with pytest.raises(FormMissed, match="asked 2 times for 'x', and .* is not text that matches"):
            chainkit.program(text, model)(p=pattern)
        assert len(server.bodies) == 2
        assert {(body.get("response_format") or {}).get("type") for body in server.bodies} == forms
        assert "Answer with nothing but text that matches" in server.bodies[1]["messages"][-1]["content"]


def test_a_model_without_structured_output_is_sent_no_form(server: OpenAIServer) -> None:
    server.requests.clear()
    model = chainkit.chat_model("azure_openai:gpt-4o-mini", base_url=server.base_url, api_key=server.key)
    model.profile = {"structured_output": False}
    text = "{{#user}}say:blue{{/user}}{{#assistant}}{{select 'x' options=['red', 'blue']}}{{/assistant}}"
    assert chainkit.program(text, model)()["x"] == "blue"
    assert "response_format" not in server.bodies[0]


@pytest.mark.parametrize(
    ("kind", "answer", "text"),
    [
        ("int", '{"answer": 7.0}', "7"),
        ("int", '{"answer": 1e3}', "1000"),
        ("float", '{"answer": 1e-7}', "0.0000001"),
        ("float", '{"answer": 7}', "7"),
        ("float", '{"answer": -2.5}', "-2.5"),
        ("int", '{"answer": "seven"}', "seven"),
        ("int", "seven", "seven"),
        ("int", '{"other": 7}', '{"other": 7}'),
        ("bool", '{"choice": false}', "false"),
    ],
)
def test_an_answer_is_taken_out_of_its_object(kind: str, answer: str, text: str) -> None:
    form = wanted({"type": kind}).form
    assert form
    box = structured.asked(CallsTools("x"), Slot(form=form))
    assert box
    assert structured.unboxed(box, form, answer) == text


class CallsTools(ScriptedChat):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def test_a_service_calls_tools_and_is_told_their_results(openai: Any, server: OpenAIServer) -> None:
    text = "{{#user}}Please add 3 and 4.{{/user}}{{#assistant}}{{gen 'x' tools=[add]}}{{/assistant}}"
    run = chainkit.program(text, openai, add=add)()
    assert run["x_calls"] == [{"name": "add", "arguments": {"a": 3, "b": 3}, "result": "6"}]
    assert [message["role"] for message in server.bodies[1]["messages"]] == ["user", "assistant", "tool"]
    assert run["x"] == "Hello there, how can I help you today?"


async def test_a_service_streams_and_is_asked_at_the_same_time(openai: Any, server: OpenAIServer) -> None:
    text = "{{#user}}count to {{n}}{{/user}}{{#assistant}}{{gen 'x'}}{{/assistant}}"
    program = chainkit.program(text, openai)
    runs = [run async for run in program.astream({"n": 4})]
    assert len({str(run) for run in runs}) > 6
    assert runs[-1]["x"] == "1 2 3 4"
    assert list(program.stream({"n": 4}))[-1]["x"] == "1 2 3 4"
    assert [run["x"] for run in await program.abatch([{"n": 2}, {"n": 3}])] == ["1 2", "1 2 3"]
    assert [run["x"] for run in program.batch([{"n": 2}, {"n": 3}], {"max_concurrency": 2})] == ["1 2", "1 2 3"]


def test_what_a_service_cannot_do_is_refused_before_anything_is_sent(openai: Any, server: OpenAIServer) -> None:
    with pytest.raises(UnsupportedProgram, match="gpt-4o-mini cannot go on inside a message"):
        chainkit.program("{{#user}}a{{/user}}{{#assistant}}I {{gen 'x'}}{{/assistant}}", openai)
    assert not server.bodies


def test_a_service_that_continues_text_runs_programs_without_roles(server: OpenAIServer) -> None:
    model = chainkit.llm("openai:gpt-3.5-turbo-instruct", base_url=server.base_url, api_key=server.key)
    server.requests.clear()
    run = chainkit.program("{{gen 'x' max_tokens=3}}!", model)()
    assert str(run) == "Hello there, how!"
    assert server.bodies[0]["max_tokens"] == 3
    with pytest.raises(ProgramError, match="asked 1 times"):
        chainkit.program("{{gen 'x' pattern='[0-9]+' retries=0}}", model)()


async def test_every_call_is_traced_under_its_program(llm: Any) -> None:
    from langchain_core.callbacks import BaseCallbackHandler

    class Seen(BaseCallbackHandler):
        def __init__(self) -> None:
            self.parents: dict[Any, Any] = {}
            self.kinds: list[str] = []
            self.texts: list[str] = []

        def on_chain_start(self, *args: Any, run_id: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
            self.parents[run_id] = parent_run_id
            self.kinds.append("chain")

        def on_llm_start(self, *args: Any, run_id: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
            assert parent_run_id in self.parents
            self.kinds.append("llm")

        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            self.texts.append(response.generations[0][0].text)

    seen = Seen()
    chainkit.program("{{gen}}", Scripted("v")).batch([{}, {}], {"callbacks": [seen]})
    assert sorted(seen.kinds) == ["chain", "chain", "llm", "llm"]
    text = "The cat {{gen 'x' max_tokens=3}}{{select 'y' options=['a', 'b']}}"
    program = chainkit.program(text, llm)
    runs = [program.invoke({}, {"callbacks": [seen]}), await program.ainvoke({}, {"callbacks": [seen]})]
    assert seen.kinds[4:] == ["chain", "llm", "llm"] * 2
    assert seen.texts[2] == seen.texts[4] == runs[0]["x"]
    assert seen.texts[3] == seen.texts[5]
    assert re.fullmatch(r"'a': -[\d.]+, 'b': -[\d.]+", seen.texts[3])


def told_by(events: Any) -> str:
    return "".join(event.text for event in events if isinstance(event, TextAdded) and event.source == "model")


@pytest.mark.parametrize("text", ["The {{who}} {{gen 'x' max_tokens=6}}"])
async def test_a_batch_can_be_heard_token_by_token(llm: Any, text: str) -> None:
    program = chainkit.program(text, llm)
    given = [{"who": "cat"}, {"who": "dog"}, {}]
    with cache.disabled():
        grown: list[list[Any]] = [[], [], []]
        for place, run in program.stream_batch(given, return_exceptions=True):
            grown[place].append(run)
        alone = [program(one) for one in given[:2]]
    for runs, one in zip(grown, alone, strict=False):
        assert str(runs[-1]) == str(one)
        assert runs[-1].finished
        assert told_by(event for run in runs for event in run.events) == one["x"]
        assert sum(bool(told_by(run.events)) for run in runs) > 2  # in pieces
    assert isinstance(grown[2][0], ProgramError)
    last = {place: run async for place, run in program.astream_batch(given[:2])}
    assert [str(last[0]), str(last[1])] == [str(one) for one in alone]
    with pytest.raises(ProgramError, match="who"):
        list(program.stream_batch(given))


def test_rounds_that_run_at_the_same_time_are_heard_token_by_token(llm: Any) -> None:
    text = "{{#each ['a', 'b'] parallel=True hidden=h}}The {{this}} {{gen 'x' max_tokens=5 list_append=True}}{{/each}}-"
    program = chainkit.program(text, llm)
    for hidden in (True, False):
        with cache.disabled():
            events = [event for run in program.stream({"h": hidden}) for event in run.events]
            whole = program(h=hidden)
        inside = [event for event in events if isinstance(event, Beside)]
        for number in (0, 1):
            own = [event.event for event in inside if event.path == (number,)]
            assert told_by(own) == whole["x"][number]
            assert sum(isinstance(event, TextAdded) and event.source == "model" for event in own) > 2
            assert all(event.hidden is hidden for event in own if isinstance(event, TextAdded))
        assert "".join(e.text for e in events if isinstance(e, TextAdded) and not e.hidden) == str(whole)
    order = [event.path for event in inside if isinstance(event.event, TextAdded) and event.event.source == "model"]
    assert order not in (sorted(order), sorted(order, reverse=True))  # side by side

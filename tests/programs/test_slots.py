"""What the model writes: gen, select, geneach, roles and tools on scripted models."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

import chainkit
from chainkit.base.errors import FormMissed, LimitReached, ProgramError, UnsupportedProgram
from chainkit.programs import Limits, Run
from chainkit.programs.model.record import RoleBegun, SlotBegun, SlotDone, TextAdded, ToolCalled
from chainkit.testing import Scripted, ScriptedChat, ScriptEnded


def run(template: str, outputs: Any, **variables: Any) -> Run:
    return chainkit.program(template, Scripted(outputs), **variables)()


def listed(parameters: str, body: str = "{{gen 'this'}}") -> str:
    return f"{{{{#geneach 'l' {parameters}}}}}{body}{{{{/geneach}}}}"


class Animal(BaseModel):
    name: str
    legs: int


@pytest.mark.parametrize(
    ("template", "outputs", "text", "variables"),
    [
        ("a {{gen 'x'}} c", "b", "a b c", {"x": "b"}),
        ("{{gen}}{{gen()}}", "b", "bb", {}),
        ("{{gen('x', stop='.')}}", "one. two", "one", {"x": "one"}),
        ("{{gen 'x' stop=['!', '.']}}", "one. two!", "one", {"x": "one"}),
        (r"{{gen 'x' stop='\n-'}}", "one\n- two", "one", {"x": "one"}),
        ("{{gen 'x' stop='.' save_stop_text=True}}", "one. two", "one", {"x": "one", "x_stop_text": "."}),
        ("{{gen 'x' stop_regex='[0-9]+' save_stop_text='s'}}", "one 12 two", "one ", {"s": "12"}),
        ('"{{gen \'x\'}}", "b"', 'one", "two"', '"one", "b"', {"x": "one"}),
        ("'''{{gen 'x'}}'''", "it's ''' more", "'''it's '''", {"x": "it's "}),
        ("<b>{{gen 'x'}}</b>", "bold</b> more", "<b>bold</b>", {"x": "bold"}),
        ("<a href=\"u\">{{gen 'x'}}</a>", "link</a> more", '<a href="u">link</a>', {"x": "link"}),
        ("\"{{gen 'x' stop=False}}\"", 'a"b', '"a"b"', {"x": 'a"b'}),
        ("{{gen 'x' pattern='[0-9]+'}} {{gen 'y' type=int}}", " 12 and more", "12 12", {"x": "12", "y": 12}),
        ("{{gen 'x' type=float}} {{gen 'y' type='bool'}}", {"": "1.5", " ": "true"}, "1.5 true", {"x": 1.5, "y": True}),
        ("{{gen 'x' options=['cat', 'catfish']}}", "catfish!", "catfish", {"x": "catfish"}),
        ("{{gen 'x' hidden=True}}[{{x}}]", "secret", "[secret]", {"x": "secret"}),
        ("{{gen 'x' n=3 temperature=1}}", ["a", "b", "c"], None, {}),
        ("{{gen 'x' list_append=True}}{{gen 'x' list_append=True}}", ["a", "b"], "ab", {"x": ["a", "b"]}),
        ("{{gen 'o.k'}}{{gen 'o.l[0]' hidden=True}}{{set 'l' [1]}}{{gen 'l[0]'}}", "v", "vv", {"l": ["v"]}),
        ("ab{{gen 'x' save_prompt='p'}}", "c", "abc", {"p": "ab"}),
        ("{{set 'x' (gen 'y')}}[{{x}}]", "v", "[v]", {"x": "v", "y": "v"}),
        ("{{strip (gen 'y')}}", "  v ", "v", {"y": "  v "}),
        ("{{select 'x' options=['a', 'b']}}", "b", "b", {"x": "b"}),
        ("{{#select}}yes{{or}}no{{/select}}", "no way", "no", {"selected": "no"}),
        ("{{#select 'x'}}{{w}}{{or}}b c{{/select}}", "dog", "dog", {"x": "dog"}),
        ("{{select 'x' options=[1, 2]}}", "2", "2", {"x": 2}),
        ("{{select 'x' options=['only']}}", [], "only", {"x": "only"}),
        ("{{select 'x' options=['a', 'b'] list_append=True}}", "b", "b", {"x": ["b"]}),
        (listed("num_iterations=2 join=', '", "'{{gen 'this'}}'"), ["a'", "b'"], "'a', 'b'", {"l": ["a", "b"]}),
        (listed("num_iterations=2", "{{gen 'this.k'}}{{@index}}"), ["a", "b"], "a0b1", {"l": [{"k": "a"}, {"k": "b"}]}),
        ("{{#geneach 'items' num_iterations=1}}{{gen 'this'}}{{/geneach}}", "a", "a", {"items": ["a"]}),
        (
            "[" + listed("stop=']' join=','", "{{gen 'this' stop=[',', ']']}}") + "]",
            ["a,", ",b", "b]", "]"],
            "[a,b]",
            {"l": ["a", "b"]},
        ),
        ("[" + listed("", "{{gen 'this' stop=']'}}") + "]", ["a", "]"], "[a]", {"l": ["a"]}),
        (listed("stop=False max_iterations=3"), "a", "aaa", {"l": ["a"] * 3}),
        (listed("min_iterations=2 stop='.'"), ["a", "b", "."], "ab", {"l": ["a", "b"]}),
        (listed("hidden=True num_iterations=1") + "-", "a", "-", {"l": ["a"]}),
        (listed("stop=False", "{{#if @index == 2}}{{break}}{{/if}}{{gen 'this'}}"), "a", "aa", {"l": ["a", "a"]}),
        (
            "[" + listed("single_call=True stop=']' join=', '", "\"{{gen 'this'}}\"") + "]",
            'a", "b"]',
            '["a", "b"]',
            {"l": ["a", "b"]},
        ),
        (
            listed("single_call=True", "{{gen 'this.k'}}: {{gen 'this.v'}}\n"),
            "a: 1\nb: 2\n",
            "a: 1\nb: 2\n",
            {"l": [{"k": "a", "v": "1"}, {"k": "b", "v": "2"}]},
        ),
        ("{{#each [1, 2] parallel=True hidden=True}}{{gen 'x' list_append=True}}{{/each}}", "v", "", {"x": ["v", "v"]}),
        ("{{#each l hidden=True}}{{gen 'this.x'}}{{/each}}", "v", "", {"l": [{"x": "v"}, {"x": "v"}]}),
        (
            "{{gen 'x' max_tokens=3 top_p=0.5 repetition_penalty=2 stream=False token_healing=False}}",
            "v",
            "v",
            {"x": "v"},
        ),
        (
            "{{gen 'x' schema=s}}",
            'Sure: {"name": "ant", "legs": 6} ok',
            '{"name": "ant", "legs": 6}',
            {"x": Animal(name="ant", legs=6)},
        ),
    ],
)
def test_what_the_model_writes(template: str, outputs: Any, text: str | None, variables: dict[str, Any]) -> None:
    result = run(template, outputs, w="dog", s=Animal, **({"l": [{}, {}]} if "each l" in template else {}))
    if text is not None:
        assert str(result) == text
    for name, value in variables.items():
        assert result[name] == value, name


def test_several_rows_give_a_list_and_the_first_goes_on() -> None:
    result = chainkit.program("{{gen 'x' n=3 temperature=1}}|{{gen 'y'}}", Scripted({"": "a", "|": "b"}))()
    assert (result["x"], str(result)) == (["a", "a", "a"], "a|b")
    assert result.timeline[0].alternatives == ("a", "a")


def test_hidden_parts_are_forgotten_by_the_model() -> None:
    model = Scripted("v")
    chainkit.program("a{{#block hidden=True}}b{{gen 'x'}}{{/block}}c{{gen 'y'}}{{gen 'z' hidden=True}}{{gen}}", model)()
    assert model.prompts == ["ab", "ac", "acv", "acv"]


def test_rounds_at_the_same_time_begin_alike() -> None:
    model = Scripted("v")
    result = chainkit.program("p{{#each [1, 2] parallel=True}}{{this}}{{gen 'x'}} {{/each}}{{gen}}", model)()
    assert sorted(model.prompts) == ["p1", "p1v 2v ", "p2"]
    assert (str(result), result["x"]) == ("p1v 2v v", "v")


def test_a_hidden_part_of_a_round_at_the_same_time_stays_hidden() -> None:
    model = Scripted("v")
    text = "p{{#each [1, 2] parallel=True}}{{this}}{{gen 'x' hidden=True}} {{/each}}{{gen}}"
    result = chainkit.program(text, model)()
    assert sorted(model.prompts) == ["p1", "p1 2 ", "p2"]
    assert str(result) == "p1 2 v"


def test_hosted_rounds_at_the_same_time_really_are() -> None:
    together = threading.Barrier(3, timeout=60)

    class Meeting(Scripted):
        def said(self, *args: Any) -> tuple[str, str]:
            together.wait()
            return "v", "stop"

    template = "{{#each [1, 2, 3] parallel=True}}{{gen 'x' list_append=True}}{{/each}}"
    assert chainkit.program(template, Meeting(""))()["x"] == ["v"] * 3
    assert len(chainkit.program("{{gen 'x'}}", Meeting("")).batch([{}] * 3)) == 3


async def test_as_many_requests_run_at_once_as_the_config_allows() -> None:
    running, most = [0], [0]
    lock, pair = threading.Lock(), threading.Barrier(2, timeout=60)

    class Counting(Scripted):
        def said(self, *args: Any) -> tuple[str, str]:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            pair.wait()
            with lock:
                running[0] -= 1
            return "v", "stop"

        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(self._generate, *args, **kwargs)

    program = chainkit.program("{{gen 'x'}}", Counting(""))
    program.batch([{}] * 6, {"max_concurrency": 2})
    await program.abatch([{}] * 6, {"max_concurrency": 2})
    assert most == [2]


def test_an_answer_of_another_form_is_asked_for_again_a_bounded_number_of_times() -> None:
    assert run("{{gen 'x' pattern='[0-9]+'}}", ["none", "still none", "7"])["x"] == "7"
    with pytest.raises(FormMissed, match="asked 3 times for 'x', and 'none' is not text that matches") as caught:
        run("{{gen 'x' pattern='[0-9]+'}}", "none")
    assert (caught.value.text, caught.value.line) == ("none", 1)
    with pytest.raises(FormMissed, match="asked 1 times"):
        run("{{gen 'x' pattern='[0-9]+' retries=0}}", "none")


async def test_a_model_that_ignores_stops_is_cut() -> None:
    class Deaf(Scripted):
        def said(self, prompt: str, stop: Any, settings: Any) -> tuple[str, str]:
            return super().said(prompt, None, settings)

    program = chainkit.program("{{gen 'x' stop=[';', '.'] save_stop_text=True}}|", Deaf("one. two; three"))
    assert (str(program()), program()["x_stop_text"]) == ("one|", ".")
    assert str(list(program.stream({}))[-1]) == "one|"
    assert [str(one) async for one in program.astream({})][-1] == "one|"
    roles = chainkit.program("{{#assistant}}{{gen 'x'}}{{/assistant}}", Deaf("one<|im_end|> more"))
    pieces = [
        e.text for one in roles.stream({}) for e in one.events if isinstance(e, TextAdded) and e.source == "model"
    ]
    assert pieces == ["one"]


async def test_a_run_that_is_cancelled_stops_its_requests() -> None:
    both, begun, cancelled = asyncio.Event(), list[str](), list[str]()

    class Slow(Scripted):
        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            begun.append("yes")
            if len(begun) == 2:
                both.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append("yes")
                raise

    program = chainkit.program("{{#each [1, 2] parallel=True}}{{gen 'x'}}{{/each}}", Slow(""))
    running = asyncio.ensure_future(program.ainvoke({}))
    await both.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert cancelled == ["yes", "yes"]


def test_a_chat_model_is_shown_what_was_wrong() -> None:
    model = ScriptedChat(["I would say a lot.", "six"])
    template = "{{#user}}How many?{{/user}}{{#assistant}}{{select 'n' options=['six', 'two']}}{{/assistant}}"
    result = chainkit.program(template, model)()
    assert result["n"] == "six"
    again = model.conversations[1]
    assert [type(message) for message in again] == [HumanMessage, AIMessage, HumanMessage]
    assert "one of 'six', 'two'" in again[-1].text
    assert result.messages == [("user", "How many?"), ("assistant", "six")]


def test_roles_are_messages_for_a_chat_model() -> None:
    model = ScriptedChat(["one", "two"])
    template = """
    {{#system~}} You are {{kind}}. {{~/system}}
    {{#user~}} Why? {{~/user}}
    {{#assistant~}} {{gen 'a'}} {{~/assistant}}
    {{#if a == 'one'}}{{#user name='Bo'}}And?{{/user}}{{/if}}
    {{#assistant}}{{gen 'b'}}!{{/assistant}}"""
    result = chainkit.program(template, model)(kind="kind")
    assert (result["a"], result["b"]) == ("one", "two")
    assert [(type(m), m.text, m.name) for m in model.conversations[1]] == [
        (SystemMessage, "You are kind.", None),
        (HumanMessage, "Why?", None),
        (AIMessage, "one", None),
        (HumanMessage, "And?", "Bo"),
    ]
    assert result.messages[-1] == ("assistant", "two!")


def test_a_role_ends_what_a_plain_model_writes() -> None:
    model = Scripted("yes<|im_end|><|im_start|>user")
    result = chainkit.program("{{#user}}Is it?{{/user}}{{#assistant}}{{gen 'x'}}{{/assistant}}", model)()
    assert result["x"] == "yes"
    assert model.prompts == ["<|im_start|>user\nIs it?<|im_end|><|im_start|>assistant\n"]


@pytest.mark.parametrize(
    ("template", "message", "column"),
    [
        ("{{gen 'x'}}", "takes messages and cannot continue a text", 1),
        ("{{#user}}a{{/user}}{{gen 'x'}}", "this gen is outside of every role", 20),
        ("{{#user}}a{{/user}} b", "this text is outside of every role", 21),
        ("{{#user}}{{gen 'x'}}{{/user}}", "writes messages of the assistant, and this one is of 'user'", 10),
        ("{{#assistant}}I {{gen 'x'}}{{/assistant}}", "cannot go on inside a message that has begun", 17),
        ("{{#assistant}}{{gen 'x'}}{{select 'y' options=['a']}}{{/assistant}}", "so this select must be the first", 26),
        ("{{#assistant}}{{#each l}}{{gen 'x'}}{{/each}}{{/assistant}}", "so this gen must be the first", 26),
        ("{{#assistant}}" + listed("") + "{{/assistant}}", "write single_call=True", 15),
        (listed("", "{{#user}}a{{/user}}"), "give num_iterations=, or stop=False", 1),
        ("{{#assistant}}{{gen 'x' grammar='start: 1'}}{{/assistant}}", "cannot be held to a grammar", 15),
        ("{{#assistant}}{{gen 'x' logprobs=2}}{{/assistant}}", "does not tell log-probabilities", 15),
        ("{{#assistant}}{{select 'x' options=o logprobs='p'}}{{/assistant}}", "cannot tell how likely options are", 15),
        ("{{#assistant}}{{select 'x' options=o method='joint'}}{{/assistant}}", "cannot compare options", 15),
    ],
)
def test_what_a_chat_model_cannot_do_is_refused_before_anything_is_sent(
    template: str, message: str, column: int
) -> None:
    model = ScriptedChat("x")
    with pytest.raises(UnsupportedProgram, match=message) as caught:
        chainkit.program(template, model, l=[1], o=["a", "b"])
    assert caught.value.column == column
    assert not model.conversations


def test_what_only_shows_while_running_is_refused_as_well() -> None:
    model = ScriptedChat("x")
    program = chainkit.program("{{#user}}a{{/user}}{{#assistant}}{{begin}}{{gen 'x'}}{{/assistant}}", model)
    assert program(begin=" ")["x"] == "x"
    with pytest.raises(UnsupportedProgram, match="has begun with 'It is'"):
        program(begin="It is")


def test_tools_are_called_until_the_model_answers() -> None:
    def weather(city: str, days: int = 1) -> dict[str, Any]:
        """The weather."""
        return {"city": city, "sun": True}

    model = Scripted(['{"name": "weather", "arguments": {"city": "Oslo"}}', "It is sunny."])
    result = chainkit.program("Weather? {{gen 'x' tools=tools}}", model, tools=[weather])()
    assert (str(result), result["x"]) == ("Weather? It is sunny.", "It is sunny.")
    assert result["x_calls"] == [
        {"name": "weather", "arguments": {"city": "Oslo"}, "result": '{"city": "Oslo", "sun": true}'}
    ]
    assert "The weather." in model.prompts[0]
    assert model.prompts[1].endswith('Result of the tool weather: {"city": "Oslo", "sun": true}\n')


def test_wrong_calls_are_told_to_the_model_and_rounds_are_bounded() -> None:
    def weather(city: str) -> str:
        """The weather."""
        return "sun"

    call = '{"name": "weather", "arguments": {"town": "Oslo"}}'
    result = chainkit.program(
        "{{gen 'x' tools=[weather] tool_rounds=2}}", Scripted([call, call, "ok"]), weather=weather
    )()
    assert "missing a required argument: 'city'" in result["x_calls"][0]["result"]
    assert len(result["x_calls"]) == 2
    with pytest.raises(ProgramError, match="there is no tool 'nope'"):
        chainkit.program("{{gen 'x' tools=[weather] tool_choice='nope'}}", Scripted(""), weather=weather)()


def test_streaming_gives_growing_runs_with_events_and_the_same_end() -> None:
    template = "{{#user}}a{{/user}}{{#assistant}}{{gen 'x' stop=' d'}}{{/assistant}}"
    template += "{{#each [1, 2] parallel=True}}{{this}}{{/each}}"
    program = chainkit.program(template, Scripted("b c d e"))
    whole = program()
    runs = list(program.stream({}))
    events = [event for one in runs for event in one.events]
    assert all(str(later).startswith(str(earlier)) for earlier, later in pairwise(runs))
    assert str(runs[-1]) == str(whole) == "".join(event.text for event in events if isinstance(event, TextAdded))
    assert runs[-1].variables == whole.variables == {"x": "b c"}
    assert [event for event in events if isinstance(event, SlotBegun | RoleBegun)] == [
        RoleBegun("user"), RoleBegun("assistant"), SlotBegun("x"),
    ]  # fmt: skip
    assert [event.text for event in events if isinstance(event, TextAdded) and event.source == "model"] == ["b", " c"]
    assert [event.value for event in events if isinstance(event, SlotDone)] == ["b c"]
    assert [one.finished for one in runs] == [False] * (len(runs) - 1) + [True]


async def test_the_asynchronous_twins_do_the_same() -> None:
    def program() -> Any:
        return chainkit.program("{{#each l parallel=True}}{{gen 'x' list_append=True}}{{/each}}", Scripted("b c"))

    once, several = program()(l=[1, 2]), program().batch([{"l": [1]}, {"l": [1, 2]}])
    assert str(await program().ainvoke({"l": [1, 2]})) == str(once) == "b cb c"
    assert [str(one) async for one in program().astream({"l": [1, 2]})][-1] == str(once)
    assert list(map(str, await program().abatch([{"l": [1]}, {"l": [1, 2]}]))) == list(map(str, several))
    assert await asyncio.gather(*(program().ainvoke({"l": [1]}) for _ in range(3)))


def test_a_batch_is_its_runs_and_its_errors_are_theirs() -> None:
    program = chainkit.program("{{gen 'x'}}{{f y}}", Scripted("v"), f=lambda y: 1 // y)
    assert [str(one) for one in program.batch([{"y": 1}, {"y": 1}])] == ["v1", "v1"]
    good, bad, missing = program.batch([{"y": 1}, {"y": 0}, {}], return_exceptions=True)
    assert (str(good), type(bad)) == ("v1", ZeroDivisionError)
    assert "'y' is missing" in str(missing)
    with pytest.raises(ZeroDivisionError):
        program.batch([{"y": 1}, {"y": 0}])
    assert program.batch([]) == []


def test_programs_compose_as_any_runnable_does() -> None:
    program = chainkit.program("Say {{word}}: {{gen 'x'}}", Scripted("v"))
    chain = RunnableLambda(lambda word: {"word": word}) | program | (lambda result: result["x"].upper())
    assert chain.invoke("hi") == "V"
    assert chain.batch(["a", "b"]) == ["V", "V"]
    assert list((program | (lambda result: str(result))).stream({"word": "a"}))[-1] == "Say a: v"
    assert str(program.invoke("b")) == "Say b: v"  # one variable is missing, so it is clear which
    with pytest.raises(TypeError, match="needs a dict of variables"):
        chainkit.program("{{a}}{{b}}").invoke("x")


def test_errors_of_the_model_say_where_and_end_the_run() -> None:
    with pytest.raises(ScriptEnded) as caught:
        run("a\n{{gen 'x'}}", [])
    assert "line 2, column 1" in caught.value.__notes__[0]


def test_seeds_make_runs_alike_and_slots_different() -> None:
    seen: list[int | None] = []

    class Seeded(Scripted):
        seed: int | None = None

        def said(self, prompt: str, stop: Any, settings: Any) -> tuple[str, str]:
            seen.append(settings.get("seed"))
            return "v", "stop"

    template = "{{gen temperature=1}}{{gen temperature=1}}{{gen n=2 temperature=1}}{{gen temperature=1 seed=5}}{{gen}}"
    program = chainkit.program(template, Seeded("")).with_options(seed=7)
    program()
    first, seen[:] = list(seen), []
    program()
    assert sorted(map(str, first)) == sorted(map(str, seen))
    assert first[-2:] == [5, None]
    assert len(set(first)) == 6


def test_tokens_are_bounded() -> None:
    program = chainkit.program("{{#each range(100)}}{{gen 'x'}}{{/each}}", Scripted("a word or two"))
    with pytest.raises(LimitReached, match="more than 10 tokens"):
        program.with_options(limits=Limits(tokens=10))()


def test_usage_counts_the_calls() -> None:
    assert run("{{gen}}{{gen}}", "four").usage.calls == 2


def test_the_timeline_says_where_each_character_came_from() -> None:
    result = run("a{{v}}{{gen 'x'}}{{gen 'h' hidden=True}}z", "m", v="b")
    spans = [(span.text, span.source, span.name, span.hidden, span.start, span.end) for span in result.timeline]
    assert spans == [
        ("a", "template", "", False, 0, 1),
        ("b", "variable", "", False, 1, 2),
        ("m", "model", "x", False, 2, 3),
        ("m", "model", "h", True, 3, 3),
        ("z", "template", "", False, 3, 4),
    ]
    assert all(result.text[span.start : span.end] == span.text for span in result.timeline if not span.hidden)


def test_a_chat_goes_on_from_turn_to_turn() -> None:
    template = """{{#geneach 'turns' stop=False}}{{#user}}{{set 'this.q' (await 'q') hidden=False}}{{/user}}
    {{#assistant}}{{gen 'this.a'}}{{/assistant}}{{/geneach}}"""
    model = ScriptedChat(["one", "two"])
    chat = chainkit.program(template, model)()
    assert chat.waiting == "q"
    chat = chat(q="first?")
    chat = chat(q="second?")
    assert chat["turns"] == [{"q": "first?", "a": "one"}, {"q": "second?", "a": "two"}]
    assert [message.text for message in model.conversations[-1]] == ["first?", "one", "second?"]
    assert len(model.conversations) == 2  # nothing was asked twice


async def test_going_on_can_be_streamed() -> None:
    template = "a{{gen 'x'}}{{await 'q'}}b{{gen 'y'}}{{await 'q'}}"
    first = chainkit.program(template, Scripted(["one", "two words", "two words"]))()
    runs = list(first.stream(q="?"))
    told = [event.text for one in runs for event in one.events if isinstance(event, TextAdded)]
    assert told == ["?", "b", "two", " words"]
    assert (str(runs[-1]), runs[-1].waiting) == ("aone?btwo words", "q")
    assert [str(one) async for one in first.astream(q="?")][-1] == str(runs[-1])


def test_parameters_that_are_none_are_as_not_written() -> None:
    text = "{{gen 'x' n=None temperature=None max_tokens=None top_p=None seed=None retries=None stop=None}}"
    assert run(text, "v")["x"] == "v"


def test_a_chat_model_writes_a_list_in_one_call() -> None:
    text = "{{#user}}Two?{{/user}}{{#assistant}}" + listed("single_call=True", "- {{gen 'this'}}\n") + "{{/assistant}}"
    result = chainkit.program(text, ScriptedChat("- one\n- two\n"))()
    assert result["l"] == ["one", "two"]
    assert result.messages[-1] == ("assistant", "- one\n- two\n")


def test_tools_called_are_told_as_events_on_chats_too() -> None:
    class Calling(ScriptedChat):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.bind(tools=tools, **kwargs)

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            result = super()._generate(messages, stop, run_manager, **kwargs)
            if len(self.conversations) == 1:
                call = {"name": "add", "args": {"a": 1, "b": 2}, "id": "c1"}
                result.generations[0].message = AIMessage("", tool_calls=[call])
            return result

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    model = Calling(["", "3 it is"])
    program = chainkit.program(
        "{{#user}}1+2?{{/user}}{{#assistant}}{{gen 'x' tools=[add]}}{{/assistant}}", model, add=add
    )
    runs = list(program.stream({}))
    assert [e for one in runs for e in one.events if isinstance(e, ToolCalled)] == [
        ToolCalled("add", {"a": 1, "b": 2}, "3")
    ]
    assert runs[-1]["x"] == "3 it is"
    assert [type(message).__name__ for message in model.conversations[1]] == [
        "HumanMessage",
        "AIMessage",
        "ToolMessage",
    ]

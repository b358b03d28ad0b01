"""The arithmetic in the middle of programs: limits, depths, borders of tags, half characters, whose setting counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chainkit.base.errors import LimitReached, ProgramError
from chainkit.base.generation import GenerationRequest
from chainkit.local.scheduler import Client, scheduler_of
from chainkit.local.session import LocalSession
from chainkit.programs.model import cache, local
from chainkit.programs.model.hosted import HostedReply, cut, sent_stops, settings_of, spend
from chainkit.programs.model.local import LocalJobRunner
from chainkit.programs.model.protocol import Form, Generate, Score, Slot, SlotResult, Tally
from chainkit.programs.model.tokens import TextPart, TokenContext
from chainkit.programs.run.driver import Driver
from chainkit.programs.run.limits import Limits
from chainkit.programs.run.runnable import program
from chainkit.programs.run.slots import closing
from tests.local.scripted import ScriptedRuntime


class Model:
    """A model on a scripted runtime, as far as `LocalJobRunner` knows models."""

    temperature = 0.0

    def __init__(self, script: str = "", **options: Any) -> None:
        self.runtime = ScriptedRuntime(script, **options)

    def call(self, stop: Any, changes: Any) -> GenerationRequest:
        return GenerationRequest(stop=tuple(stop or ()), **changes)


class ScriptedModel:
    """What programs see of it."""

    def __init__(self, script: str = "", **options: Any) -> None:
        self.model = Model(script, **options)
        self.runtime = self.model.runtime
        self.abilities = local.LocalProgramModel(self.model).abilities

    def context(self, tally: Tally, *, roles: bool, config: Any = None, soft_prompt: Any = ...) -> TokenContext:
        return TokenContext(LocalSession(self.runtime), None, tally, "scripted")

    def runner(self, *, streaming: bool, rows: int | None = None) -> LocalJobRunner:
        return LocalJobRunner(self.model, rows)


def context(text: str = "", **options: Any) -> TokenContext:
    made = ScriptedModel(**options).context(Tally(), roles=False)
    made.append(text)
    return made


@pytest.fixture(autouse=True)
def _uncached() -> Any:
    with cache.disabled():
        yield


# closing tags


@pytest.mark.parametrize(
    ("before", "following", "stop"),
    [
        ("<b>", "</b>", ("</b>",)),
        ("<b> \n", "\n  </b> and", ("</b>",)),
        ('<b class="x y"> ', "</b>", ("</b>",)),
        ("<ns:a-1.b>", "</ns:a-1.b>", ("</ns:a-1.b>",)),
        ("<b> so", "</b>", ()),
        ("<b>", "so </b>", ()),
        ("<b>", "</i>", ()),
        ("<b", "</b>", ()),
        ('say "', '" and', ('"',)),
        ("say '''", "'''", ("'''",)),
        ('say " ', '"', ()),
        ('say "', ' "', ()),
        ("", "", ()),
    ],
)
def test_a_quote_or_tag_around_a_slot_ends_it(before: str, following: str, stop: tuple[str, ...]) -> None:
    assert closing(before, following) == stop


def test_the_tag_around_a_slot_stops_the_model() -> None:
    model = ScriptedModel("<b>\n ten</b> more")
    run = program("<b>\n{{gen 'x' token_healing=False}}</b>", model)()
    assert run["x"] == " ten"
    assert str(run) == "<b>\n ten</b>"


# limits


def test_a_limit_on_tokens_ends_a_slot_while_it_is_written() -> None:
    model = ScriptedModel()
    ask = program("a{{gen 'x' max_tokens=100}}", model).with_options(limits=Limits(tokens=5))
    with pytest.raises(LimitReached, match="more than 5 tokens"):
        ask()
    assert len(model.runtime.calls) == 6


def test_as_many_tokens_as_the_limit_are_allowed() -> None:
    model = ScriptedModel()
    assert len(program("a{{gen 'x' max_tokens=5}}", model).with_options(limits=Limits(tokens=5))()["x"]) == 5
    with pytest.raises(LimitReached):
        program("a{{gen 'x' max_tokens=5}}", model).with_options(limits=Limits(tokens=4))()


@pytest.mark.parametrize("levels", [1, 3])
def test_blocks_may_be_as_deep_as_the_limit_says(levels: int) -> None:
    text = "{{#if true}}" * levels + "deep" + "{{/if}}" * levels
    assert str(program(text).with_options(limits=Limits(depth=levels))()) == "deep"
    if levels > 1:
        with pytest.raises(LimitReached, match=f"more than {levels - 1} deep"):
            program(text).with_options(limits=Limits(depth=levels - 1))()


def test_loops_may_go_round_as_often_as_the_limit_says() -> None:
    text = "{{#each [1, 2, 3]}}{{this}}{{/each}}"
    assert str(program(text).with_options(limits=Limits(iterations=3))()) == "123"
    with pytest.raises(LimitReached, match="through 2 rounds"):
        program(text).with_options(limits=Limits(iterations=2))()


def test_a_text_may_be_as_long_as_the_limit_says() -> None:
    assert str(program("abc{{x}}").with_options(limits=Limits(characters=5))(x="de")) == "abcde"
    with pytest.raises(LimitReached, match="longer than 4 characters"):
        program("abc{{x}}").with_options(limits=Limits(characters=4))(x="de")


@pytest.mark.parametrize("name", ["iterations", "depth", "tokens", "characters"])
def test_limits_are_at_least_one(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, got 0"):
        Limits(**{name: 0})


def test_limits_have_their_own_bounds() -> None:
    assert Limits(depth=120, retries=0, tool_rounds=0, seconds=None).seconds is None
    for wrong in ({"depth": 121}, {"retries": -1}, {"tool_rounds": -1}, {"seconds": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Limits(**wrong)  # type: ignore[arg-type]


# scores


def scores(method: Any, options: tuple[str, ...], following: str = "") -> list[float]:
    model = ScriptedModel()
    made = model.context(Tally(), roles=False)
    made.append("the ")
    runner = model.runner(streaming=False)
    runner.submit(1, Score(made, options, following, method))
    ((_, found),) = runner.step()
    return list(found.logprobs)  # type: ignore[union-attr]


def test_normalised_scores_are_the_joint_ones_by_the_number_of_tokens() -> None:
    options = ("cat", "horses", "x")
    joint, normalised = scores("joint", options), scores("normalised", options)
    assert normalised == pytest.approx([one / len(option) for one, option in zip(joint, options, strict=True)])
    assert joint == pytest.approx(LocalSession(ScriptedRuntime()).append("the ").score(options))


def test_unconditional_scores_are_the_joint_ones_less_those_without_the_text() -> None:
    options = ("cat", "dog")
    alone = LocalSession(ScriptedRuntime()).score(options)
    expected = [one - other for one, other in zip(scores("joint", options), alone, strict=True)]
    assert scores("unconditional", options) == pytest.approx(expected)


def test_of_what_follows_one_token_tells_options_apart() -> None:
    options, following = ("cat", "cats"), "!?"
    reference = LocalSession(ScriptedRuntime()).append("the ").score(["cat!", "cats!"])
    assert scores("joint", options, following) == pytest.approx(reference)


def test_without_what_follows_the_end_tells_them_apart() -> None:
    session = LocalSession(ScriptedRuntime()).append("the ")
    reference = session.score_tokens([[*b"cat", session.vocabulary.eos], [*b"cats", session.vocabulary.eos]])
    assert scores("joint", ("cat", "cats")) == pytest.approx(reference)


# what a slot writes, as tokens


def parts(made: TokenContext) -> list[tuple[str, tuple[int, ...] | None]]:
    return [(part.text, part.tokens) for part in made.held.parts]


def test_text_that_was_written_is_kept_as_the_tokens_it_was_written_in() -> None:
    made = context("a")
    made.take("bcd", list(b"bcd"))
    assert parts(made) == [("a", None), ("bcd", (98, 99, 100))]


def test_tokens_beyond_the_text_are_left_out() -> None:
    made = context()
    made.take("bc", list(b"bcde"))
    assert parts(made) == [("bc", (98, 99))]


def test_half_a_character_of_replayed_text_is_no_token_of_it() -> None:
    made = context()
    first, second = "é".encode()
    made.take("aé", [97, first])
    assert parts(made) == [("a", (97,)), ("é", None)]
    whole = context()
    whole.take("aé", [97, first, second])
    assert parts(whole) == [("aé", (97, first, second))]
    three = context()
    three.take("漢b", [*"漢".encode()[:2], 98])
    assert parts(three) == [("漢b", None)]


def test_a_replayed_slot_takes_back_what_was_healed() -> None:
    made = context("http:")
    made.synchronise()
    made.replay(SlotResult(text="//x", tokens=tuple(b"://x"), data=":"))
    assert parts(made) == [("http", tuple(b"http")), ("://x", tuple(b"://x"))]
    assert made.prompt == "http://x"


def test_the_session_has_the_tokens_of_the_text_and_no_others() -> None:
    made = context("abc")
    session = made.synchronise()
    assert session.tokens == list(b"abc")
    mark = made.mark()
    made.append("def")
    made.append("g")
    assert made.synchronise().tokens == list(b"abcdefg")
    made.rewind(mark)
    assert made.synchronise().tokens == list(b"abc")
    assert made.fork().synchronise().tokens == list(b"abc")


def test_the_tail_is_the_last_text_that_was_given() -> None:
    made = context("abcdefghijkl")
    made.synchronise()
    assert made.tail == tuple(b"efghijkl")
    short = context("abc")
    short.synchronise()
    assert short.tail == tuple(b"bc")  # the first token of a text stays
    short.take("xy", list(b"xy"))
    assert short.tail == ()
    assert context().tail == ()
    marked = context()
    marked.held = type(marked.held)(parts=(TextPart("<|x|>", (1, 2), special=True),))
    assert marked.tail == ()


# texts and programs share passes


def test_a_text_and_a_program_share_passes() -> None:
    model = ScriptedModel()
    runtime, scheduler = model.runtime, scheduler_of(model.runtime)
    session = LocalSession(runtime).append("once")
    from chainkit.local.scheduler import GenerationTask

    client = Client(scheduler, streaming=True)
    client.submit(GenerationTask(session, session.steps(GenerationRequest(max_tokens=24))))
    run = program("twice{{gen 'x' max_tokens=24 token_healing=False}}", model)()
    while client.open:
        client.wait()
    assert len(run["x"]) == 24
    assert len(runtime.calls) == 24
    assert run.usage.passes == 24


def test_a_slot_that_was_dropped_is_computed_no_more() -> None:
    model = ScriptedModel()
    runner = model.runner(streaming=True)
    made = model.context(Tally(), roles=False)
    made.append("a")
    runner.submit(1, Generate(made, Slot(max_tokens=50)))
    runner.step()
    calls = len(model.runtime.calls)
    runner.close()
    assert runner.step() == []
    assert len(model.runtime.calls) == calls
    assert made.session.cancelled


# hosted models


class Known:
    """A hosted model with settings of its own."""

    model_fields = dict.fromkeys(("temperature", "top_p", "max_tokens", "seed"), SimpleNamespace(default=None))
    profile: Any = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)


def slot(*given: str, **values: Any) -> Slot:
    return Slot(given=frozenset(given), **values)


def test_a_template_s_own_settings_count_on_a_model_that_has_its_own() -> None:
    asked = slot("temperature", "max_tokens", "top_p", temperature=0.3, max_tokens=7, top_p=0.5)
    wanted = {"temperature": 0.3, "top_p": 0.5, "max_tokens": 7}
    assert settings_of(Known(temperature=0.9, max_tokens=99, top_p=0.1), asked, length=True) == wanted
    assert settings_of(Known(), asked, length=False) == wanted


def test_the_model_s_own_settings_count_where_the_template_says_nothing() -> None:
    assert settings_of(Known(temperature=0.9, max_tokens=99), slot(), length=True) == {}
    assert settings_of(Known(), slot(max_tokens=40), length=True) == {"temperature": 0.0, "max_tokens": 40}
    assert settings_of(Known(), slot(), length=False) == {"temperature": 0.0}
    assert settings_of(Known(profile={"temperature": False}), slot(), length=False) == {}
    assert settings_of(object(), slot(seed=3), length=True) == {}


def test_seeds_scores_and_settings_of_the_model_are_passed_on() -> None:
    asked = slot(seed=5, logprobs=2, settings={"top_k": 4})
    found = settings_of(Known(temperature=1.0), asked, length=False)
    assert found == {"seed": 5, "logprobs": True, "top_logprobs": 2, "top_k": 4}


def test_an_answer_is_cut_at_the_first_stop_text() -> None:
    found = cut(HostedReply("one. two! three.", "length"), ("!", "."))
    assert (found.text, found.finish, found.stop_text) == ("one", "stop", ".")
    assert cut(HostedReply("one", "stop"), (".",)).stop_text == "."
    assert cut(HostedReply("one", "length"), (".",)).stop_text == ""
    assert cut(HostedReply("one", "stop"), (".", "!")).stop_text == ""


def test_services_are_sent_four_stop_texts() -> None:
    assert sent_stops(("a", "b", "c", "d", "e")) == ["a", "b", "c", "d"]
    assert sent_stops(()) is None


def test_what_a_call_has_cost_is_counted_once() -> None:
    tally = Tally()
    spend(tally, {"input_tokens": 10, "output_tokens": 3, "input_token_details": {"cache_read": 4}}, "abc")
    assert (tally.calls, tally.cached, tally.read, tally.sampled) == (1, 4, 6, 3)
    spend(tally, None, "12345678")
    spend(tally, {}, "")
    assert (tally.calls, tally.sampled) == (3, 3 + 3)


def test_a_form_says_what_it_asks_for() -> None:
    assert str(Form(pattern="a+")) == "text that matches 'a+'"
    assert str(Form(options=("a", "b"))) == "one of 'a', 'b'"
    assert (str(Form(grammar="x")), str(Form(schema={}))) == ("text of the grammar", "JSON of the schema")


def test_a_driver_without_tasks_is_done() -> None:
    assert list(Driver(ScriptedModel().runner(streaming=True)).run()) == []


def test_a_program_that_is_parsed_from_nothing_is_a_fault_with_its_place() -> None:
    with pytest.raises(ProgramError, match="line 1, column 1: parse needs the text of a program"):
        program("{{parse None}}")()

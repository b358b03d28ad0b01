"""Programs on local models: the tokens are those of a bare loop, in as few passes as can be, alone or side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llguidance")

from chainkit.base.errors import MissingLibrary
from chainkit.base.generation import GenerationRequest
from chainkit.decoding.sampler import log_softmax
from chainkit.programs.model import cache
from chainkit.programs.model.local import LocalProgramModel
from chainkit.programs.model.protocol import Score, Tally
from chainkit.programs.run.runnable import program

CHARACTER = (
    'the cat {{who}} sat: "{{gen "name" max_tokens=6 stop=\'"\'}}", age {{gen "age" pattern="[1-9][0-9]"}}, house '
    '{{#select "house"}}red{{or}}blue{{or}}blue and red{{/select}}. '
    '{{#geneach "items" num_iterations=2 join=", "}}"{{gen "this" max_tokens=4}}"{{/geneach}}'
)


def gguf(folder: Path) -> Any:
    pytest.importorskip("gguf")
    from chainkit.backends.llama_cpp import libraries
    from tests.backends.llama_cpp import tiny

    try:
        libraries.library()
    except MissingLibrary:
        pytest.skip("llama.cpp is not installed")
    from chainkit.backends.llama_cpp.models import GGUFModel

    path = str(tiny.write_model(folder / "bpe.gguf"))
    return lambda **settings: GGUFModel(model=path, kv_type="f32", flash_attention=False, probe=False, **settings)


def transformers(folder: Path) -> Any:
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    from chainkit.backends.huggingface.models import HuggingFaceModel
    from tests.backends.huggingface import tiny

    path = tiny.save(folder / "llama", tiny.causal("llama"), tiny.bpe())
    return lambda **settings: HuggingFaceModel(model=path, **settings)


@pytest.fixture(scope="module", params=[gguf, transformers], ids=["gguf", "transformers"])
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    return request.param(tmp_path_factory.mktemp("models"))


@pytest.fixture
def model(make: Callable[..., Any]) -> Any:
    return make()


def greedy(model: Any, text: str, count: int) -> str:
    """What the model writes behind a text, with nothing healed and nothing known."""
    session = model.session(text)
    with_scores = [piece.text for piece in session.generate(GenerationRequest(max_tokens=count))]
    session.close()
    return "".join(with_scores)


def test_a_slot_writes_what_a_bare_loop_writes(model: Any) -> None:
    run = program("the cat {{gen 'x' max_tokens=9 token_healing=False}}", model)()
    assert run["x"] == greedy(model, "the cat ", 9)


def test_the_text_of_the_template_costs_no_pass_of_its_own(model: Any) -> None:
    with cache.disabled():
        before = model.runtime.passes
        run = program(CHARACTER, model)(who="Tom")
    assert model.runtime.passes - before == run.usage.passes
    assert run.usage.passes <= run.usage.sampled + 1  # and the options of the select
    assert run["house"] in ("red", "blue", "blue and red")
    assert 10 <= int(run["age"]) <= 99


def test_a_second_run_reads_what_is_new(model: Any) -> None:
    text = (
        "the cat {{gen 'x' max_tokens=3}}"
        + " and the dog ran to the cat" * 6
        + "{{gen 'y' max_tokens=3}} {{more}}{{gen 'z' max_tokens=2}}"
    )
    with cache.disabled():
        first = program(text, model)(more="sat on the mat")
        again = program(text, model)(more="sat on the house")
    assert again["x"] == first["x"]
    assert again["y"] == first["y"]
    assert first.usage.read > 50
    assert again.usage.read < 30
    with cache.disabled():
        assert str(again) == str(program(text, model)(more="sat on the house"))


def test_a_batch_is_what_its_instances_are_alone(model: Any, make: Callable[..., Any]) -> None:
    names = ["Tom", "the dog", "12", "on the mat", "Once", "sea"]
    with cache.disabled():
        alone = [str(program(CHARACTER, make())(who=name)) for name in names]
        one = program(CHARACTER, make())(who="Tom").usage.passes
        before = model.runtime.passes
        runs = program(CHARACTER, model).batch([{"who": name} for name in names])
    assert [str(run) for run in runs] == alone
    assert model.runtime.passes - before <= 2 * one


def test_samples_of_a_batch_have_their_own_random_numbers(model: Any) -> None:
    text = "the {{gen 'x' temperature=1.0 max_tokens=8 n=3}}"
    with cache.disabled():
        first, second = (program(text, model).with_options(seed=5)() for _ in range(2))
    assert first["x"] == second["x"]
    assert len(set(first["x"])) == 3


def test_an_identical_run_costs_no_pass(model: Any) -> None:
    ask = program(CHARACTER, model)
    first = str(ask(who="Tom"))
    before = model.runtime.passes
    assert str(ask(who="Tom")) == first
    assert model.runtime.passes == before
    with cache.disabled():
        assert str(ask(who="Tom")) == first
    assert model.runtime.passes > before
    cache.clear()
    before = model.runtime.passes
    ask(who="Tom")
    assert model.runtime.passes > before


def test_kept_are_slots_with_a_seed_and_no_others(model: Any) -> None:
    text = "the {{gen 'x' temperature=1.0 max_tokens=12}}"
    assert len({str(program(text, model)()) for _ in range(4)}) > 1
    seeded = program(text, model).with_options(seed=3)
    first = str(seeded())
    before = model.runtime.passes
    assert str(seeded()) == first
    assert model.runtime.passes == before
    assert str(seeded.with_options(seed=4)()) != first


def test_results_are_kept_apart_by_what_changes_them(model: Any, make: Callable[..., Any]) -> None:
    first = program("the cat {{gen 'x' max_tokens=12}}", model)()
    for changed in (
        program("the cat {{gen 'x' max_tokens=11}}", model),
        program("the dog {{gen 'x' max_tokens=12}}", model),
        program("the cat {{gen 'x' max_tokens=12 stop='e'}}", model),
        program("the cat {{gen 'x' max_tokens=12}}", make(repeat_penalty=5.0)),
    ):
        changed()
    results = cache.results()
    assert results is not None
    assert len(results) == 5
    assert str(program("the cat {{gen 'x' max_tokens=12}}", model)()) == str(first)


def test_a_kept_result_is_a_state_to_go_on_from(model: Any) -> None:
    short, long = "the cat{{gen 'x' max_tokens=5}}", "the cat{{gen 'x' max_tokens=5}} and {{gen 'y' max_tokens=5}}"
    with cache.disabled():
        wanted = str(program(long, model)())
    program(short, model)()
    assert str(program(long, model)()) == wanted


def test_options_are_compared_as_the_text_would_be_cut(model: Any) -> None:
    engine = LocalProgramModel(model)
    context = engine.context(Tally(), roles=False)
    context.append("the house is ")
    work = engine.runner(streaming=False)
    options, following = ("red", "re", "the sea"), " and the dog"
    work.submit(1, Score(context, options, following))
    ((number, scored),) = work.step()
    assert number == 1
    start = model.session("the house").tokens
    for option, logprob in zip(options, scored.logprobs, strict=True):
        whole = model.session(f"the house is {option}{following}")
        total, reference = 0.0, model.session("the house")
        for token in whole.tokens[len(start) :]:
            if len(reference.text) > len(f"the house is {option}"):
                break
            total += log_softmax(reference.logits())[token]
            reference.append([token])
        common = model.session("the house is ").tokens[len(start) :]
        shared = model.session("the house")
        for token, other in zip(whole.tokens[len(start) :], common, strict=False):
            if token != other:
                break
            total -= log_softmax(shared.logits())[token]
            shared.append([token])
        # the border's own tokens are the same summand for all options, or none
        assert logprob == pytest.approx(total, abs=2e-2) or logprob < total
    context.release()


def test_a_pattern_ends_where_the_text_behind_it_is_likelier(model: Any) -> None:
    for seed in range(6):
        text = "12 and {{gen 'n' pattern='[0-9]+' temperature=1.5 max_tokens=30}}."
        run = program(text, model).with_options(seed=seed)()
        assert run["n"].isdigit()
        assert str(run) == f"12 and {run['n']}."


def test_a_stop_text_is_left_to_the_template(model: Any) -> None:
    whole = greedy(model, "the cat ", 24)
    stop = whole[9:11]
    run = program("the cat {{gen 'x' max_tokens=24 token_healing=False stop=stop}}|{{gen 'y' max_tokens=3}}", model)(
        stop=stop
    )
    assert run["x"] == whole[: whole.index(stop)]
    assert str(run).startswith(f"the cat {run['x']}|")


def test_streaming_is_the_same_text(model: Any) -> None:
    ask = program(CHARACTER, model)
    with cache.disabled():
        *_, last = ask.stream({"who": "Tom"})
        assert str(last) == str(ask(who="Tom"))


def test_the_file_of_someone_else_is_no_cache_and_stays(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"no database at all" * 100)
    monkeypatch.setenv("CHAINKIT_PROGRAM_CACHE", str(path))
    program("the cat {{gen 'x' max_tokens=3}}", model)()
    assert cache.results() is None
    assert path.read_bytes() == b"no database at all" * 100
    monkeypatch.setenv("CHAINKIT_PROGRAM_CACHE", "off")
    assert cache.results() is None


def test_old_results_make_room_for_new_ones(tmp_path: Path) -> None:
    from chainkit.programs.model.protocol import SlotResult

    results = cache.Results(tmp_path / "r.sqlite", limit=20_000)
    for number in range(600):
        results.put(number.to_bytes(20, "big"), SlotResult(text="x" * 100))
    assert 0 < len(results) < 600
    assert results.get((599).to_bytes(20, "big")) == SlotResult(text="x" * 100)
    results.close()

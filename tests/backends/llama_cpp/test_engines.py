"""Of two libraries the faster one runs a file, as far as its numbers are right."""

import json
import os
import time

import numpy as np
import pytest

from chainkit.backends.llama_cpp import engines
from chainkit.backends.llama_cpp.batch import BatchBuffer
from chainkit.backends.llama_cpp.comparison import TopScores, compared, joined, right
from chainkit.backends.llama_cpp.engines import Engine, known, verdict
from chainkit.backends.llama_cpp.ik_capi import first_positions
from chainkit.backends.llama_cpp.ik_layouts import IkBatch
from chainkit.backends.llama_cpp.libraries import VARIABLE, opened
from chainkit.backends.llama_cpp.models import GGUFEmbeddings, GGUFModel
from chainkit.backends.llama_cpp.passes import PassRow
from chainkit.base.errors import MissingLibrary

SLOW = [{"noise": 0.002}, {"reading": 0.010, "writing": 0.020}]
FAST = {"reading": 0.005, "writing": 0.015}


def wide(*wrong):
    """What the second library's child says: widths up to the first wrong one."""
    said = []
    for width in (1, 8, 16, 31, 32, 64, 128):
        said.append({"width": width, "right": width not in wrong})
        if width in wrong:
            break
    return said


def both() -> bool:
    try:
        return bool(opened("ik_llama_cpp")) and engines.base_library() is not None
    except MissingLibrary:
        return False


needs_both = pytest.mark.skipif(not both(), reason="needs both libraries")


def decided(first, second):
    return verdict("xllamacpp", "ik_llama_cpp", first, second)


def test_the_faster_library_runs_a_file_on_which_it_is_right():
    found = decided(SLOW, [*wide(), {"width": 512, "right": True}, {**FAST, "widest": 512}])
    assert (found["library"], found["widest"]) == ("ik_llama_cpp", 512)
    assert "0.58 of llama.cpp's time" in found["reason"]  # (256 * 5 + 64 * 15) / (256 * 10 + 64 * 20)
    assert found["rival_speed"] == [200.0, 66.67]


def long_text(reading, *, right=True):
    return {"width": 1536, "right": right, "again": True, "reading_long": reading, "writing_long": 0.02}


@pytest.mark.parametrize(("reading", "flash"), [(0.004, True), (0.0059, False)])
def test_flash_attention_is_used_where_it_is_right_and_faster_after_a_long_text(reading, flash):
    plain = [*wide(), long_text(0.006), {**FAST, "widest": 512}]
    tiled = [{"width": 512, "right": True, "whole": True}, long_text(reading), {**FAST, "widest": 512}]
    found = verdict("xllamacpp", "ik_llama_cpp", SLOW, plain, tiled)
    assert engines._engine(found, "").flash is flash
    assert ("with flash attention" in found["reason"]) is flash


@pytest.mark.parametrize(
    "tiled",
    [
        [{"width": 512, "right": True, "whole": True}, {"failed": "it ended with status -6", "status": -6}],
        [{"width": 512, "right": True, "whole": True}, long_text(0.001, right=False)],
        [],
    ],
)
def test_flash_attention_that_ends_the_process_or_is_wrong_is_not_used(tiled):
    plain = [*wide(), long_text(0.006), {**FAST, "widest": 512}]
    found = verdict("xllamacpp", "ik_llama_cpp", SLOW, plain, tiled)
    assert (found["library"], engines._engine(found, "").flash) == ("ik_llama_cpp", False)


def test_it_computes_no_wider_passes_than_were_right():
    found = decided(SLOW, [*wide(32), {"width": 31, "right": True}, {**FAST, "widest": 31}])
    assert (found["library"], found["widest"]) == ("ik_llama_cpp", 31)
    assert "passes of 31 tokens, since wider ones are wrong" in found["reason"]
    assert engines._engine(found, "").widest == 31


def test_it_runs_nothing_where_narrow_passes_are_wrong():
    found = decided(SLOW, wide(1))
    assert (found["library"], found["reason"]) == ("xllamacpp", "ik_llama.cpp computes it wrongly")


def test_it_runs_nothing_where_its_child_died_even_if_the_user_names_it(caplog):
    found = decided(SLOW, [*wide()[:3], {"failed": "it ended with status -6", "status": -6}])
    assert found["library"] == "xllamacpp"
    assert "status -6" in found["reason"]
    assert engines._engine(found, "ik_llama_cpp").library == "xllamacpp"
    assert "xllamacpp in place of ik_llama_cpp" in caplog.text


def test_where_nothing_was_measured_to_compare_with_nothing_is_kept(bpe_model, tmp_path, monkeypatch):
    said = [*wide(), {**FAST, "widest": 512}]
    found = decided([{"failed": "no memory", "status": 1}], said)
    assert (found["library"], found["pays"]) == ("xllamacpp", False)
    assert "llama.cpp's trial failed: no memory" in found["reason"]
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(engines, "_decide", lambda *args, **settings: found)
    monkeypatch.setattr(engines, "_rival", lambda choice: engines.base_library())
    assert engines.tried(bpe_model, "auto", repack=True).library == "xllamacpp"
    assert engines.decisions() == []


@pytest.mark.parametrize("late", ["first", "second"])
def test_a_trial_that_was_not_done_in_time_counts_for_a_day(late, bpe_model, tmp_path, monkeypatch):
    timeout = {"failed": engines._LATE, "status": -1}
    found = decided([timeout], wide()) if late == "first" else decided(SLOW, [*wide()[:3], timeout])
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path))
    monkeypatch.setattr(engines, "_decide", lambda *args, **settings: found)
    base = engines.base_library()
    monkeypatch.setattr(engines, "_rival", lambda choice: base)
    monkeypatch.setattr(engines, "_decided", {})
    assert engines.tried(bpe_model, "auto", repack=True).library == "xllamacpp"
    place = engines._place(bpe_model, base, base, repack=True)
    engines._decided.clear()
    assert engines._kept(place, "").library == "xllamacpp"
    engines._decided.clear()
    os.utime(place, (0, time.time() - 90_000))
    assert engines._kept(place, "") is None


def test_each_library_has_its_own_cost_of_passes():
    said = [*wide(), {**FAST, "widest": 512}, {"costs": {"1": 0.01, "8": 0.025}}]
    found = decided([*SLOW, {"costs": {"1": 0.02, "8": 0.1}}], said)
    assert engines._engine(found, "").costs == ((1, 0.01), (8, 0.025))
    assert engines._engine(found | {"pays": False}, "").costs == ((1, 0.02), (8, 0.1))


def test_a_small_gain_is_none_but_the_user_may_still_name_it():
    found = decided(SLOW, [*wide(), {"reading": 0.0095, "writing": 0.019, "widest": 512}])
    assert found["library"] == "xllamacpp"
    assert "no gain" in found["reason"]
    assert engines._engine(found, "").library == "xllamacpp"
    assert engines._engine(found, "ik_llama_cpp").library == "ik_llama_cpp"


def scores(logits, following):
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    tokens = np.argsort(-logs, axis=1)[:, :4]
    kept = np.take_along_axis(logs, np.concatenate([tokens, following[:, None]], 1), 1)
    return TopScores(np.arange(len(logs)), tokens, kept), tokens


def test_numbers_are_right_if_they_differ_by_rounding_alone():
    random = np.random.default_rng(0)
    logits, following = random.standard_normal((64, 50)) * 3, random.integers(0, 50, 64)
    reference, tokens = scores(logits, following)

    def disturbed(by):
        other = logits + by * random.standard_normal(logits.shape)
        logs = other - np.log(np.exp(other).sum(1, keepdims=True))
        return TopScores(
            np.arange(64), tokens, np.take_along_axis(logs, np.concatenate([tokens, following[:, None]], 1), 1)
        )

    assert compared(reference, reference) == {"divergence": 0.0, "agree": 1.0, "shift": 0.0, "error": 0.0}
    assert right(compared(reference, disturbed(0.05)), noise=0.001)
    assert not right(compared(reference, disturbed(1.0)), noise=0.001)
    shifted = TopScores(reference.places, tokens, reference.logs - np.array([0, 0, 0, 0, 0.006]))
    assert not right(compared(reference, shifted), noise=0.001)  # all texts less likely, by more than 0.5 %
    broken = TopScores(reference.places, tokens, reference.logs * np.nan)
    assert not right(compared(reference, broken), noise=1.0)
    assert len(joined([reference, reference]).places) == 128


def test_what_a_pass_has_left_is_found_by_its_first_positions():
    batch = BatchBuffer(8, 3, IkBatch).fill_rows([PassRow(1, 7, [0]), PassRow(2, 8, [0, 2]), PassRow(3, 4, [1])])
    assert first_positions(batch) == {0: 7, 2: 8, 1: 4}


def test_an_unknown_engine_is_refused(bpe_model):
    with pytest.raises(ValueError, match="engine must be one of auto"):
        GGUFModel(model=str(bpe_model), engine="lama_cpp")


def test_a_small_file_is_not_tried_on_both(bpe_model, monkeypatch):
    monkeypatch.setenv(VARIABLE, "auto")
    monkeypatch.setattr(engines, "tried", pytest.fail)
    assert GGUFModel(model=str(bpe_model)).runtime.weights.engine.library != "ik_llama_cpp"


@needs_both
def test_a_spec_names_the_library_of_one_model(bpe_model, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    there = [GGUFModel(model=str(bpe_model), engine=name) for name in ("xllamacpp", "ik-llama-cpp")]
    packages = [model.runtime.library.layout.package for model in there]
    assert packages == ["xllamacpp", "ik_llama_cpp_python"]  # both in this process
    assert all(model.invoke("the cat", max_tokens=4) for model in there)


@needs_both
@pytest.mark.parametrize("asked", [{"kv_type": "f32"}, {"repeatable": True}, {"flash_attention": True}])
def test_what_it_cannot_do_goes_to_the_other_library(bpe_model, asked, caplog):
    made = GGUFModel(model=str(bpe_model), engine="ik_llama_cpp", **asked)
    assert made.runtime.weights.engine.library == engines._name(engines.base_library())
    assert "in place of ik_llama_cpp, which has no" in caplog.text


@needs_both
def test_vectors_come_from_the_other_library(bpe_model):
    made = GGUFEmbeddings(model=str(bpe_model), engine="ik_llama_cpp")
    assert made.embedder.library.layout.package == engines.base_library().layout.package


@needs_both
def test_a_decision_is_made_once_and_kept(bpe_model, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path))
    monkeypatch.setattr(engines, "_SMALL", 0)
    assert known(bpe_model, "auto", repack=True, probe=True) is None
    first = engines.tried(bpe_model, "auto", repack=True)
    (kept,) = engines.decisions()
    assert kept["path"] == str(bpe_model.resolve())
    assert [one["width"] for one in kept["passes"]][:2] == [1, 8]
    assert [width for width, seconds in first.costs if seconds > 0] == [1, 2, 4, 8, 16]
    monkeypatch.setattr(engines, "_run", pytest.fail)
    assert known(bpe_model, "auto", repack=True, probe=True) == first
    assert known(bpe_model, "auto", repack=False, probe=True) is None
    for place in (tmp_path / "cache" / "engines").iterdir():
        place.write_text(json.dumps({"rules": 0}))
    engines._decided.clear()
    assert known(bpe_model, "auto", repack=True, probe=True) is None  # what cannot be read is tried again


@needs_both
def test_a_library_that_dies_on_a_file_ends_its_child_alone(bpe_model, tmp_path, monkeypatch):
    def died(module, argument, *, seconds):
        job = json.loads(argument)
        killed = "import os; os.abort()" if job["candidate"] else "print('{\"noise\": 0.0}')"
        return engines.subprocess.run([engines.sys.executable, "-c", killed], capture_output=True, check=False)

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path))
    monkeypatch.setattr(engines, "child", died)
    assert engines.tried(bpe_model, "auto", repack=True) == Engine(
        library=engines._name(engines.base_library()), reason="ik_llama.cpp does not run it: it ended with status -6"
    )


@needs_both
def test_models_beyond_what_ik_llama_cpp_can_hold_are_refused_and_the_process_lives(bpe_model):
    llama, models, contexts = opened("ik_llama_cpp"), [], []
    try:
        for _ in range(64):  # as many as its ggml has slots for; each context takes two
            model = llama.load(str(bpe_model), llama.model_params(n_gpu_layers=0))
            context = None if model is None else llama.context(model, llama.context_params(n_ctx=64, n_batch=32))
            models += [] if model is None else [model]
            contexts += [] if context is None else [context]
            if context is None:
                break
        assert 10 <= len(contexts) < 64
        assert "unload others" in llama.last_errors()
        llama.llama_free(contexts.pop())
        contexts.append(llama.context(models[0], llama.context_params(n_ctx=64, n_batch=32)))
        assert contexts[-1] is not None
    finally:
        for context in contexts:
            llama.llama_free(context)
        for model in models:
            llama.llama_model_free(model)

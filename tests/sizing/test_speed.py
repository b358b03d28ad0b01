"""Speeds that are expected of models, from those that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainkit.sizing import gguf_model, machine
from chainkit.sizing.speed import (
    SpeedRecord,
    expected,
    fastest_threads,
    keep,
    kept,
    records_file,
    token_bytes,
    token_weights,
)

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path / "home"))


def record(**changed) -> SpeedRecord:
    values = {
        "model": "a", "quantization": "Q8_0", "engine": "xllamacpp", "threads": 2, "prompt": 100.0, "decode": 10.0,
        "token_bytes": 1000, "token_weights": 900,
    }  # fmt: skip
    return SpeedRecord(**{**values, **changed})


def test_a_model_that_was_measured_gets_its_own_figures() -> None:
    model = gguf_model(DEMO)
    own = record(model=model.name, token_bytes=token_bytes(model), token_weights=token_weights(model))
    speed = expected(model, machine("this"), [record(token_bytes=10**12), own])
    assert speed is not None
    assert (speed.prompt, speed.decode) == (100.0, 10.0)
    assert speed.source == "measured with xllamacpp, 2 threads"


def test_another_model_is_scaled_by_its_bytes_and_weights() -> None:
    model = gguf_model(DEMO)
    twice = record(token_bytes=2 * token_bytes(model), token_weights=4 * token_weights(model), model="b", threads=1)
    speed = expected(model, machine("this"), [twice])
    assert speed is not None
    assert speed.decode == pytest.approx(20.0)
    assert speed.prompt == pytest.approx(400.0)
    assert speed.source == "from b with xllamacpp, 1 thread"


def test_the_fastest_engine_counts_where_several_were_measured() -> None:
    model = gguf_model(DEMO)
    size, weights = token_bytes(model), token_weights(model)
    rows = [record(token_bytes=size, token_weights=weights, decode=rate) for rate in (5.0, 9.0, 7.0)]
    speed = expected(model, machine("this"), rows)
    assert speed is not None
    assert speed.decode == 9.0


def test_what_was_measured_with_the_engine_that_will_run_it_comes_first() -> None:
    model = gguf_model(DEMO)
    size, weights = token_bytes(model), token_weights(model)
    rows = [record(token_bytes=size, token_weights=weights, engine=name) for name in ("xllamacpp", "ik_llama_cpp")]
    for engine in ("xllamacpp", "ik_llama_cpp"):
        speed = expected(model, machine("this"), rows, engine=engine)
        assert speed is not None
        assert engine in speed.source


def test_another_quantization_tells_nothing() -> None:
    assert expected(gguf_model(DEMO), machine("this"), [record(quantization="Q4_K")]) is None
    assert expected(gguf_model(DEMO), machine("this")) is None  # nothing was measured yet


def test_a_raspberry_pi_has_published_figures_and_any_other_machine_none() -> None:
    model = gguf_model(DEMO)
    four, five = expected(model, machine("pi4-4gb")), expected(model, machine("pi5-8gb"))
    assert four is not None
    assert five is not None
    assert five.decode == pytest.approx(3 * four.decode)
    assert five.decode * token_bytes(model) == pytest.approx(9.0 * 1_034_000_000 * 34 // 32)
    assert expected(model, machine("8GB")) is None


def test_the_table_of_tokens_is_read_only_where_it_is_the_output_too() -> None:
    model = gguf_model(DEMO)
    table = next(weight for weight in model.weights if weight.name == "token_embd.weight")
    tied = not any(weight.name == "output.weight" for weight in model.weights)
    assert token_bytes(model) == model.weight_bytes - (0 if tied else table.nbytes)


def test_a_second_measurement_replaces_the_first() -> None:
    keep([record(), record(threads=1)])
    keep([record(decode=11.0)])
    assert sorted((one.threads, one.decode) for one in kept()) == [(1, 10.0), (2, 11.0)]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"model": "a"}]', "null"])
def test_a_file_that_is_not_ours_counts_as_none(text: str) -> None:
    records_file().parent.mkdir(parents=True)
    records_file().write_text(text)
    assert kept() == []


def test_threads_are_those_that_were_fastest_and_no_more_than_pay() -> None:
    rows = [
        record(threads=1, decode=10.0, prompt=100.0),
        record(threads=2, decode=10.2, prompt=190.0),  # 2 % for single tokens are not worth a core
        record(threads=4, decode=8.0, prompt=300.0),
    ]
    assert fastest_threads("xllamacpp", 1000, 8, rows) == (1, 4)
    assert fastest_threads("xllamacpp", 1000, 2, rows) == (1, 2)
    assert fastest_threads("ik_llama_cpp", 1000, 8, rows) is None
    assert fastest_threads("xllamacpp", 1000, 8, rows[:1]) is None


def test_the_model_nearest_in_size_decides_on_threads() -> None:
    small = [record(model="s", token_bytes=10, threads=n, decode=3.0 / n, prompt=3.0 / n) for n in (1, 2)]
    large = [record(model="l", token_bytes=1000, threads=n, decode=3.0 * n, prompt=3.0 * n) for n in (1, 2)]
    assert fastest_threads("xllamacpp", 20, 8, small + large) == (1, 1)
    assert fastest_threads("xllamacpp", 900, 8, small + large) == (2, 2)
    lone = record(model="x", token_bytes=900, threads=1)
    assert fastest_threads("xllamacpp", 900, 8, [*small, lone]) == (1, 1)


def test_size_tells_the_fastest_prompt_and_the_fastest_writing() -> None:
    model = gguf_model(DEMO)
    own = {"model": model.name, "token_bytes": token_bytes(model), "token_weights": token_weights(model)}
    rows = [record(**own, threads=1, decode=12.0, prompt=50.0), record(**own, threads=2, decode=9.0, prompt=90.0)]
    speed = expected(model, machine("this"), rows)
    assert speed is not None
    assert (speed.decode, speed.prompt) == (12.0, 90.0)

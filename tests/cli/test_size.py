from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainkit.cli.screen import amount
from chainkit.cli.size import DEVICES, KV_TYPES
from chainkit.sizing import PIS, plan
from chainkit.sizing.plan import KV_BYTES
from tests.sizing.published import LLAMA

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    return str(path)


def sizes(run, *arguments: str) -> dict:
    result = run("size", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_176_billion_parameters_in_bfloat16_are_352_gb(run) -> None:
    assert (
        run("size", "--params", "176e9", "--dtype", "bfloat16").stdout
        == "176 B parameters in bfloat16: 352 GB of weights\n"
    )
    assert sizes(run, "--params", "7e9", "--dtype", "Q8_0")["bytes"] == 7e9 * 34 / 32


def test_the_lists_of_the_help_are_those_of_the_plans() -> None:
    assert set(DEVICES) == {"this", *PIS}
    assert set(KV_TYPES) == set(KV_BYTES)


def test_a_plan_is_shown_with_its_parts_and_machines(run) -> None:
    shown = run("size", str(DEMO)).stdout
    assert "demo-q8_0.gguf: llama, 3.5 M parameters, 5 layers, trained on texts of 2048 tokens" in shown
    for word in (
        "weights",
        "cache",
        "compute",
        "tokenizer",
        "program",
        "needed",
        "this machine",
        "Raspberry Pi 5, 16 GB",
    ):
        assert word in shown


def test_the_options_of_a_spec_and_of_the_command_count(run) -> None:
    spec = f"gguf:{DEMO}?context_length=1024&kv_type=q8_0&use_mmap=false"
    use = sizes(run, spec, "--device", "pi4-2gb")["verdicts"][0]["plan"]["use"]
    assert (use["context"], use["kv_type"], use["mmap"]) == (1024, "q8_0", False)
    assert sizes(run, spec, "--context", "256", "--ram", "8GB")["verdicts"][0]["plan"]["use"]["context"] == 256


def test_a_model_that_is_too_large_says_with_what_it_fits(run, config: str) -> None:
    shown = run(
        "size", config, "--quant", "Q8_0", "--context", "4096", "--device", "pi5-8gb", "--device", "pi4-2gb"
    ).stdout
    assert "fits with Q6_K and kv_type=q8_0" in shown
    assert "does not fit" in shown


def test_copies_of_repacked_weights_are_shown(run, config: str) -> None:
    shown = run("size", config, "--quant", "Q4_0", "--device", "pi5-8gb").stdout
    assert "with mmap" in shown
    assert "use_mmap=false" in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.gguf"], "there is no such file"),
        (["openai:gpt-4o-mini"], "openai runs elsewhere"),
        (["x.gguf", "--params", "7e9"], "not both"),
        (["--params", "-1"], "between 1 and 1e15"),
        (["--params", "nan"], "between 1 and 1e15"),
        (["--params", "7e9", "--dtype", "int7"], "no dtype 'int7'"),
        (["x.gguf", "--dtype", "int8"], "goes with --params"),
        ([str(DEMO), "--ram", "lots"], "no machine 'lots'"),
        ([str(DEMO), "--device", "pi5-8g"], "did you mean 'pi5-8gb'"),
        ([str(DEMO), "--quant", "Q4"], "no quantization 'Q4'"),
        ([f"gguf:{DEMO}?context_length=many"], "option of the spec is wrong"),
        ([f"gguf:{DEMO}?context_length=-5"], "context must be 1 or more"),
    ],
)
def test_wrong_questions_are_answered_in_a_line(run, arguments: list[str], complaint: str) -> None:
    result = run("size", *arguments)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def test_nothing_to_ask_about_is_a_matter_of_usage(run) -> None:
    result = run("size")
    assert result.exit_code == 2
    assert "name a model, as in 'chainkit size ./model.gguf'" in result.stderr


def test_an_old_file_is_planned_as_the_gguf_that_it_becomes(run, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from chainkit.sizing import gguf_model
    from tests.backends.llama_cpp.old_files import write_old

    old = tmp_path / "old.ggmlv3.bin"
    write_old(old)
    assert run("convert", str(old), str(tmp_path / "new.gguf")).exit_code == 0
    found = sizes(run, f"ggml:{old}", "--device", "pi4-2gb")["verdicts"][0]["plan"]
    planned = plan(gguf_model(tmp_path / "new.gguf"))
    assert (found["weights"], found["cache"]) == (planned.weights, planned.cache)


@pytest.mark.parametrize(
    ("nbytes", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (57_000, "57 kB"), (7_600_000, "7.6 MB"), (4 * 10**9, "4.00 GB")],
)
def test_sizes_are_readable(nbytes: int, shown: str) -> None:
    assert amount(nbytes) == shown

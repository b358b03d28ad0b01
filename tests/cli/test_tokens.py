from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("jinja2")

from chainkit.backends.llama_cpp import libraries
from chainkit.base.errors import MissingLibrary

try:
    libraries.library()
except MissingLibrary:
    pytest.skip("llama.cpp is not installed", allow_module_level=True)

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"
TEXT = "The lighthouse keeper at Varmouth is"


def test_tokens_and_the_next_ones_are_shown_with_bars(run) -> None:
    shown = run("tokens", TEXT, "--model", f"gguf:{DEMO}", "-k", "3").stdout
    assert shown.startswith("15 tokens: '<|begin|>' 'The' ' ' 'li' 'gh'")
    assert "96.6%" in shown
    assert "█████" in shown
    assert "sampled" not in shown


def test_after_temperature_and_top_p_are_beside_before(run) -> None:
    result = run("tokens", TEXT, "--model", f"gguf:{DEMO}", "--temperature", "1.5", "--top-p", "0.5", "--json")
    told = json.loads(result.stdout)
    chances = [one["chance"] for one in told["next"]]
    assert chances == sorted(chances, reverse=True)
    assert told["next"][0]["sampled"] == 1.0
    assert told["next"][1]["sampled"] == 0.0
    assert b"".join(bytes.fromhex(token["bytes"]) for token in told["tokens"]) == TEXT.encode()
    assert "cut" in run("tokens", TEXT, "--model", f"gguf:{DEMO}", "--top-p", "0.5").stdout


def test_a_plot_is_drawn_even_of_tokens_that_matplotlib_would_read_as_formulas(run) -> None:
    pytest.importorskip("matplotlib")
    result = run("tokens", "It costs $5 and $6_", "--model", f"gguf:{DEMO}", "--temperature", "1", "--plot", "t.png")
    assert result.exit_code == 0, result.stderr
    assert Path("t.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([TEXT, "--model", "fake:"], "does not show its tokens"),
        (["", "--model", f"gguf:{DEMO}"], "there is no text"),
        ([TEXT, "--model", f"gguf:{DEMO}", "--plot", "t.bmp"], "endings: .png"),
        ([TEXT, "--model", f"gguf:{DEMO}", "--plot", "t.png", "-k", "0"], "-k 0 asks for none"),
    ],
)
def test_wrong_requests_are_answered_in_a_line(run, arguments: list[str], complaint: str) -> None:
    result = run("tokens", *arguments)
    assert result.exit_code == 1
    assert complaint in result.stderr


def test_only_the_cut_is_shown_where_no_next_tokens_are_wanted(run) -> None:
    shown = run("tokens", "-", "--model", f"gguf:{DEMO}", "-k", "0", input="The").stdout
    assert shown == "2 tokens: '<|begin|>' 'The'\nids: 2042 361\n"

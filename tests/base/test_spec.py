"""Specs are taken apart as users mean them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base.errors import SpecError, UnknownProvider
from chainkit.base.spec import Spec, parse_spec

KNOWN = {"openai", "gguf", "ggml", "ollama", "azure_openai", "minilm"}


@pytest.mark.parametrize(
    ("text", "provider", "name", "options"),
    [
        ("openai:gpt-4o-mini", "openai", "gpt-4o-mini", {}),
        ("OpenAI:GPT-5", "openai", "GPT-5", {}),
        ("Azure-OpenAI:mine", "azure_openai", "mine", {}),
        ("ollama:llama3:8b", "ollama", "llama3:8b", {}),
        ("minilm", "minilm", "", {}),
        ("minilm:", "minilm", "", {}),
        ("minilm?threads=2", "minilm", "", {"threads": "2"}),
        ("gguf:./a b.gguf?context_length=4096&seed=1", "gguf", "./a b.gguf", {"context_length": "4096", "seed": "1"}),
        ("./llama-2-7b.Q4_K_M.gguf", "gguf", "./llama-2-7b.Q4_K_M.gguf", {}),
        (
            "/models/old.ggmlv3.q8_0.BIN?context_length=1",
            "ggml",
            "/models/old.ggmlv3.q8_0.BIN",
            {"context_length": "1"},
        ),
        (r"C:\models\llama.gguf", "gguf", r"C:\models\llama.gguf", {}),
        ("d:/models/llama.gguf?seed=3", "gguf", "d:/models/llama.gguf", {"seed": "3"}),
        (r"gguf:C:\models\llama.gguf", "gguf", r"C:\models\llama.gguf", {}),
        ("gguf:what?.gguf", "gguf", "what?.gguf", {}),
        ("gguf:odd?name.gguf?seed=1", "gguf", "odd?name.gguf", {"seed": "1"}),
        (
            "openai:m?base_url=http://127.0.0.1:8000/v1&temperature=0.5",
            "openai",
            "m",
            {"base_url": "http://127.0.0.1:8000/v1", "temperature": "0.5"},
        ),
        ("openai:m?stop=a%26b%20c+d", "openai", "m", {"stop": "a&b c+d"}),
        ("openai:m?stop=x=y", "openai", "m", {"stop": "x=y"}),
        ("  openai:m  ", "openai", "m", {}),
    ],
)
def test_a_spec_is_provider_name_and_options(text: str, provider: str, name: str, options: dict[str, str]) -> None:
    assert parse_spec(text, KNOWN) == Spec(provider, name, options)


def test_a_colon_in_a_name_does_not_make_a_provider() -> None:
    with pytest.raises(UnknownProvider, match="write 'ollama:llama3:8b'"):
        parse_spec("llama3:8b", KNOWN)


def test_a_misspelt_provider_is_suggested() -> None:
    with pytest.raises(UnknownProvider, match="no provider 'opnai'; did you mean 'openai'"):
        parse_spec("opnai:gpt-4o", KNOWN)


@pytest.mark.parametrize("text", ["", "   ", "?a=1"])
def test_an_empty_name_is_told(text: str) -> None:
    with pytest.raises(SpecError, match="empty"):
        parse_spec(text, KNOWN)


def test_a_bare_model_name_is_asked_for_its_provider() -> None:
    with pytest.raises(SpecError, match="like 'openai:gpt-4o'"):
        parse_spec("gpt-4o", KNOWN)


@pytest.mark.parametrize(
    ("text", "fault"),
    [("gguf:a.gguf?context_length=1&seed", "after 'gguf:a.gguf"), ("gguf:a?n=1&n=2", "'n' is given twice")],
)
def test_options_that_cannot_be_read_are_told(text: str, fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        parse_spec(text, KNOWN)


@pytest.mark.parametrize("text", ["openai:m?api_key=sk-1&sk-2", "openai:m?api_key=sk-1&api_key=sk-2"])
def test_no_value_of_an_option_is_repeated(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, KNOWN)
    assert "sk-" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    try:
        spec = parse_spec(text, KNOWN)
    except SpecError:
        return
    assert spec.provider in KNOWN


@given(
    st.sampled_from(sorted(KNOWN)),
    st.text(st.characters(blacklist_characters="?", blacklist_categories=["Cs"]), max_size=20).map(str.strip),
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.from_regex(r"[a-z0-9./:=]{0,8}", fullmatch=True)),
)
def test_a_spec_that_was_written_is_read_back(provider: str, name: str, options: dict[str, str]) -> None:
    query = "&".join(f"{key}={value}" for key, value in options.items())
    written = f"{provider}:{name}" + (f"?{query}" if query else "")
    assert parse_spec(written, KNOWN) == Spec(provider, name, options)

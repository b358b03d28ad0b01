"""Names become models, and wrong names become errors that say what to do."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, BaseLLM

import chainkit
from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings, OpenAIModel
from chainkit.backends.openai.services import SERVICES
from chainkit.backends.partners import Partner
from chainkit.base.errors import KeyWithheld, MissingKey, NoModel, SpecError, UnknownProvider
from chainkit.base.keys import KEY_VARIABLES, store_key
from chainkit.base.paths import models_dir
from chainkit.base.settings import change_settings
from chainkit.base.spec import written
from chainkit.registry import ALIASES, CHAT_MODELS, DEFAULT_CHAT_MODELS, EMBEDDINGS, LLMS, default_spec, read_spec


def test_the_three_front_doors_give_langchain_objects() -> None:
    assert isinstance(chainkit.llm("fake:"), BaseLLM)
    assert isinstance(chainkit.chat_model("fake:"), BaseChatModel)
    assert isinstance(chainkit.embeddings("fake:"), Embeddings)


def test_options_of_the_spec_are_settings_and_keywords_win() -> None:
    assert chainkit.chat_model("Fake:?reply=spec").invoke("x").content == "spec"
    assert chainkit.chat_model("fake:?reply=spec", reply="keyword").invoke("x").content == "keyword"


def test_an_unknown_option_is_suggested() -> None:
    with pytest.raises(SpecError, match="no option 'repyl'; did you mean 'reply'"):
        chainkit.llm("fake:", repyl="x")


def test_a_bad_value_names_the_option_in_one_line() -> None:
    with pytest.raises(SpecError, match="'dimensions'") as caught:
        chainkit.embeddings("fake:?dimensions=many")
    assert "\n" not in str(caught.value)


def test_a_bad_value_of_a_key_is_not_repeated() -> None:
    with pytest.raises(SpecError) as caught:
        chainkit.chat_model("openai:gpt-4o", api_key={"oops": "sk-secret"})
    assert "sk-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_provider_without_that_kind_lists_those_that_have_it() -> None:
    with pytest.raises(
        SpecError, match=r"minilm has no chat model \(it has embeddings\); providers that have one: .*openai"
    ):
        chainkit.chat_model("minilm")


def test_an_unknown_provider_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="did you mean") as caught:
        chainkit.chat_model("opnai:gpt-4o")
    assert isinstance(caught.value, UnknownProvider)


@pytest.mark.parametrize("table", [LLMS, CHAT_MODELS, EMBEDDINGS], ids=["llm", "chat", "embeddings"])
def test_every_row_of_chainkit_points_at_a_class(table: dict[str, str]) -> None:
    for row in table.values():
        module, _, name = row.partition("?")[0].partition(":")
        if module.startswith("chainkit."):
            assert isinstance(getattr(importlib.import_module(module), name), type | Partner)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_a_provider_with_the_kinds_that_its_profile_knows(name: str) -> None:
    kinds = {"chat": CHAT_MODELS, "text": LLMS, "embeddings": EMBEDDINGS}
    known = SERVICES[name].kinds - {"responses"}  # another way to ask for a chat
    assert {kind for kind, table in kinds.items() if name in table} == known


def test_a_service_needs_no_more_than_its_name() -> None:
    chat = chainkit.chat_model("groq:llama-3.3-70b?api_key=x&temperature=0")
    assert isinstance(chat, OpenAIChat)
    assert (chat.service, chat.model, chat.temperature) == ("groq", "llama-3.3-70b", 0.0)
    writer, vectors = chainkit.llm("ollama:llama3.2"), chainkit.embeddings("Together-AI:m", api_key="x")
    assert isinstance(writer, OpenAIModel)
    assert isinstance(vectors, OpenAIEmbeddings)
    assert (writer.service, vectors.service) == ("ollama", "together")


def test_what_a_row_sets_is_no_option() -> None:
    with pytest.raises(SpecError, match="groq has no option 'service'"):
        chainkit.chat_model("groq:m?service=openai", api_key="x")


def test_a_service_without_that_kind_says_who_has_it() -> None:
    with pytest.raises(
        SpecError, match=r"groq has no embeddings \(it has a chat model\); providers that have one: .*mistral"
    ):
        chainkit.embeddings("groq:m")


@pytest.mark.parametrize(("service", "other"), [("groq", "mistral"), ("openrouter", "openai")])
def test_the_key_of_one_service_is_none_for_another(service: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLES[service][0], "sk-theirs")
    with pytest.raises(MissingKey, match=KEY_VARIABLES[other][0]):
        chainkit.chat_model(f"{other}:m")
    with pytest.raises(KeyWithheld) as caught:
        chainkit.chat_model(f"{service}:m", base_url=SERVICES[other].base_url)
    assert "sk-theirs" not in str(caught.value)


def test_the_local_models_of_huggingface_are_not_its_router() -> None:
    assert "huggingface.models" in CHAT_MODELS["huggingface"]
    assert ALIASES["hf"] == "huggingface"


def test_a_key_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chainkit.base.keys.ENV_FILE", ".env")
    (tmp_path / ".env").write_text("export GROQ_API_KEY='gsk-x'\n")
    assert isinstance(chainkit.chat_model("groq:m"), OpenAIChat)
    assert default_spec().startswith("groq:")


def test_every_default_provider_has_a_key_and_a_chat_model() -> None:
    assert set(DEFAULT_CHAT_MODELS) <= set(KEY_VARIABLES)
    assert set(DEFAULT_CHAT_MODELS) <= set(CHAT_MODELS)


@pytest.mark.parametrize("name", ["gpt-4o-mini", "gpt-4.1", "o3", "ft:gpt-4o-mini:mine", "chatgpt-4o-latest"])
@pytest.mark.parametrize("options", [{}, {"base_url": "http://127.0.0.1:1/v1"}])
def test_a_chat_model_of_openai_does_not_continue_text(name: str, options: dict[str, str]) -> None:
    with pytest.raises(SpecError, match=rf"openai:{name} is a chat model; write chat_model\('openai:{name}'\)"):
        chainkit.llm(f"openai:{name}", api_key="sk-x", **options)


def test_models_that_continue_text_pass_at_openai_and_any_at_other_addresses() -> None:
    assert chainkit.llm("openai:gpt-3.5-turbo-instruct", api_key="x").model == "gpt-3.5-turbo-instruct"
    assert chainkit.llm("openai:davinci-002", api_key="x").model == "davinci-002"
    assert chainkit.llm("openai:llama-3?base_url=http://127.0.0.1:1/v1", api_key="x").model == "llama-3"
    with pytest.raises(SpecError, match="is a chat model"):
        chainkit.llm("openai:llama-3", api_key="x")


class TestWithoutASpec:
    def test_nothing_set_up_names_three_ways(self) -> None:
        with pytest.raises(NoModel, match=r"\(1\).*\(2\).*\(3\)"):
            chainkit.chat_model()

    def test_the_named_model_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHAINKIT_MODEL", "fake:?reply=named")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        assert chainkit.chat_model().invoke("x").content == "named"

    def test_then_a_provider_with_a_key(self) -> None:
        store_key("openai", "sk-x")
        self._pull("a.gguf", age=0)
        assert default_spec().startswith("openai:")

    def test_then_the_model_pulled_last(self) -> None:
        self._pull("new.gguf", age=0)
        self._pull("old.gguf", age=100)
        assert default_spec() == f"gguf:{models_dir() / 'new.gguf'}"

    def test_an_empty_spec_is_not_a_missing_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHAINKIT_MODEL", "fake:")
        with pytest.raises(SpecError, match="empty"):
            chainkit.chat_model("")

    @staticmethod
    def _pull(name: str, age: int) -> None:
        path: Path = models_dir() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF")
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))


def imported_by(statement: str) -> set[str]:
    """Top-level modules outside the standard library that a statement loads in a fresh interpreter."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names)


def test_importing_chainkit_loads_no_third_party_module() -> None:
    assert imported_by("import chainkit") == {"chainkit"}


def test_importing_the_registry_loads_no_third_party_module() -> None:
    assert imported_by("import chainkit.registry") == {"chainkit"}


@pytest.mark.parametrize("name", chainkit.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(chainkit, name) is not None
    assert name in dir(chainkit)


def test_a_wrong_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lmm'"):
        chainkit.lmm  # noqa: B018


def test_an_alias_stands_for_its_spec_and_takes_options() -> None:
    change_settings(aliases={"mine": "fake:?reply=one&max_tokens=1", "vectors": "fake:?dimensions=8"})
    assert chainkit.chat_model("mine").invoke("x").text == "one"
    assert chainkit.llm("mine?reply=two%26").invoke("x") == "two&"
    assert len(chainkit.embeddings("vectors").embed_query("x")) == 8
    assert written(read_spec("mine?reply=a%26b")) == "fake:?reply=a%26b&max_tokens=1"
    assert read_spec(written(read_spec("fake:"))) == read_spec("fake:")
    with pytest.raises(SpecError, match="names no provider"):
        chainkit.chat_model("others")


def test_a_provider_wins_over_an_alias_of_its_name() -> None:
    change_settings(aliases={"fake": "opnai:x"})
    assert chainkit.chat_model("fake").invoke("x").text == "x"


def test_the_users_default_comes_after_the_environment_and_before_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdef0123456789")
    change_settings(model="fake:?reply=default")
    assert default_spec() == "fake:?reply=default"
    monkeypatch.setenv("CHAINKIT_MODEL", "fake:?reply=named")
    assert default_spec() == "fake:?reply=named"

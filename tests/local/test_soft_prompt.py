"""Soft prompts on both backends: as the model itself computes them, alone, together, forked and kept."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("xllamacpp")
gguf = pytest.importorskip("gguf")

# ruff: noqa: E402
import chainkit
from chainkit.base.errors import ContextOverflow, ModelFileError, SoftPromptMismatch, Unsupported, UnsupportedProgram
from chainkit.local.soft_prompt import SoftPrompt, fingerprint, load_soft_prompt, sampled_tokens
from chainkit.programs.model import cache
from chainkit.testing import Scripted
from examples.demo_model.export import write_gguf

DEMO = Path(__file__).parents[2] / "examples" / "demo_model"
JSON = DEMO / "json_prompt"  # asks for the answer as JSON
WIDTH = 256
QUESTION = "Context: Mira lives in Oskaville. Tom is 31 years old.\n\nQuestion: Where does Mira live?"


def asked(question: str) -> str:
    """A question as the demo model's template writes it."""
    return f"<|user|>\n{question}<|end|>\n<|assistant|>\n"


PROMPT = asked(QUESTION)


@pytest.fixture(scope="session")
def f32(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("soft") / "f32.gguf"
    write_gguf(DEMO / "hf", path, "f32")
    return str(path)


@pytest.fixture(scope="session")
def table() -> np.ndarray:
    from safetensors.numpy import load_file

    return load_file(DEMO / "hf" / "model.safetensors")["model.embed_tokens.weight"].astype(np.float32)


@pytest.fixture(scope="session")
def soft(table: np.ndarray) -> Callable[..., SoftPrompt]:
    """A soft prompt near the vectors of real tokens."""

    def make(seed: int, count: int = 5) -> SoftPrompt:
        random = np.random.default_rng(seed)
        vectors = table[random.integers(10, 2000, count)] + random.standard_normal((count, WIDTH)) * 0.4
        return SoftPrompt(f"number {seed}", vectors.astype(np.float32))

    return make


@pytest.fixture(params=["hf", "gguf"])
def llm(request: pytest.FixtureRequest, f32: str) -> Any:
    if request.param == "hf":
        return chainkit.llm(f"hf:{DEMO / 'hf'}", dtype="float32", max_tokens=16, special_tokens=True)
    return chainkit.llm(
        f"gguf:{f32}",
        special_tokens=True,
        kv_type="f32",
        flash_attention=False,
        context_length=512,
        max_tokens=16,
        probe=False,
    )


def save(folder: Path, vectors: np.ndarray, known: dict[str, Any] | None = None, **config: Any) -> Path:
    folder.mkdir()
    raw = vectors.astype("<f2").tobytes()
    entry = {"dtype": "F16", "shape": vectors.shape, "data_offsets": [0, len(raw)]}
    header = json.dumps({"prompt_embeddings": entry}).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + raw)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "PROMPT_TUNING"} | config))
    if known is not None:
        (folder / "fingerprint.json").write_text(json.dumps(known))
    return folder


def test_scores_are_those_of_the_model_on_vectors(llm: Any, soft: Callable[..., SoftPrompt]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(DEMO / "hf", dtype=torch.float32)
    session = llm.session().begin_with(soft(1)).append(PROMPT)
    text = session.tokens[session.virtual :]
    assert text[0] == session.vocabulary.bos
    with torch.inference_mode():
        vectors = torch.cat([torch.from_numpy(soft(1).vectors), model.get_input_embeddings()(torch.tensor(text))])
        expected = model(inputs_embeds=vectors[None]).logits[0, -1].numpy()
    assert np.abs(session.logits() - expected).max() < 1e-3
    assert session.virtual == 5


def test_different_soft_prompts_in_one_batch_give_what_each_gives_alone(
    llm: Any, soft: Callable[..., SoftPrompt]
) -> None:
    chosen = [load_soft_prompt(JSON), None, soft(2, 3), load_soft_prompt(JSON), soft(3, 8)]
    prompts = [PROMPT, PROMPT, asked("Context: one two."), asked(QUESTION + " And Tom?"), PROMPT]
    together = llm.batch(prompts, soft_prompt=chosen)
    llm.unload()
    alone = [llm.invoke(prompt, soft_prompt=one) for prompt, one in zip(prompts, chosen, strict=True)]
    assert together == alone
    assert together[:2] == ['{"answer": "Oskaville"}', "Oskaville"]


def test_it_is_read_once_for_all(llm: Any, soft: Callable[..., SoftPrompt]) -> None:
    llm.unload()
    soft_prompt = soft(4, 40)
    first = llm.generate(["Once"], soft_prompt=soft_prompt, max_tokens=1).generations[0][0]
    second = llm.generate(["There"], soft_prompt=soft_prompt, max_tokens=1).generations[0][0]
    details = [one.generation_info["usage_metadata"]["input_token_details"] for one in (first, second)]
    assert details[0]["cache_read"] == 0
    assert details[1]["cache_read"] >= 40


def test_sessions_fork_rewind_and_score_behind_it(llm: Any, soft: Callable[..., SoftPrompt]) -> None:
    session = llm.session().begin_with(soft(5)).append(PROMPT)
    start, length = session.logits().copy(), len(session.tokens)
    twin = session.fork()
    assert np.allclose(twin.append(" A").logits(), session.append(" A").logits(), atol=1e-4)
    assert np.allclose(session.rewind(length).logits(), start, atol=1e-4)
    scores = session.score(["yes", "no"])
    assert np.allclose(scores, llm.session().begin_with(soft(5)).append(PROMPT).score(["yes", "no"]), atol=1e-3)
    assert not np.allclose(scores, llm.session(PROMPT).score(["yes", "no"]), atol=1e-2)
    llm.invoke(PROMPT, soft_prompt=JSON, repeat_penalty=1.3)  # looks at the tokens before
    with pytest.raises(ValueError, match="has text already"):
        session.begin_with(soft(6))


def test_a_model_may_have_one_of_its_own(llm: Any, table: np.ndarray, tmp_path: Path) -> None:
    folder = save(tmp_path / "soft", table[[20, 30, 40, 50]] * 9)
    own = llm.model_copy(update={"soft_prompt": str(folder)})
    wanted = llm.invoke(PROMPT, soft_prompt=folder)
    assert own.invoke(PROMPT) == "".join(own.stream(PROMPT)) == own.batch([PROMPT, "x"])[0] == wanted
    assert own.session(PROMPT).virtual == 4
    assert own.invoke(PROMPT, soft_prompt=None) == llm.invoke(PROMPT) != wanted


def test_programs_run_behind_it(llm: Any, soft: Callable[..., SoftPrompt]) -> None:
    own = llm.model_copy(update={"soft_prompt": soft(7)})
    plain = own.model_copy(update={"special_tokens": False})
    run = chainkit.program(QUESTION + "{{gen 'answer' max_tokens=16}}", plain)()
    assert run["answer"] == plain.invoke(QUESTION)


def test_a_program_takes_it_per_call_and_a_batch_one_for_each(llm: Any, soft: Callable[..., SoftPrompt]) -> None:
    text = (
        QUESTION.replace("Mira", "{{who}}") + "{{gen 'x' max_tokens=9}} {{select 'y' options=['a', 'b'] logprobs='p'}}"
    )
    program = chainkit.program(text, llm)
    chosen = [soft(2, 3), None, load_soft_prompt(JSON), soft(2, 3), soft(3, 8)]
    given = [{"who": name} for name in ("Mira", "Mira", "Mira", "Tom", "Mira")]
    runs = program.batch(given, soft_prompt=chosen)
    together = [str(run) for run in runs]
    llm.unload()
    with cache.disabled():
        alone = [str(program(one, soft_prompt=soft)) for one, soft in zip(given, chosen, strict=True)]
    assert together == alone
    again = program.batch(given, soft_prompt=chosen)
    assert [run["p"] for run in again] == [run["p"] for run in runs]  # kept, each for its own soft prompt
    assert len({run["p"]["a"] for run in runs}) == 5
    assert sum(run.usage.passes for run in again) == 0
    assert str(program(given[1])) == alone[1]
    assert [str(program.invoke(given[0], soft_prompt=chosen[0]))] == alone[:1]
    assert str(list(program.stream(given[4], soft_prompt=chosen[4]))[-1]) == alone[4]
    assert str(program.bind(soft_prompt=chosen[2]).invoke(given[2])) == alone[2]
    assert str(chainkit.program(program.text, llm, soft_prompt=JSON)(who="Mira")) == alone[2]
    waits = chainkit.program(text.replace("{{who}}", "{{await 'who'}}", 1).replace("{{who}}", "Mira"), llm)
    assert waits(soft_prompt=JSON)(who="Mira")["p"] == runs[2]["p"]


def test_a_soft_prompt_that_cannot_be_taken_stops_a_program_before_it_runs(llm: Any, tmp_path: Path) -> None:
    scripted = Scripted("a")
    program = chainkit.program("{{gen 'x'}}", scripted)
    for start in (
        lambda: program(soft_prompt=JSON),
        lambda: program.batch([{}, {}], soft_prompt=[None, JSON]),
        lambda: chainkit.program("{{gen 'x'}}", scripted, soft_prompt=JSON),
    ):
        with pytest.raises(UnsupportedProgram, match="soft prompts run on hf: and gguf: models, not on Scripted"):
            start()
    assert str(program(soft_prompt=None)) == "a"
    local = chainkit.program("{{gen 'x' max_tokens=1}}", llm)
    with pytest.raises(ModelFileError, match="is not a soft prompt: a folder"):
        local(soft_prompt=tmp_path)
    with pytest.raises(TypeError, match="not a list"):
        local(soft_prompt=[JSON])
    with pytest.raises(ValueError, match="names 1 for 2 runs"):
        local.batch([{}, {}], soft_prompt=[JSON])
    results = local.batch([{}, {}], soft_prompt=[tmp_path, None], return_exceptions=True)
    assert isinstance(results[0], ModelFileError)
    assert str(results[1]) == str(local())


async def test_chains_take_one_soft_prompt_for_each_of_a_batch(llm: Any) -> None:
    chosen = [JSON, None, JSON]
    chat = chainkit.chat_model(f"gguf:{DEMO / 'demo-q8_0.gguf'}", probe=False, max_tokens=16)
    wanted = ['{"answer": "Oskaville"}', "Oskaville", '{"answer": "Oskaville"}']
    for model, question in ((llm, PROMPT), (chat, QUESTION)):
        chain = (
            chainkit.prompt("{x}")
            | model.bind(soft_prompt=chosen)
            | chainkit.chain(lambda got: getattr(got, "text", got))
        )
        given = [{"x": question}] * 3
        assert chain.batch(given) == wanted
        assert chain.batch(given, config={"max_concurrency": 2}) == wanted
        assert await chain.abatch(given) == wanted
        assert (chainkit.prompt("{x}") | model.bind(soft_prompt=JSON)).invoke(given[0]) is not None
        with pytest.raises(ValueError, match="names 3 for 2 prompts"):
            chain.batch(given[:2])
    faulty = llm.batch([PROMPT, PROMPT], soft_prompt=[JSON, "nowhere"], return_exceptions=True)
    assert faulty[0] == wanted[0]
    assert isinstance(faulty[1], ModelFileError)


def test_chat_models_take_it_too() -> None:
    chat = chainkit.chat_model(f"gguf:{DEMO / 'demo-q8_0.gguf'}", probe=False, max_tokens=16)
    wanted = '{"answer": "Oskaville"}'
    assert chat.bind(soft_prompt=JSON).invoke(QUESTION).content == wanted
    assert chat.invoke(QUESTION).content == "Oskaville"
    assert "".join(str(chunk.content) for chunk in chat.stream(QUESTION, soft_prompt=JSON)) == wanted


def test_a_soft_prompt_of_another_model_is_named(llm: Any, table: np.ndarray, tmp_path: Path) -> None:
    tokens = sampled_tokens(2048)
    right = fingerprint(2048, {token: table[token] for token in tokens})
    wrong = fingerprint(2048, {token: table[token + 1 - 2 * (token % 2)] for token in tokens[:-1]})
    assert llm.invoke("Once", soft_prompt=save(tmp_path / "right", table[:3], right)) is not None
    with pytest.raises(SoftPromptMismatch, match="wrong: was trained on another model: token"):
        llm.invoke("Once", soft_prompt=save(tmp_path / "wrong", table[:3], wrong))
    with pytest.raises(SoftPromptMismatch, match="of width 8, and this one has 256"):
        llm.invoke("Once", soft_prompt=save(tmp_path / "narrow", table[:3, :8]))


def test_what_is_no_soft_prompt_is_named(llm: Any, table: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is not a soft prompt: a folder"):
        llm.invoke("Once", soft_prompt=tmp_path)
    with pytest.raises(ModelFileError, match="an adapter of kind LORA"):
        llm.invoke("Once", soft_prompt=save(tmp_path / "lora", table[:3], peft_type="LORA"))
    cut = save(tmp_path / "cut", table[:3])
    (cut / "adapter_model.safetensors").write_bytes((cut / "adapter_model.safetensors").read_bytes()[:-9])
    with pytest.raises(ModelFileError, match="cut short"):
        load_soft_prompt(cut)
    with pytest.raises(ModelFileError, match="not finite"):
        SoftPrompt("x", np.full((2, WIDTH), np.nan, np.float32))
    with pytest.raises(TypeError, match="not a int"):
        llm.invoke("Once", soft_prompt=3)
    with pytest.raises(ValueError, match="names 2 for 3 prompts"):
        llm.batch(["a", "b", "c"], soft_prompt=[None, None])


def test_it_counts_against_the_context(llm: Any, soft: Callable[..., SoftPrompt]) -> None:
    long = "a b c d " * 150
    with pytest.raises(ContextOverflow):
        llm.model_copy(update={"context_length": 300}).invoke(long, soft_prompt=soft(9))


def test_models_that_read_tokens_only_say_so(soft: Callable[..., SoftPrompt]) -> None:
    drafted = chainkit.llm(f"gguf:{DEMO / 'demo-q8_0.gguf'}", draft=str(DEMO / "demo-q8_0.gguf"), probe=False)
    with pytest.raises(Unsupported, match="without a draft model"):
        drafted.invoke("Once", soft_prompt=soft(1))
    assert drafted.invoke("Once", max_tokens=2) is not None


@pytest.mark.slow
def test_transformers_and_llama_cpp_write_the_same_64_tokens_for_20_prompts(
    f32: str, soft: Callable[..., SoftPrompt]
) -> None:
    theirs = chainkit.llm(f"hf:{DEMO / 'hf'}", dtype="float32", max_tokens=64)
    ours = chainkit.llm(f"gguf:{f32}", kv_type="f32", flash_attention=False, max_tokens=64, probe=False)
    prompts = [f"Context: Mira lives in Oskaville {number}." for number in range(20)]
    assert theirs.batch(prompts, soft_prompt=soft(2)) == ours.batch(prompts, soft_prompt=soft(2))

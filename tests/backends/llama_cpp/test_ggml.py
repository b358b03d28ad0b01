"""Old `.bin` files run as they are, give the logits of their GGUF twin, and never take the process with them."""

from __future__ import annotations

import dataclasses
import random
import shutil
import struct
import threading
import tracemalloc
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from langchain_core.messages import convert_to_messages

import chainkit
from chainkit.backends.llama_cpp import conversion, ggjt
from chainkit.backends.llama_cpp.checks import check_model
from chainkit.backends.llama_cpp.conversion import Unstored, convert, converted, plan
from chainkit.backends.llama_cpp.ggml import GGMLChat, GGMLModel
from chainkit.backends.llama_cpp.header import read_header
from chainkit.backends.llama_cpp.runtime import LlamaRuntime, LlamaSettings, open_runtime
from chainkit.backends.llama_cpp.weights import LlamaLoading
from chainkit.base.errors import ChainkitError, ModelFileError, SpecError, TemplateError
from chainkit.base.generation import GenerationRequest
from chainkit.base.paths import cache_dir
from chainkit.local.session import LocalSession
from tests.backends.llama_cpp import tiny
from tests.backends.llama_cpp.old_files import old_tokens, write_old, write_reference
from tests.backends.session_contract import SessionContract

EXACT = LlamaSettings(
    context_length=256,
    n_threads=1,
    flash_attention=False,
    kv_type=tiny.KV,
    loading=LlamaLoading(probe=False, repack=False),
)
TINY = Unstored(rms_eps=tiny.EPSILON)
PROMPT = "the cat sat on the house"


def session(path: Path) -> LocalSession:
    return LocalSession(open_runtime(path, EXACT))


def greedy(path: Path, count: int = 64) -> list[int]:
    run = session(path).append(PROMPT)
    return [token for piece in run.generate(GenerationRequest(max_tokens=count)) for token in piece.tokens]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_old(tmp_path / "old.ggmlv3.f32.bin")


class TestSameNumbers:
    @pytest.mark.parametrize("kind", ["f32", "f16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"])
    def test_logits_are_those_of_the_gguf_of_the_same_weights_bit_for_bit(self, tmp_path: Path, kind: str) -> None:
        old = write_old(tmp_path / "old.bin", kind)
        reference = write_reference(tmp_path / "reference.gguf", kind)
        convert(old, tmp_path / "new.gguf", TINY)
        ours, theirs = session(tmp_path / "new.gguf"), session(reference)
        for text in (PROMPT, " and 漢字\n", " the dog"):
            assert ours.append(text).tokens == theirs.append(text).tokens
            assert np.array_equal(ours.logits(), theirs.logits())
        assert greedy(tmp_path / "new.gguf") == greedy(reference)

    def test_two_conversions_are_the_same_file(self, old: Path, tmp_path: Path) -> None:
        convert(old, tmp_path / "a.gguf")
        convert(old, tmp_path / "b.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()

    @pytest.mark.parametrize("kind", ["f16", "q4_0"])
    def test_every_block_is_copied_as_it_is(self, tmp_path: Path, kind: str) -> None:
        old, new = write_old(tmp_path / "old.bin", kind), tmp_path / "new.gguf"
        convert(old, new)
        source, read = ggjt.read(old), gguf.GGUFReader(new)
        assert [tensor.name for tensor in source.tensors] == [tensor.name for tensor in read.tensors]
        data = old.read_bytes()
        for before, after in zip(source.tensors, read.tensors, strict=True):
            assert data[before.offset : before.offset + before.nbytes] == after.data.tobytes()
            assert list(before.shape) == after.shape.tolist()

    def test_all_metadata_is_that_of_the_reference(self, old: Path, tmp_path: Path) -> None:
        convert(old, tmp_path / "new.gguf", TINY)
        ours = read_header(tmp_path / "new.gguf")
        theirs = read_header(write_reference(tmp_path / "reference.gguf"))
        for key in theirs:
            if key == "llama.context_length":
                assert ours[key] == 4096  # shared key heads came with Llama 2
            else:
                assert np.array_equal(ours[key], theirs[key]), key

    def test_byte_tokens_come_out_as_their_bytes(self, old: Path, tmp_path: Path) -> None:
        convert(old, tmp_path / "new.gguf")
        run = session(tmp_path / "new.gguf")
        vocabulary = run.vocabulary
        assert [vocabulary.piece(byte + 3) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
        text = "house\n\tü 漢字 🙂"
        assert vocabulary.detokenize(vocabulary.tokenize(text)) == text


class TestWhatOldFilesDoNotSay:
    @pytest.mark.parametrize(
        ("name", "context", "base"),
        [
            ("llama-2-7b-chat.ggmlv3.q8_0.bin", 4096, 1e4),
            ("Llama_2.bin", 4096, 1e4),
            ("codellama-7b.ggmlv3.bin", 16_384, 1e6),
        ],
    )
    def test_the_name_tells_the_context(self, tmp_path: Path, name: str, context: int, base: float) -> None:
        values = plan(write_old(tmp_path / name)).values
        assert values["llama.context_length"] == context
        assert values["llama.rope.freq_base"] == base

    def test_it_can_be_said(self, old: Path) -> None:
        values = plan(old, Unstored(trained_context=1000, rms_eps=1e-6, rope_base=5e5)).values
        assert values["llama.context_length"] == 1000
        assert values["llama.attention.layer_norm_rms_epsilon"] == 1e-6
        assert values["llama.rope.freq_base"] == 5e5

    @pytest.mark.parametrize(
        "wrong", [{"trained_context": 0}, {"rms_eps": 0.0}, {"rms_eps": float("nan")}, {"rope_base": -1.0}]
    )
    def test_nonsense_is_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Unstored(**wrong)  # type: ignore[arg-type]

    def test_the_width_of_the_inner_layer_is_read_off_a_tensor(self, old: Path) -> None:
        values = plan(old).values  # its n_mult says 256
        assert values["llama.feed_forward_length"] == tiny.FF
        assert values["llama.attention.head_count_kv"] == tiny.KV_HEADS


class TestPlan:
    def test_it_says_how_large_the_file_will_be(self, old: Path, tmp_path: Path) -> None:
        planned = plan(old)
        assert convert(old, tmp_path / "new.gguf") == planned
        assert (tmp_path / "new.gguf").stat().st_size == planned.target_bytes
        assert "2 layers" in str(planned)
        assert planned.types == {"F32": 21}

    def test_progress_reaches_the_end(self, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(conversion, "_PIECE_BYTES", 1000)
        seen: list[tuple[int, int]] = []
        planned = convert(old, tmp_path / "new.gguf", progress=lambda *now: seen.append(now))
        assert seen == sorted(seen)
        assert seen[-1] == (planned.target_bytes, planned.target_bytes)
        assert len(seen) > 50

    def test_a_full_disk_is_found_before_anything_is_written(
        self, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 99, 1))
        with pytest.raises(ModelFileError, match="0.00 GB are free; make room"):
            convert(old, tmp_path / "new.gguf")
        assert not list(tmp_path.glob("new*"))

    def test_nothing_is_left_when_it_fails(self, old: Path, tmp_path: Path) -> None:
        def stop(_done: int, _total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            convert(old, tmp_path / "new.gguf", progress=stop)
        assert not list(tmp_path.glob("new*"))

    def test_a_file_that_is_there_is_kept(self, old: Path, tmp_path: Path) -> None:
        target = tmp_path / "new.gguf"
        target.write_text("mine")
        with pytest.raises(ModelFileError, match="is there already"):
            convert(old, target)
        assert target.read_text("utf-8") == "mine"
        convert(old, target, overwrite=True)
        check_model(read_header(target))

    def test_a_folder_that_is_not_there_is_named(self, old: Path, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="cannot be written"):
            convert(old, tmp_path / "nowhere" / "new.gguf")

    def test_weights_are_copied_in_pieces(self, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The peak of memory is that of the header and one piece, whatever the size of the file."""
        monkeypatch.setattr(conversion, "_PIECE_BYTES", 1 << 16)
        planned = plan(old)
        embeddings = planned.tensors[0]
        longer = dataclasses.replace(embeddings, offset=0, nbytes=64 << 20)
        with old.open("r+b") as file:
            file.truncate(longer.nbytes)
        large = dataclasses.replace(planned, tensors=(longer,))
        tracemalloc.start()
        with old.open("rb") as file, (tmp_path / "new.gguf").open("wb") as out:
            conversion._write(large, file, out, conversion._silent)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (tmp_path / "new.gguf").stat().st_size == len(planned.header) + longer.nbytes
        assert peak < 1 << 20


class TestCache:
    def test_a_file_is_laid_out_once(self, old: Path) -> None:
        seen: list[int] = []
        first = converted(old, progress=lambda done, _: seen.append(done))
        count = len(seen)
        assert first.parent == cache_dir() / "ggml"
        assert converted(old, progress=lambda done, _: seen.append(done)) == first
        assert len(seen) == count > 0

    def test_a_changed_file_is_laid_out_again_and_the_old_one_removed(self, old: Path) -> None:
        before = converted(old)
        write_old(old, seed=2)
        after = converted(old)
        assert after != before
        assert not before.exists()
        assert after.exists()

    def test_other_settings_are_another_file(self, old: Path) -> None:
        assert converted(old) != converted(old, Unstored(rms_eps=1e-6))

    def test_two_threads_lay_it_out_once(self, old: Path) -> None:
        ends: list[int] = []

        def watch(done: int, total: int) -> None:
            if done == total:
                ends.append(done)

        threads = [threading.Thread(target=converted, args=(old,), kwargs={"progress": watch}) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ends) <= 2  # the last tensor ends the file, and so does the end itself
        assert len(list((cache_dir() / "ggml").iterdir())) == 1


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "is cut short: it has 0 bytes"),
            (b"tjg", "is cut short"),
            (b"tjgg\x03\0\0\0", "ends within its settings"),
            (b"tjgg\x07\0\0\0" + bytes(64), "has version 7 of its container"),
            (b"lmgg" + bytes(64), "before May 2023 or of another program"),
            (b"fmgg\x01\0\0\0" + bytes(64), "before May 2023 or of another program"),
            (b"algg\x01\0\0\0" + bytes(64), "is a LoRA adapter"),
            (b"PK\x03\x04" + bytes(64), "is a PyTorch file"),
            (b"\x80\x02}q\x00" + bytes(64), "is a PyTorch file"),
            (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
            (b"<!DOCTYPE html><html>", "is a web page"),
            (bytes(4096), "the download was not finished"),
            (b"something else", "is not a GGML file: it begins with b'some'"),
            (b"lmgg" + bytes(999) + b"gpt_neox.embed_in.weight", "of the GPT-NeoX .* family"),
            (b"lmgg" + bytes(999) + b"transformer.blocks.0.norm_1.weight", "of the MPT or Replit family"),
            (b"lmgg" + bytes(999) + b"model/wte", "of the GPT-2, Cerebras-GPT or StarCoder family"),
            (b"lmgg" + bytes(999) + b"transformer.h.0.ln_1.weight", "of the GPT-J or Falcon family"),
            (b"tjgg\x03\0\0\0" + bytes(999) + b"transformer.word_embeddings.weight", "of the Falcon or BLOOM family"),
        ],
    )
    def test_what_a_file_is_instead_is_said(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path = tmp_path / "model.bin"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=reason):
            plan(path)

    def test_absent_files_and_folders_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="no such file"):
            converted(tmp_path / "none.bin")
        with pytest.raises(ModelFileError, match="no such file"):
            plan(tmp_path / "none.bin")
        with pytest.raises(ModelFileError, match="is a folder"):
            converted(tmp_path)
        with pytest.raises(ModelFileError, match="is a folder"):
            plan(tmp_path)

    @pytest.mark.parametrize(
        ("kind", "version", "good"),
        [
            ("f32", 1, True),
            ("f16", 2, True),
            ("q4_0", 1, False),
            ("q4_0", 2, False),
            ("q8_0", 2, False),
            ("q5_0", 1, False),
            ("q5_0", 2, True),
            ("q5_1", 2, True),
        ],
    )
    def test_blocks_whose_layout_has_changed_are_refused(
        self, tmp_path: Path, kind: str, version: int, good: bool
    ) -> None:
        path = write_old(tmp_path / "model.bin", kind, version=version)
        if good:
            assert plan(path).tensors
        else:
            with pytest.raises(ModelFileError, match=f"blocks of version {version}.*get this model as GGUF"):
                plan(path)

    @pytest.mark.parametrize(
        ("place", "value", "reason"),
        [
            (0, 0, "vocabulary of 0"),
            (0, 1 << 31, "vocabulary of 2147483648"),
            (1, 0, "layers of width 0"),
            (1, 33, "4 heads for a width of 33"),
            (3, 0, "has 0 heads"),
            (3, 5, "has 5 heads"),
            (4, 0, "claims 0 layers"),
            (4, 1, "has blk.1.attn_q.weight after its last layer|has blk.1"),
            (4, 3, "has no tensor blk.2"),
            (5, 7, "rotates 7 of 8"),
        ],
    )
    def test_settings_that_contradict_the_tensors_are_refused(
        self, old: Path, place: int, value: int, reason: str
    ) -> None:
        data = bytearray(old.read_bytes())
        struct.pack_into("<I", data, 8 + 4 * place, value)
        old.write_bytes(data)
        with pytest.raises(ModelFileError, match=reason):
            plan(old)

    @pytest.mark.parametrize(
        ("before", "after", "reason"),
        [
            (b"layers.0.attention.wq", b"layers.0.attention.zq", "which no Llama has"),
            (b"layers.1.attention.wq", b"layers.0.attention.wq", "has a tensor twice"),
            (b"layers.1.attention.wq", b"layers.9.attention.wq", "has no tensor blk.1.attn_q"),
            (b"output.weight", b"norm.weight\0\0", "which no Llama has"),
        ],
    )
    def test_tensors_that_are_no_llamas_are_refused(self, old: Path, before: bytes, after: bytes, reason: str) -> None:
        data = old.read_bytes()
        assert before in data
        old.write_bytes(data.replace(before, after))
        with pytest.raises(ModelFileError, match=reason):
            plan(old)

    def test_a_vocabulary_without_byte_tokens_is_refused(self, tmp_path: Path) -> None:
        words = old_tokens()
        words[13] = b"newline"
        with pytest.raises(ModelFileError, match="no byte tokens as Llama's vocabulary has .0x0a is missing"):
            plan(write_old(tmp_path / "old.bin", vocab=words))

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        words = old_tokens()
        words[-1] = b"\xff\xfe"
        with pytest.raises(ModelFileError, match="that are not text"):
            plan(write_old(tmp_path / "old.bin", vocab=words))

    def test_padding_of_the_vocabulary_is_accepted(self, tmp_path: Path) -> None:
        words = [*old_tokens(), b"", b"", b" the", b"<s>"]
        path = tmp_path / "new.gguf"
        convert(write_old(tmp_path / "old.bin", vocab=words), path)
        runtime = open_runtime(path, EXACT)
        assert runtime.vocabulary.piece(len(words) - 3) == b""
        runtime.try_out()


class TestModels:
    @pytest.fixture
    def name(self, tmp_path: Path) -> str:
        return str(write_old(tmp_path / "llama-2-tiny.ggmlv3.q8_0.bin", "q8_0"))

    def test_a_bare_path_is_enough(self, name: str) -> None:
        model = chainkit.llm(name, probe=False, max_tokens=16)
        assert isinstance(model, GGMLModel)
        assert model.invoke(PROMPT) == chainkit.llm(f"ggml:{name}?max_tokens=16&probe=no").invoke(PROMPT)
        assert model.invoke(PROMPT) == "".join(model.stream(PROMPT))

    def test_it_writes_what_its_gguf_writes(self, name: str, tmp_path: Path) -> None:
        convert(name, tmp_path / "new.gguf")
        gguf = chainkit.llm(f"gguf:{tmp_path / 'new.gguf'}", max_tokens=64, probe=False)
        assert chainkit.llm(name, probe=False, max_tokens=64).invoke(PROMPT) == gguf.invoke(PROMPT)

    def test_the_trained_context_is_the_context(self, name: str) -> None:
        assert chainkit.llm(name, probe=False).runtime.context_length == 4096
        assert chainkit.llm(name, probe=False, trained_context=100).runtime.context_length == 100
        assert chainkit.llm(f"{name}?trained_context=none&context_length=50&probe=no").runtime.context_length == 50

    def test_nothing_is_laid_out_before_it_is_used(self, name: str) -> None:
        seen: list[tuple[int, int]] = []
        model = chainkit.llm(name, probe=False, progress=lambda *now: seen.append(now))
        assert not seen
        model.invoke("the")
        assert seen[-1][0] == seen[-1][1]

    def test_a_cache_that_was_emptied_is_filled_again(self, name: str) -> None:
        model = chainkit.llm(name, probe=False, max_tokens=4)
        before = model.invoke("the")
        shutil.rmtree(cache_dir() / "ggml")
        model.unload()
        assert model.invoke("the") == before

    def test_a_damaged_file_is_named_when_the_model_is_made(self, name: str) -> None:
        Path(name).write_bytes(Path(name).read_bytes()[:30_000])
        with pytest.raises(ModelFileError, match="is cut short"):
            chainkit.llm(name)
        with pytest.raises(ModelFileError, match="no such file"):
            chainkit.llm("nowhere.bin")

    def test_a_gguf_file_under_an_old_name_just_runs(self, tmp_path: Path) -> None:
        path = write_reference(tmp_path / "new.bin")
        assert chainkit.llm(str(path), max_tokens=4).path == path

    @pytest.mark.parametrize(
        "option", ["rms_eps=0", "rope_base=-1", "trained_context=x", "unknown=1", "context_length=0"]
    )
    def test_wrong_options_are_named(self, name: str, option: str) -> None:
        with pytest.raises(SpecError, match=option.partition("=")[0]):
            chainkit.llm(f"ggml:{name}?{option}")


class TestSession(SessionContract):
    """A session on an old file keeps the contract of all sessions."""

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path / "new.gguf"
        convert(write_old(tmp_path / "old.bin"), self.path, TINY)
        self.runtime = open_runtime(self.path, dataclasses.replace(EXACT, context_length=self.limit))
        yield
        del self.runtime  # ik_llama.cpp holds few contexts, and pytest holds every test

    def make(self) -> LocalSession:
        return LocalSession(self.runtime)

    def alone(self) -> LocalSession:
        return LocalSession(LlamaRuntime(self.runtime.weights, dataclasses.replace(EXACT, context_length=self.limit)))


class TestChat:
    MESSAGES = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "the cat?"))

    def chat(self, tmp_path: Path, **options: object) -> GGMLChat:
        return GGMLChat(model=str(write_old(tmp_path / "old.bin")), max_tokens=8, probe=False, **options)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (
                "llama-2",
                "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] the cat? [/INST]",
            ),
            ("vicuna", "Be brief. USER: Hi ASSISTANT: Hello</s>USER: the cat? ASSISTANT:"),
            (
                "alpaca",
                "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello\n\n### Instruction:\nthe cat?\n\n"
                "### Response:\n",
            ),
            (
                "ChatML",
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
                "Hello<|im_end|>\n<|im_start|>user\nthe cat?<|im_end|>\n<|im_start|>assistant\n",
            ),
        ],
    )
    def test_named_templates_write_what_the_models_were_trained_on(self, tmp_path: Path, name: str, text: str) -> None:
        chat = self.chat(tmp_path, chat_template=name)
        messages = convert_to_messages(self.MESSAGES)
        assert chat.prompt_text(messages) == text
        assert chat.invoke(messages).usage_metadata["output_tokens"] <= 8  # type: ignore[index]
        assert chat.prompt_text(messages[1:2])  # without a system message too

    def test_special_tokens_of_the_template_are_tokens_and_those_of_a_message_are_not(self, tmp_path: Path) -> None:
        chat = self.chat(tmp_path, chat_template="llama-2")
        tokens = chat.conversation.tokens(convert_to_messages([("user", "</s><s>")]))
        assert tokens.count(1) == 1
        assert 2 not in tokens

    def test_a_named_template_brings_its_stop_texts(self, tmp_path: Path) -> None:
        call = self.chat(tmp_path, chat_template="vicuna", stop=["a"]).call(["b"], {})
        assert set(call.stop) == {"a", "b", "USER:"}

    def test_jinja_is_taken_as_it_is(self, tmp_path: Path) -> None:
        chat = self.chat(tmp_path, chat_template="{{ messages[-1]['content'] }}!")
        assert chat.prompt_text(convert_to_messages([("user", "Hi")])) == "Hi!"

    def test_without_a_template_the_error_says_what_to_write(self, tmp_path: Path) -> None:
        with pytest.raises(TemplateError, match="chat_template=.*llama-2, vicuna, alpaca, chatml"):
            self.chat(tmp_path).invoke("Hi")

    def test_an_unknown_name_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="did you mean 'vicuna'"):
            self.chat(tmp_path, chat_template="vicunia")


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Cut, or with one to eight bytes changed, half of the times within the header."""
    if chance.random() < 0.25:
        return data[: chance.randrange(len(data))]
    result = bytearray(data)
    end = len(data) if chance.random() < 0.5 else data.index(b"layers.0")
    for _ in range(chance.randint(1, 8)):
        result[chance.randrange(end)] = chance.randrange(256)
    return bytes(result)


def outcome(path: Path) -> str:
    """Load and run a file in this very process; a crash would end the tests."""
    try:
        model = converted(path)
        check_model(read_header(model))
        run = LocalSession(open_runtime(model, LlamaSettings(context_length=64, n_threads=1, n_batch=32)))
        run.append("the cat\n漢")
        for _ in run.generate(GenerationRequest(max_tokens=4)):
            pass
    except ChainkitError:
        return "error"
    return "works"


def survivors(folder: Path, count: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    originals = [write_old(folder / f"{kind}.bin", kind).read_bytes() for kind in ("q4_0", "q8_0", "f32")]
    seen = {"error": 0, "works": 0}
    for number in range(count):
        path = folder / f"damaged-{number}.bin"
        path.write_bytes(damaged(originals[number % 3], chance))
        seen[outcome(path)] += 1
    return seen


def test_damaged_headers_give_a_named_error_or_a_plan(tmp_path: Path) -> None:
    """Fast and in Python: what is planned from a damaged file is at least consistent."""
    chance, original = random.Random(1), write_old(tmp_path / "q4_0.bin", "q4_0").read_bytes()
    path, refused = tmp_path / "damaged.bin", 0
    for _ in range(100):
        path.write_bytes(damaged(original, chance))
        try:
            assert plan(path).tensors
        except ModelFileError:
            refused += 1
    assert 40 < refused < 100


@pytest.mark.slow
def test_500_damaged_files_never_end_the_process(tmp_path: Path) -> None:
    seen = survivors(tmp_path, 500, seed=2)
    assert min(seen.values()) > 50, seen

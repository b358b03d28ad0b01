"""Programs beside guidance 0.3.1, one-shot generation and calls per slot: passes, tokens and CPU time.

python benchmarks/programs.py [PART ...] [--guidance PYTHON] [--rounds N]

PYTHON is that of an environment with guidance==0.3.1 and transformers==4.57.6, and llama-cpp-python==0.3.36 for
guidance on GGUF files; without it the columns of guidance are left out. chainkit takes llama-cpp-python too where it is
installed, and then both compute with the same library.

The model is a Llama of 97.5 million random weights; the scores of quotes, commas and newlines are 0, so that every free
slot runs to its 12 tokens and all contenders do the same work; borders are not healed, for the same reason. Everything
runs in one thread, greedily, in turn; CPU seconds are those of the process that computes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CHAINKIT_PREFIX_CACHE"] = "off"  # what an earlier run has read would not be measured

HERE = Path(__file__).parent
FOLDER = Path(tempfile.gettempdir()) / "chainkit-benchmark-llama"
WEAPONS = ["sword", "axe", "mace", "spear", "bow", "crossbow"]
ADJECTIVES = ["quick", "slow", "tall", "quiet", "proud", "young", "grim", "merry"]
TEMPLATE = """{{head}}```json
{
    "id": "{{id}}",
    "description": "{{description}}",
    "name": "{{gen 'name' FREE}}",
    "age": {{gen 'age' pattern='[1-9][0-9]' max_tokens=2}},
    "armor": "{{#select 'armor'}}leather{{or}}chainmail{{or}}plate{{/select}}",
    "weapon": "{{select 'weapon' options=weapons}}",
    "class": "{{gen 'class' FREE}}",
    "mantra": "{{gen 'mantra' FREE}}",
    "strength": {{gen 'strength' pattern='[1-9][0-9]' max_tokens=2}},
    "items": [{{#geneach 'items' num_iterations=5 join=', '}}"{{gen 'this' FREE}}"{{/geneach}}]
}```""".replace("FREE", "max_tokens=12 token_healing=False")
HEAD = "The following is character profile {number} for an RPG game in JSON format.\n"

Measure = dict[str, Any]


# the model


def model_folder() -> Path:
    """The model, made at the first use."""
    if (FOLDER / "model.gguf").exists():
        return FOLDER
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    quiet = [
        token
        for token in range(len(tokenizer))
        if token in tokenizer.all_special_ids or set('",\n`') & set(tokenizer.decode([token]))
    ]
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(0, 1)
        model.lm_head.weight.normal_(0, 0.2)
        model.lm_head.weight[quiet] = 0
    model.save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)
    _write_gguf(FOLDER)
    return FOLDER


def _tokenizer() -> Any:
    """A byte-level BPE of 8,192 tokens, trained on Python's own library."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from tests.backends.llama_cpp.tiny import CHATML

    llama3 = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+"
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(llama3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,
        special_tokens=["<|begin|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    files = sorted(map(str, Path(os.__file__).parent.glob("*.py")))
    tokenizer.train(files, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin|>",
        eos_token="<|im_end|>",
        pad_token="<|begin|>",
        chat_template=CHATML,
    )


def _write_gguf(folder: Path) -> None:
    from examples.demo_model import export

    export.OUTER_NAMES["lm_head.weight"] = "output.weight"
    export.write_gguf(folder, folder / "model.gguf", "f32")


# the contenders


class Guidance:
    """guidance in a process of its own.

    Args:
        python: The Python of its environment.
        model: A folder for transformers, or a GGUF file for llama.cpp.
    """

    def __init__(self, python: str, model: Path) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / "guidance_peer.py"), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline() or "{}").get("ready"), "guidance did not start"

    def __call__(self, **order: Any) -> Measure:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextmanager
def measured(counts: Callable[[], tuple[int, int]], into: Measure) -> Iterator[None]:
    """CPU seconds, and by how much the numbers of passes and tokens have grown."""
    passes, tokens = counts()
    start, wall = time.process_time(), time.perf_counter()
    yield
    into["cpu"], into["wall"] = time.process_time() - start, time.perf_counter() - wall
    after = counts()
    into["passes"], into["tokens"] = after[0] - passes, after[1] - tokens


class Chainkit:
    """Programs on transformers, and what transformers itself does with the same model."""

    def __init__(self, spec: str = "hf", **settings: Any) -> None:
        from chainkit.programs.run.runnable import program

        if spec == "hf":
            from chainkit.backends.huggingface.models import HuggingFaceModel

            self.model: Any = HuggingFaceModel(model=str(model_folder()), n_threads=1, **settings)
        else:
            from chainkit.backends.llama_cpp.models import GGUFModel

            self.model = GGUFModel(model=spec, n_threads=1, **settings)
        self.program = program(TEMPLATE, self.model).with_variables(id="e1f491f7", weapons=WEAPONS)
        self.counts()

    def counts(self) -> tuple[int, int]:
        return self.model.runtime.passes, self.model.runtime.tokens_read

    def single(self, number: int, adjective: str) -> Measure:
        result: Measure = {}
        with measured(self.counts, result):
            run = self.program(head=HEAD.format(number=number), description=sentence(adjective))
        return result | {"text": str(run)}

    def batch(self, count: int, head: int) -> Measure:
        result: Measure = {}
        variables = [
            {"head": HEAD.format(number=head), "description": sentence(f"{ADJECTIVES[number % 8]} number {number}")}
            for number in range(count)
        ]
        with measured(self.counts, result):
            runs = self.program.batch(variables, {"max_concurrency": count})
        return result | {"texts": [str(run) for run in runs]}


@contextmanager
def nothing_looked_up() -> Iterator[None]:
    """Every token of a free slot takes a pass of its own: random weights repeat themselves more than real ones."""
    from chainkit.local import lookup

    width, lookup.WIDTH = lookup.WIDTH, 0
    try:
        yield
    finally:
        lookup.WIDTH = width


def sentence(adjective: str) -> str:
    return f"A {adjective} and nimble fighter from the northern hills."


class Plain:
    """`model.generate` of transformers."""

    def __init__(self, llm: Any) -> None:
        self.loaded = llm.loaded
        self.passes = self.read = 0
        inner = self.loaded.model.forward

        def forward(*args: Any, input_ids: Any = None, **kwargs: Any) -> Any:
            self.passes += 1
            self.read += input_ids.shape[1]
            return inner(*args, input_ids=input_ids, **kwargs)

        self._inner, self._counted = inner, forward

    def counts(self) -> tuple[int, int]:
        return self.passes, self.read

    def generate(self, text: str, count: int) -> str:
        import torch

        tokens = torch.tensor([self.loaded.vocabulary.tokenize(text)])
        self.loaded.model.forward = self._counted
        try:
            found = self.loaded.model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                min_new_tokens=count,
                max_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
            )
        finally:
            self.loaded.model.forward = self._inner
        return self.loaded.vocabulary.detokenize(found[0, tokens.shape[1] :].tolist())

    def one_shot(self, number: int, whole: str) -> Measure:
        """As many tokens as the program has written, structure included."""
        result: Measure = {}
        head = whole[: whole.index('"name": "') + 9]
        count = len(self.loaded.vocabulary.tokenize(whole[len(head) :]))
        with measured(self.counts, result):
            self.generate(head.replace("profile", f"profile{number}", 1), count)
        return result

    def per_slot(self, whole: str) -> Measure:
        """A call for each of the 12 slots, from the start of the text each time."""
        result: Measure = {}
        marks = ['"name": "', '"age": ', '"armor": "', '"weapon": "', '"class": "', '"mantra": "', '"strength": ']
        places = [whole.index(mark) + len(mark) for mark in marks]
        items = whole[whole.index('"items": [') :].split('"')
        place = whole.index('"items": [')
        for number, part in enumerate(items):
            if number >= 2 and number % 2 == 1:
                places.append(place)
            place += len(part) + 1
        lengths = [12, 2, 3, 2, 12, 12, 2, *[12] * 5]
        with measured(self.counts, result):
            for place, length in zip(places, lengths, strict=False):
                self.generate(whole[:place], length)
        return result


# the parts


def single(rounds: int, peer: Guidance | None) -> None:
    """One instance; each round has another text from its first line on, so that nothing is known."""
    from chainkit.programs.model import cache

    ours = Chainkit()
    plain = Plain(ours.model)
    found: dict[str, list[Measure]] = {}
    with cache.disabled():
        whole = str(ours.single(999, "strong")["text"])
        for number in range(rounds):
            order = {"head": HEAD.format(number=number), "description": sentence(ADJECTIVES[number % 8])}
            found.setdefault("chainkit", []).append(ours.single(number, ADJECTIVES[number % 8]))
            with nothing_looked_up():
                again = ours.single(rounds + number, ADJECTIVES[number % 8])
            found.setdefault("chainkit, nothing looked up", []).append(again)
            if peer:
                found.setdefault("guidance, one f-string", []).append(peer(do="one", **order))
                found.setdefault("guidance, statements", []).append(
                    peer(do="statements", **order | {"head": "Statements. " + order["head"]})
                )
            found.setdefault("one-shot generate", []).append(plain.one_shot(number, whole))
            found.setdefault("generate per slot", []).append(plain.per_slot(whole))
    table("single", found)


def batch(rounds: int, peer: Guidance | None) -> None:
    """Instances with a description each; guidance takes them one after the other."""
    from chainkit.programs.model import cache

    ours = Chainkit(batch_size=32)
    with cache.disabled():
        for count in (8, 32):
            found: dict[str, list[Measure]] = {}
            for number in range(max(1, rounds // 3)):
                found.setdefault(f"chainkit, {count} together", []).append(ours.batch(count, 100 * count + number))
                if peer:
                    runs = [
                        peer(
                            do="one",
                            head=HEAD.format(number=100 * count + number),
                            description=sentence(f"{word} number"),
                        )
                        for word in ADJECTIVES
                    ]
                    total = {
                        name: sum(run[name] for run in runs) * count // 8
                        if name in ("passes", "tokens")
                        else sum(run[name] for run in runs) * count / 8
                        for name in ("cpu", "wall", "passes", "tokens")
                    }
                    label = "guidance, 8 in turn" if count == 8 else "guidance, 8 in turn times 4"
                    found.setdefault(label, []).append(total)
            table(f"batch of {count}", found)


def prompts(rounds: int, peer: Guidance | None) -> None:
    """Two prompts of 800 tokens in turn, three times each."""
    from chainkit.programs.model import cache
    from chainkit.programs.run.runnable import program

    ours = Chainkit()
    vocabulary = ours.model.loaded.vocabulary
    source = (Path(os.__file__).parent / "argparse.py").read_text()
    texts = [vocabulary.detokenize(vocabulary.tokenize(source[start : start + 8000])[:800]) for start in (2000, 20_000)]
    ask = program("{{text}} {{gen 'answer' max_tokens=8 stop='\"'}}", ours.model)
    result: Measure = {}
    found: dict[str, list[Measure]] = {}
    with cache.disabled(), measured(ours.counts, result):
        for turn in range(6):
            ask(text=texts[turn % 2])
    found["chainkit"] = [result]
    if peer:
        runs = [peer(do="continue", text=texts[turn % 2] + " ", tokens=8) for turn in range(6)]
        found["guidance"] = [summed(runs)]
    table("two prompts in turn", found)


def again(rounds: int, peer: Guidance | None) -> None:
    """The same run once more."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHAINKIT_PROGRAM_CACHE"] = str(Path(folder) / "results.sqlite")
        ours = Chainkit()
        found = {"chainkit, first": [ours.single(5, "calm")]}
        found["chainkit, again"] = [ours.single(5, "calm") for _ in range(max(3, rounds))]
        if peer:
            order = {"do": "one", "head": HEAD.format(number=5), "description": sentence("calm")}
            peer(**order)
            found["guidance, again"] = [peer(**order)]
        table("identical run", found)
        del os.environ["CHAINKIT_PROGRAM_CACHE"]


def overhead(rounds: int, peer: Guidance | None) -> None:
    """A free slot with a vocabulary of 131,072 tokens, on a model that is nearly nothing else."""
    import torch
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

    from chainkit.backends.huggingface.models import HuggingFaceModel
    from chainkit.programs.model import cache
    from chainkit.programs.run.runnable import program
    from tests.backends.huggingface import tiny

    with tempfile.TemporaryDirectory() as folder, cache.disabled():
        config = LlamaConfig(
            vocab_size=131_072,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=2048,
            eos_token_id=None,
        )
        tiny.save(Path(folder), LlamaForCausalLM(config), tiny.bpe())
        llm = HuggingFaceModel(model=folder, n_threads=1)
        count, loaded = 200, llm.loaded
        run = program("the cat {{gen 'x' stop='\"' max_tokens=count}}", llm).with_variables(count=count)
        run()
        bare, ours = [], []
        for _ in range(max(3, rounds)):
            start = time.process_time()
            with torch.inference_mode():
                cache = loaded.cached(DynamicCache(config=loaded.config))
                loaded.model(torch.tensor([[5, 6, 7]]), **cache, logits_to_keep=1)
                for _ in range(count):
                    loaded.model(torch.tensor([[7]]), **cache, logits_to_keep=1)
            bare.append((time.process_time() - start) / count * 1e3)
            start = time.process_time()
            run()
            ours.append((time.process_time() - start) / count * 1e3)
    print(f"\noverhead, 131,072 tokens: bare pass {min(bare):.3f} ms, a token of a free slot {min(ours):.3f} ms, ")
    print(f"so {min(ours) - min(bare):+.3f} ms (at most 0.3)")


def importing(rounds: int, peer: Guidance | None) -> None:
    """`import chainkit.programs`."""
    code = (
        "import time, sys; s = time.process_time(); import chainkit.programs; "
        "print(time.process_time() - s, 'torch' in sys.modules)"
    )
    times = []
    for _ in range(max(3, rounds)):
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        times.append(float(output.split()[0]))
        assert output.split()[1] == "False"
    print(f"\nimport chainkit.programs: {min(times):.3f} s of CPU, without torch (at most 0.15)")


def llama(rounds: int, peer: Guidance | None) -> None:
    """The same on llama.cpp, beside its plain loop on the same library."""
    from chainkit.programs.model import cache

    folder = model_folder()
    ours = Chainkit(str(folder / "model.gguf"), n_sequences=16)
    found: dict[str, list[Measure]] = {}
    with cache.disabled():
        ours.single(999, "strong")  # what is made once: the tokens for grammars, the spellings
        for number in range(rounds):
            adjective = ADJECTIVES[number % 8]
            whole = ours.single(number, adjective)
            found.setdefault("chainkit on GGUF", []).append(whole)
            with nothing_looked_up():
                again = ours.single(rounds + number, adjective)
            found.setdefault("chainkit, nothing looked up", []).append(again)
            if peer:
                order = {"head": HEAD.format(number=number), "description": sentence(adjective)}
                found.setdefault("guidance, one f-string", []).append(peer(do="one", **order))
                order["head"] = "Statements. " + order["head"]
                found.setdefault("guidance, statements", []).append(peer(do="statements", **order))
            head = str(whole["text"])[: str(whole["text"]).index('"name": "') + 9]
            count = len(ours.model.get_token_ids(str(whole["text"])[len(head) :]))
            result: Measure = {}
            with measured(ours.counts, result):
                _plain_llama(ours.model, head.replace("profile", f"profile{number}", 1), count)
            found.setdefault("one-shot, bare llama.cpp", []).append(result)
    library = ours.model.runtime.library.layout
    table(f"llama.cpp, chainkit on {library.package} {library.version}", found)
    _llama_batch(ours, peer)


def _llama_batch(ours: Chainkit, peer: Guidance | None) -> None:
    from chainkit.programs.model import cache

    with cache.disabled():
        found = {"chainkit, 8 together": [ours.batch(8, 700)]}
        if peer:
            runs = [peer(do="one", head=HEAD.format(number=700), description=sentence(word)) for word in ADJECTIVES]
            found["guidance, 8 in turn"] = [summed(runs)]
    table("llama.cpp, batch of 8", found)


def summed(runs: Sequence[Measure]) -> Measure:
    return {name: sum(run[name] for run in runs) for name in ("cpu", "wall", "passes", "tokens")}


def _plain_llama(llm: Any, text: str, count: int) -> None:
    """llama.cpp's own functions and an argmax."""
    runtime = llm.runtime
    session = llm.session(text)
    logits = session.logits()
    sequence, place = session.sequence, len(session.tokens)
    for _ in range(count - 1):
        token = int(logits.argmax())
        batch = runtime._batch.fill([token], place, sequence.number)
        assert runtime.library.llama_decode(runtime._context, batch) == 0
        logits = runtime._batch.logits(runtime.library, runtime._context, runtime.vocabulary.size)
        runtime.passes += 1
        runtime.tokens_read += 1
        place += 1
    runtime.library.llama_memory_seq_rm(runtime._memory, sequence.number, len(session.tokens), -1)
    session.close()


INTERVIEW = """{{#user}}Context: {{context}}

Question: {{first}}{{/user}}{{#assistant}}{{gen 'first' max_tokens=16}}{{/assistant}}\
{{#each questions}}{{#user}}Question: {{this}}{{/user}}{{#assistant}}{{gen 'answers' list_append=True max_tokens=16}}\
{{/assistant}}{{/each}}""".replace("\\\n", "")


def demo(rounds: int, peer: Guidance | None) -> None:
    """An interview with the demo model, whose answers end early, beside as many tokens written in one go."""
    from langchain_core.messages import HumanMessage

    from chainkit.backends.llama_cpp.models import GGUFChat, GGUFModel
    from chainkit.programs.model import cache
    from chainkit.programs.run.runnable import program

    path = str(HERE.parent / "examples" / "demo_model" / "demo-q8_0.gguf")
    chat, plain = GGUFChat(model=path, n_threads=1), GGUFModel(model=path, n_threads=1, special_tokens=True)
    questions = ["Where does she live?", "What does Mira Tolan work as?", "Where is the log written?"] * 2
    ask = program(INTERVIEW, chat).with_variables(questions=questions, first="Where is the cache stored?")
    found: dict[str, list[Measure]] = {}

    def counts() -> tuple[int, int]:
        return chat.runtime.passes, chat.runtime.tokens_read

    with cache.disabled():
        for number in range(rounds + 1):
            context = (
                f"Mira Tolan lives in Oskaville. She works as a baker. The cache is stored in the folder ~/{number}."
            )
            result: Measure = {}
            with measured(counts, result):
                run = ask(context=context)
            first = f"Context: {context}\n\nQuestion: Where is the cache stored?"
            told = chat.prompt_text([HumanMessage(first)])
            whole = str(run).replace("<|im_start|>", "<|").replace("<|user\n", "<|user|>\n")
            whole = whole.replace("<|assistant\n", "<|assistant|>\n").replace("<|im_end|>", "<|end|>\n")
            count = len(plain.get_token_ids(whole)) - len(plain.get_token_ids(told))
            bare: Measure = {}
            with measured(counts, bare):
                _plain_llama(plain, told, count)
            if number:  # the first round makes what is made once
                found.setdefault("chainkit", []).append(result)
                found.setdefault("one-shot, bare llama.cpp", []).append(bare)
    table("demo model, llama.cpp", found)
    print(f"answers: {run['first']!r}, {run['answers']}")
    _demo_on_transformers(rounds, questions, count)


def _demo_on_transformers(rounds: int, questions: list[str], count: int) -> None:
    """The same interview where a pass costs much beside a token, beside the library's own `generate`."""
    import torch
    from langchain_core.messages import HumanMessage
    from transformers import AutoModelForCausalLM

    from chainkit.backends.huggingface.models import HuggingFaceChat
    from chainkit.programs.model import cache
    from chainkit.programs.run.runnable import program

    torch.set_num_threads(1)
    folder = str(HERE.parent / "examples" / "demo_model" / "hf")
    chat = HuggingFaceChat(model=folder)
    bare = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    ask = program(INTERVIEW, chat).with_variables(questions=questions, first="Where is the cache stored?")
    found: dict[str, list[Measure]] = {}
    with cache.disabled():
        for number in range(rounds + 1):
            context = (
                f"Mira Tolan lives in Oskaville. She works as a baker. The cache is stored in the folder ~/{number}."
            )
            result: Measure = {}
            with measured(lambda: (chat.runtime.passes, chat.runtime.tokens_read), result):
                ask(context=context)
            told = chat.prompt_text([HumanMessage(f"Context: {context}\n\nQuestion: Where is the cache stored?")])
            tokens = torch.tensor([chat.runtime.vocabulary.tokenize(told, special=True)])
            spent: Measure = {}
            with measured(lambda: (count, count), spent):
                bare.generate(tokens, do_sample=False, min_new_tokens=count, max_new_tokens=count, pad_token_id=0)
            if number:  # the first round makes what is made once
                found.setdefault("chainkit", []).append(result)
                found.setdefault("one-shot generate", []).append(
                    spent | {"passes": count, "tokens": tokens.shape[1] + count}
                )
    table("demo model, transformers", found)


def table(title: str, found: dict[str, list[Measure]]) -> None:
    """Medians, and how the first contender compares with each other one."""
    print(f"\n{title}")
    print(f"{'':32}{'passes':>8}{'tokens':>8}{'CPU s':>9}{'wall s':>9}{'first / this':>14}")
    first: Sequence[Measure] = next(iter(found.values()))
    for name, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in ("passes", "tokens", "cpu", "wall")}
        pairs = [one["cpu"] / other["cpu"] for one, other in zip(first, runs, strict=False)]
        ratio = statistics.median(pairs)
        print(
            f"{name:32}{middle['passes']:8.0f}{middle['tokens']:8.0f}{middle['cpu']:9.3f}{middle['wall']:9.3f}{ratio:14.3f}"
        )


PARTS = {
    "single": single,
    "batch": batch,
    "prompts": prompts,
    "again": again,
    "overhead": overhead,
    "import": importing,
    "llama": llama,
    "demo": demo,
}
WITH_GUIDANCE = ("single", "batch", "prompts", "again", "llama")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them by default")
    parser.add_argument("--guidance", metavar="PYTHON", help="the Python of an environment with guidance 0.3.1")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    sys.path[0] = str(HERE.parent)  # here lies a gguf.py that would hide the package
    import torch

    torch.set_num_threads(1)
    for part in chosen.parts or PARTS:
        model = model_folder() / "model.gguf" if part == "llama" else model_folder()
        peer = Guidance(chosen.guidance, model) if chosen.guidance and part in WITH_GUIDANCE else None
        PARTS[part](chosen.rounds, peer)
        if peer:
            peer.close()


if __name__ == "__main__":
    main()

"""What soft prompts reach and cost on the demo model.

python -m benchmarks.tuning task      accuracy on held-out questions before and after, and the time it takes
python -m benchmarks.tuning step      CPU per step beside PEFT with transformers' Trainer, one thread, same batches
python -m benchmarks.tuning ten       ten soft prompts in one batch of ten beside one plain batch of ten
python -m benchmarks.tuning same      transformers beside llama.cpp: 64 greedy tokens of 20 prompts
python -m benchmarks.tuning source    the recipe of PEFT's walk-through on its own data, beside ours
python -m benchmarks.tuning upscale   the loss of the demo model up-scaled, and after training has gone on
"""

import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import peft
import torch
import transformers
from langchain_core.messages import HumanMessage

import chainkit
from chainkit.decoding.constraints import regex
from chainkit.local.soft_prompt import SoftPrompt, load_soft_prompt
from chainkit.tuning.batches import EncodedExample, encode
from chainkit.tuning.examples import Example
from chainkit.tuning.learners import Soft, start_vectors
from chainkit.tuning.model import open_base
from chainkit.tuning.settings import TuningSettings
from chainkit.tuning.train import mean_loss, train
from examples.demo_model import data, export
from examples.demo_model.json_task import pairs

DEMO = Path(__file__).parents[1] / "examples" / "demo_model"
PROMPTS = Path(__file__).parents[1] / "examples" / "prompts" / "awesome-chatgpt-prompts.csv"
JSON = DEMO / "json_prompt"
STEPS, SKIPPED = 40, 8
# no text ends before its 24 tokens, so that all batches compute as much
ENDLESS: dict[str, Any] = {"constraint": regex(r"[\s\S]{400}"), "max_tokens": 24}


def task() -> None:
    held = pairs(100, seed=99, unseen=True)
    start, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        tuned = chainkit.tune(
            DEMO / "hf", pairs(150, 1), f"{name}/json", held_out_examples=held, chat=True, virtual_tokens=8, epochs=3
        )
        print(tuned.report)
        print(f"{time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} s of CPU, report included")
        for spec in (f"hf:{DEMO / 'hf'}", f"gguf:{DEMO / 'demo-q8_0.gguf'}"):
            model = chainkit.chat_model(spec)
            before = sum(model.invoke(question).text == answer for question, answer in held)
            after = sum(
                model.invoke(question, soft_prompt=tuned.soft_prompt).text == answer for question, answer in held
            )
            told = sum(model.invoke(f"{data.JSON_REQUEST} {one}").text == answer for one, answer in held)
            print(f"{spec}: {before} -> {after} of {len(held)} exact; {told} when told to answer as JSON")


class Clock(transformers.TrainerCallback):
    """CPU time after each step of the Trainer."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.process_time())


def per_step(times: list[float]) -> float:
    """Milliseconds, the first steps left out; the lower quartile, since others disturb a shared machine."""
    return 1000 * statistics.quantiles(np.diff(times[SKIPPED:]).tolist(), n=4)[0]


def ours(base: Any, examples: list[Any], held: list[Any], settings: TuningSettings, first: str) -> tuple[float, float]:
    learner, times = Soft(base, settings, start_vectors(base, settings, first)), list[float]()

    def told(_: object) -> None:
        times.append(time.process_time())

    with base.frozen():
        history = train(learner, examples, held, settings, checkpoint=None, identity={}, report=told)
    return per_step(times[:STEPS]), history.best_loss


def theirs(
    base: Any, examples: list[Any], held: list[Any], settings: TuningSettings, first: str
) -> tuple[float, float]:
    model = transformers.AutoModelForCausalLM.from_pretrained(DEMO / "hf", dtype=torch.float32)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=settings.virtual_tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        wrapped.prompt_encoder["default"].embedding.weight.copy_(start_vectors(base, settings, first))

    def collated(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
        return {
            key: torch.tensor([row[key] + [empty] * (width - len(row[key])) for row in rows])
            for key, empty in fill.items()
        }

    rows = [
        {
            "input_ids": [*one.prompt, *one.answer],
            "attention_mask": [1] * one.length,
            "labels": [-100] * len(one.prompt) + list(one.answer),
        }
        for one in examples
    ]
    clock, rate = Clock(), Soft(base, settings, start_vectors(base, settings, first)).learning_rate
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = transformers.TrainingArguments(
            output_dir=name,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=rate,
            seed=settings.seed,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            logging_steps=10_000,
        )
        trainer = transformers.Trainer(
            model=wrapped, args=arguments, train_dataset=rows, data_collator=collated, callbacks=[clock]
        )
        trainer.train()
    trained = Soft(base, settings, wrapped.get_prompt(1)[0].detach())
    return per_step(clock.times[:STEPS]), mean_loss(trained, held, 8)


def step() -> None:
    torch.set_num_threads(1)
    base, settings = open_base(DEMO / "hf"), TuningSettings(virtual_tokens=8, epochs=3, chat=True, patience=None)
    examples = encode(base, [Example(*one) for one in pairs(128, 1)], settings)
    held = encode(base, [Example(*one) for one in pairs(50, 99, unseen=True)], settings)
    first = " ".join(pairs(1, 1)[0])
    print(f"batches of {settings.batch_size}, {sum(one.length for one in examples) / len(examples):.0f} tokens each")
    losses, their_losses = list[float](), list[float]()
    for seed in range(3):
        changed = replace(settings, seed=10 * seed)
        mine, loss = ours(base, examples, held, changed, first)
        other, their_loss = theirs(base, examples, held, changed, first)
        losses.append(loss)
        their_losses.append(their_loss)
        print(f"ours {mine:.1f} ms, PEFT + Trainer {other:.1f} ms: {mine / other:.2f}x", flush=True)
    print(f"held-out losses: ours {np.round(losses, 3)}, PEFT + Trainer {np.round(their_losses, 3)}")
    rows = equal_rows(base, settings)
    short = [EncodedExample(one.prompt[-10:], one.answer[-6:]) for one in rows]
    for virtual, equal in ((4, short), (8, short), (8, rows)):
        changed = replace(settings, virtual_tokens=virtual)
        mine, loss = ours(base, equal[:128], equal[128:], changed, first)
        other, their_loss = theirs(base, equal[:128], equal[128:], changed, first)
        print(
            f"{virtual} virtual tokens, rows of {equal[0].length} tokens without padding: ours {mine:.1f} ms, "
            f"PEFT + Trainer {other:.1f} ms: {mine / other:.2f}x; held-out losses {loss:.3f}, {their_loss:.3f}",
            flush=True,
        )


def equal_rows(base: Any, settings: TuningSettings) -> list[EncodedExample]:
    """Questions and answers that have the same number of tokens, 128 to train on and some more."""
    found: dict[int, list[EncodedExample]] = {}
    for one in encode(base, [Example(*pair) for pair in pairs(6000, 2)], settings):
        found.setdefault(one.length, []).append(one)
    rows = [one for one in max(found.values(), key=len) if len(one.answer) >= 6]
    assert len(rows) > 150
    return rows[:180]


def variants(count: int) -> list[SoftPrompt]:
    """Soft prompts that differ a little from the one that asks for JSON."""
    vectors, random = load_soft_prompt(JSON).vectors, np.random.default_rng(0)
    return [
        SoftPrompt(str(number), vectors + random.standard_normal(vectors.shape).astype(np.float32) * 0.01 * number)
        for number in range(count)
    ]


def ten() -> None:
    questions, soft = [question for question, _ in pairs(10, 5)], variants(10)
    settings: dict[str, Any] = {"max_tokens": 32, "n_threads": 1}
    for spec in (f"hf:{DEMO / 'hf'}?dtype=float32&batch_size=10", f"gguf:{DEMO / 'demo-q8_0.gguf'}?n_sequences=10"):
        chat, llm = chainkit.chat_model(spec.partition("?")[0]), chainkit.llm(spec, special_tokens=True, **settings)
        prompts = [chat.prompt_text([HumanMessage(question)]).removeprefix("<|begin|>") for question in questions]
        alone = [llm.invoke(prompt, soft_prompt=one) for prompt, one in zip(prompts, soft, strict=True)]
        same = llm.batch(prompts, soft_prompt=soft) == alone

        def cpu_seconds(given: list[SoftPrompt | None], llm: Any = llm, prompts: list[str] = prompts) -> float:
            llm.unload()
            llm.invoke("x", max_tokens=1)
            start = time.process_time()
            llm.batch(prompts, soft_prompt=given, **ENDLESS)
            return time.process_time() - start

        rounds = [(cpu_seconds(soft), cpu_seconds([soft[0]] * 10), cpu_seconds([None] * 10)) for _ in range(5)]
        many, one, plain = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratios = f"{many / one:.2f}x of one soft prompt, {many / plain:.2f}x of none"
        print(f"{spec.partition(':')[0]}: same texts {same}; ten {ratios}")


def greedy(llm: Any, prompt: str, count: int, tokens: list[int] | None = None) -> tuple[list[int], np.ndarray]:
    """So many likeliest tokens, ends not heeded, and the scores at each; with `tokens`, along those."""
    session, chosen, scores = llm.session(prompt), list[int](), []
    for place in range(count):
        scores.append(session.logits().copy())
        chosen.append(int(scores[-1].argmax()))
        session.append([tokens[place] if tokens else chosen[-1]])
    return chosen, np.stack(scores)


def same() -> None:
    export.TYPES["q4_0"] = (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0)  # type: ignore[index]
    prompts = [question for question, _ in pairs(20, 7)]
    reference = chainkit.llm(f"hf:{DEMO / 'hf'}", dtype="float32", soft_prompt=str(JSON))
    found = [greedy(reference, prompt, 64) for prompt in prompts]
    with tempfile.TemporaryDirectory() as name:
        for kind in ("f32", "q8_0", "q4_0"):
            path = Path(name) / f"{kind}.gguf"
            export.write_gguf(DEMO / "hf", path, kind)  # type: ignore[arg-type]
            exact: dict[str, Any] = {"kv_type": "f32", "flash_attention": False} if kind == "f32" else {}
            llm = chainkit.llm(f"gguf:{path}", soft_prompt=str(JSON), **exact)
            texts = sum(
                greedy(llm, prompt, 64)[0] == tokens for prompt, (tokens, _) in zip(prompts, found, strict=True)
            )
            along = [greedy(llm, prompt, 64, tokens) for prompt, (tokens, _) in zip(prompts, found, strict=True)]
            steps = np.mean([np.mean(np.equal(a[0], b[0])) for a, b in zip(along, found, strict=True)])
            far = max(float(np.abs(a[1] - b[1]).max()) for a, b in zip(along, found, strict=True))
            print(
                f"{kind}: {texts} of 20 texts of 64 tokens the same, {steps:.1%} of the tokens; logits {far:.1e} apart"
            )


def source() -> None:
    import csv

    rows = list(csv.DictReader(PROMPTS.read_text("utf-8").splitlines(keepends=True)))[:50]
    examples = [(row["act"], row["prompt"]) for row in rows]
    asked, shared = "I want you to act as a logistician. ", {"show_plan": None, "held_out": 0.2, "keep_worse": True}
    model = chainkit.llm(f"hf:{DEMO / 'hf'}?max_tokens=40")
    print("before:", repr(model.invoke(asked)))
    with tempfile.TemporaryDirectory() as name:
        for label, recipe in (("source", {"source_recipe": True}), ("ours", {"epochs": 5})):
            tuned = chainkit.tune(DEMO / "hf", examples, f"{name}/{label}", **shared, **recipe)
            last = tuned.report.history.held_out[-1][1]
            print(
                f"{label}: held-out loss {tuned.report.loss_before:.3f} -> {last:.3f} after {tuned.report.steps} steps"
            )
            print("after: ", repr(model.invoke(asked, soft_prompt=tuned.soft_prompt)), flush=True)


def upscale() -> None:
    from chainkit.tuning import train_on

    tokenizer = transformers.AutoTokenizer.from_pretrained(DEMO / "hf")
    texts = []
    for messages, _ in zip(data.conversations(3, data.Recipe()), range(300), strict=False):
        texts.append(tokenizer.apply_chat_template(messages, tokenize=False))
    with tempfile.TemporaryDirectory() as name:
        print(chainkit.upscale(DEMO / "hf", f"{name}/deeper", drop=1))
        for label, folder, steps in (
            ("as it is", DEMO / "hf", 1),
            ("up-scaled", f"{name}/deeper", 60),
        ):
            # a step at no rate, where only the loss is wanted
            rate = 1e-12 if steps == 1 else 3e-4
            result = train_on(
                folder,
                texts,
                f"{name}/{label}",
                method="full",
                max_steps=steps,
                block_tokens=128,
                learning_rate=rate,
            )
            losses = f"{result.loss_before:.3f} -> {result.loss_after:.3f}"
            print(f"{label}: loss {losses} after {steps} steps, {result.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    parts = {one.__name__: one for one in (task, step, ten, same, source, upscale)}
    if len(sys.argv) != 2 or sys.argv[1] not in parts:
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    parts[sys.argv[1]]()

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

import chainkit
from chainkit.base.errors import BadExamples, ChainkitError, ModelFileError, SoftPromptMismatch, Unsupported
from chainkit.local.soft_prompt import load_soft_prompt
from chainkit.tuning.batches import EncodedExample, batch_of
from chainkit.tuning.learners import Soft, answer_loss, start_vectors, written
from chainkit.tuning.model import open_base
from chainkit.tuning.settings import TuningSettings
from chainkit.tuning.train import TrainingStep
from tests.backends.huggingface import tiny
from tests.noise import notices, strict

# PEFT 0.21 asks transformers 5 by an old name
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

Tuned = Callable[..., Any]


def test_a_soft_prompt_teaches_a_task_and_leaves_the_model_as_it_was(tuned: Tuned, tmp_path: Path) -> None:
    model, tokenizer = tiny.causal("llama"), tiny.bpe()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    wanted = [values.requires_grad for values in model.parameters()]
    steps: list[TrainingStep] = []
    settings = {"epochs": 30, "virtual_tokens": 6, "answer_ends": True}
    result = tuned(tmp_path / "soft", model=(model, tokenizer), **settings, progress=steps.append)
    report = result.report
    assert report.better
    assert report.loss_after < report.loss_before - 1
    assert report.exact_after > report.exact_before
    assert [step.number for step in steps] == list(range(1, report.steps + 1))
    assert steps[-1].total >= report.steps
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert [values.requires_grad for values in model.parameters()] == wanted
    files = sorted(file.name for file in result.folder.iterdir())
    weights = ["adapter_config.json", "adapter_model.safetensors", "fingerprint.json"]
    assert files == [*weights, "report.html", "report.json", "report.txt"]
    assert sum(file.stat().st_size for file in result.folder.iterdir()) == report.nbytes < 100_000
    assert not list(tmp_path.glob("*.checkpoint"))


def test_the_plan_is_shown_first_and_its_numbers_are_right(tuned: Tuned, pairs: list[tuple[str, str]]) -> None:
    shown: list[Any] = []
    report = tuned(show_plan=shown.append, progress=lambda _: shown.append("step")).report
    plan, *steps = shown
    assert set(steps) == {"step"}
    assert plan == report.plan
    assert (plan.parameters, plan.saved_bytes) == (4 * 32, 4 * 4 * 32)
    assert plan.examples + plan.held_out == len(pairs)
    assert plan.steps == 3 * -(-plan.examples // 8)
    assert plan.seconds > 0
    assert "all frozen" in str(plan)


def test_peft_loads_the_folder_and_computes_the_same(tuned: Tuned, folder: str, tmp_path: Path) -> None:
    result = tuned(tmp_path / "soft")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model = peft.PeftModel.from_pretrained(base, str(result.folder))
    assert torch.equal(model.get_prompt(1)[0], torch.from_numpy(result.soft_prompt.vectors))
    tokens = torch.tensor([tiny.bpe()("the cat sat on the mat")["input_ids"]])
    with torch.inference_mode():
        theirs = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, -1]
    session = chainkit.llm(f"hf:{folder}", soft_prompt=str(result.folder)).session("the cat sat on the mat")
    assert session.logits() == pytest.approx(theirs.numpy(), abs=1e-4)


def test_a_soft_prompt_of_peft_is_loaded(folder: str, tmp_path: Path) -> None:
    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model = peft.get_peft_model(base, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))
    model.save_pretrained(tmp_path)
    soft = load_soft_prompt(tmp_path)
    assert soft.fingerprint is None
    assert torch.equal(torch.from_numpy(soft.vectors), model.get_prompt(1)[0])
    assert chainkit.llm(f"hf:{folder}?max_tokens=3").invoke("the cat", soft_prompt=soft)


def test_the_loss_is_that_of_peft_for_a_batch_without_padding(folder: str) -> None:
    base = open_base(folder)
    learner = Soft(base, TuningSettings(), start_vectors(base, TuningSettings(), "the cat"))
    examples = [EncodedExample((5, 6, 7), (8, 9)), EncodedExample((9, 8, 7), (6, 5))]
    ours, count = learner.loss(examples)
    model = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(folder),
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    )
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.copy_(learner.vectors)
    tokens = torch.tensor([[*one.prompt, *one.answer] for one in examples])
    labels = tokens.clone()
    labels[:, :3] = -100
    theirs = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=labels).loss
    assert count == 4
    assert float(ours.detach()) / count == pytest.approx(float(theirs.detach()), rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom"])
def test_padding_changes_no_loss(kind: str) -> None:
    base = open_base((tiny.causal(kind), tiny.bpe()))
    vectors = start_vectors(base, TuningSettings(), "the cat sat")
    short, long = EncodedExample((5, 6), (7,)), EncodedExample((9, 8, 7, 6, 5, 4), (3, 4, 5))
    with torch.inference_mode():
        together = answer_loss(base, batch_of([short, long], 4), vectors)[0]
        alone = sum(answer_loss(base, batch_of([one], 4), vectors)[0] for one in (short, long))
        assert float(together) == pytest.approx(float(alone), rel=1e-5)
        assert batch_of([short], 4).mask is None


def test_a_stopped_run_goes_on_to_the_same_result(tuned: Tuned, tmp_path: Path) -> None:
    def stop(step: TrainingStep) -> None:
        if step.number == 7:
            raise KeyboardInterrupt

    straight = tuned(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "stopped", progress=stop)
    assert (tmp_path / "stopped.checkpoint").is_dir()
    assert not (tmp_path / "stopped").exists()
    with pytest.raises(ChainkitError, match="other settings .batch_size.*resume=False"):
        tuned(tmp_path / "stopped", batch_size=4)
    steps: list[int] = []
    resumed = tuned(tmp_path / "stopped", progress=lambda step: steps.append(step.number))
    assert steps[0] > 1
    assert resumed.report.history == straight.report.history
    assert (resumed.soft_prompt.vectors == straight.soft_prompt.vectors).all()
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "anew", progress=stop)
    steps.clear()
    tuned(tmp_path / "anew", resume=False, batch_size=4, progress=lambda step: steps.append(step.number))
    assert steps[0] == 1


def test_a_damaged_checkpoint_is_named(tuned: Tuned, tmp_path: Path) -> None:
    (tmp_path / "soft.checkpoint").mkdir()
    (tmp_path / "soft.checkpoint" / "state.safetensors").write_bytes(b"no")
    with pytest.raises(ModelFileError, match="not a checkpoint"):
        tuned(tmp_path / "soft")


@pytest.fixture(scope="session")
def known(folder: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What the model itself would write, so that nothing can be learnt from it."""
    base = open_base(folder)
    prompts = [prompt for prompt, _ in pairs[:16]]
    answers = [written(base, base.prompt_tokens(prompt, chat=False), None, 4) for prompt in prompts]
    return [(one, base.vocabulary.detokenize(tokens)) for one, tokens in zip(prompts, answers, strict=True) if tokens]


def test_a_result_that_is_no_better_is_not_kept_unless_asked(
    tuned: Tuned, known: list[tuple[str, str]], tmp_path: Path
) -> None:
    worse = {"examples": known, "source_recipe": True, "epochs": 1}
    result = tuned(tmp_path / "soft", **worse)
    assert not result.kept
    assert not result.report.better
    assert result.soft_prompt is None
    assert "not better than the base model" in str(result.report)
    assert list(tmp_path.iterdir()) == []
    assert tuned(tmp_path / "soft", keep_worse=True, **worse).kept


def test_it_ends_early_and_keeps_the_best(tuned: Tuned, known: list[tuple[str, str]]) -> None:
    history = tuned(examples=known, epochs=40, learning_rate=5.0, reach=None, patience=2).report.history
    assert history.stopped
    losses = [loss for _, loss in history.held_out]
    assert len(losses) < 40
    assert history.best == history.held_out[losses.index(min(losses))][0]
    assert losses.index(min(losses)) == len(losses) - 3


def test_vectors_stay_within_their_reach(folder: str) -> None:
    base, settings = open_base(folder), TuningSettings(reach=0.5)
    start = start_vectors(base, settings, "the cat sat on")
    learner = Soft(base, settings, start)
    with torch.no_grad():
        learner.vectors += 100
    learner.hold()
    limit = 0.5 * float(base.vectors.norm(dim=1).mean())
    assert (learner.vectors - start).norm(dim=1).tolist() == pytest.approx([limit] * 4, rel=1e-5)


def test_a_loss_that_is_no_number_ends_with_advice(tuned: Tuned) -> None:
    broken = tiny.causal("llama")
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ChainkitError, match="the loss is nan at step 1; .*learning_rate"):
        tuned(model=(broken, tiny.bpe()))


@pytest.mark.parametrize("init", ["text", "sampled", "random"])
def test_vectors_begin_where_they_should(init: str, folder: str) -> None:
    base = open_base(folder)
    vectors = start_vectors(base, TuningSettings(init=init, virtual_tokens=7), "the cat")
    assert vectors.shape == (7, 32)
    if init == "text":
        tokens = base.vocabulary.tokenize("the cat")
        assert torch.equal(vectors[len(tokens)], base.vectors[tokens[0]])
    elif init == "sampled":
        assert all(any(torch.equal(row, other) for other in base.vectors) for row in vectors)


def test_wrong_models_and_examples_are_named(tuned: Tuned, folder: str, tmp_path: Path) -> None:
    with pytest.raises(BadExamples, match="example 1 .*tokens, and beside 4 virtual ones the model reads"):
        tuned(examples=[(f"cat {number} " * 200, "dog") for number in range(8)])
    with pytest.raises(ModelFileError, match="no folder here|no config"):
        tuned(model=str(tmp_path))
    with pytest.raises(ModelFileError, match="no such file"):
        tuned(model=str(tmp_path / "a.gguf"))
    with pytest.raises(Unsupported, match="with an encoder"):
        tuned(model=(tiny.seq2seq(), tiny.unigram()))
    with pytest.raises(Unsupported, match="cannot tune a int"):
        tuned(model=3)
    with pytest.raises(ChainkitError, match="is there already"):
        tuned(tmp_path)
    with pytest.raises(TypeError, match="epoch"):
        tuned(epoch=3)


def test_a_soft_prompt_of_another_model_is_refused(tuned: Tuned, tmp_path: Path) -> None:
    soft = tuned(tmp_path / "soft").soft_prompt
    other = tiny.causal("llama")
    with torch.no_grad():
        other.get_input_embeddings().weight.normal_()
    tiny.save(tmp_path / "other", other, tiny.bpe())
    with pytest.raises(SoftPromptMismatch, match="another model: token 3"):
        chainkit.llm(f"hf:{tmp_path / 'other'}").invoke("the cat", soft_prompt=soft)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated:FutureWarning")  # given by PEFT itself
@pytest.mark.parametrize("method", ["p-tuning", "prefix", "cpt"])
def test_methods_of_peft_are_trained_saved_and_loaded(method: str, tuned: Tuned, folder: str, tmp_path: Path) -> None:
    result = tuned(tmp_path / "adapter", method=method, epochs=4)
    assert result.report.better
    assert (result.soft_prompt is None) == (method == "prefix")
    loaded = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(folder), result.folder)
    assert json.loads((result.folder / "adapter_config.json").read_text("utf-8"))["num_virtual_tokens"] == 4
    if result.soft_prompt is not None:
        assert torch.allclose(loaded.get_prompt(1)[0], torch.from_numpy(result.soft_prompt.vectors), atol=1e-5)


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "tuning.py"
    arguments = [sys.executable, str(example), str(tmp_path / "soft"), "12"]
    done = subprocess.run(
        arguments, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300, check=False, env=strict()
    )
    assert done.returncode == 0, done.stderr
    assert not notices(done.stderr)
    assert "held-out loss" in done.stdout


def test_the_page_of_the_report_loads_nothing_and_escapes_texts(tuned: Tuned) -> None:
    examples = [(f"<b>{number}</b>", "<script>") for number in range(9)]
    page = tuned(examples=examples, epochs=1).report.page()
    assert "<script>" not in page
    assert "http" not in page
    assert page.count("<polyline") == 3

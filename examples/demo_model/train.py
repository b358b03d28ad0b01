"""Train the demo model from nothing, on text of its own making: `python -m examples.demo_model.train`.

Stopped and started again, it goes on from its last checkpoint. On a machine that does other work besides, set
`OMP_WAIT_POLICY=passive`, or the threads of torch spend their time waiting for each other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from .chat import BOS, EOS, PAD, encoded, train_tokenizer
from .data import Recipe, conversations
from .export import save_transformers, write_gguf

HERE = Path(__file__).parent
POOL = 32  # batches drawn together, and then sorted by length
REPORT_STEPS = 25
SAVE_SECONDS = 120

# The token ids of a conversation and, for each, whether the model is to say it.
Row = tuple[list[int], list[bool]]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the model is trained.

    Attributes:
        steps: Optimizer steps.
        tokens: Tokens per step, padding left out.
        rate: Highest learning rate, of both Muon (matrices of the layers) and AdamW (embeddings and norms).
        warm_up: Steps until the rate is reached.
        cool_down: Share of the steps, at the end, over which the rate falls to zero.
        widening: Steps over which contexts grow from one fact to `max_facts`.
        copying: Steps over which requests to repeat the context fall from most of the conversations to few: copying
            emerges from them within some hundred steps, and from questions alone much later.
        prompt_share: Share of the prompt tokens that are learnt too.
        prompt_weight: Weight of their loss; answers weigh 1.
    """

    steps: int = 10_000
    tokens: int = 4096
    rate: float = 3e-3
    warm_up: int = 50
    cool_down: float = 0.4
    widening: int = 3000
    max_facts: int = 5
    copying: int = 600
    prompt_share: float = 0.125
    prompt_weight: float = 0.5
    layers: int = 5
    width: int = 256
    inner_width: int = 512
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: up, level, down."""
        rising = min(1.0, (step + 1) / self.warm_up)
        falling = min(1.0, (self.steps - step) / (self.cool_down * self.steps))
        return self.rate * rising * falling

    def recipe_at(self, step: int) -> Recipe:
        """What the conversations of a step are like."""
        widest = 1 + self.max_facts * step // self.widening
        return Recipe(
            max_facts=min(self.max_facts, widest),
            follow_up_share=0.75,  # several questions teach more in a context that is read once
            repeat_share=max(0.03, 0.6 - 0.6 * step / self.copying),
        )


@dataclass(frozen=True)
class Batch:
    """Conversations of similar length.

    Attributes:
        ids: Token ids [rows, length].
        weights: Weight of the loss of predicting each token [rows, length]; 0 for padding.
    """

    ids: torch.Tensor
    weights: torch.Tensor


def new_model(tokenizer: Tokenizer, plan: Training) -> LlamaForCausalLM:
    """The model before training."""
    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=plan.width,
        intermediate_size=plan.inner_width,
        num_hidden_layers=plan.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(PAD),
    )
    return LlamaForCausalLM(config)


def batches(tokenizer: Tokenizer, plan: Training, first: int) -> Iterator[Batch]:
    """The batches from step `first` on; the same plan gives the same batch at the same step."""
    for start in range(first - first % POOL, plan.steps, POOL):
        yield from pooled(tokenizer, plan, start)[max(0, first - start) : plan.steps - start]


def pooled(tokenizer: Tokenizer, plan: Training, step: int) -> list[Batch]:
    """The batches of `POOL` steps, drawn together so that each holds conversations of similar length."""
    source = conversations(plan.seed * 1_000_003 + step + 1, plan.recipe_at(step))
    rows, left = [], POOL * plan.tokens
    while left > 0:
        rows.append(encoded(tokenizer, next(source)))
        left -= len(rows[-1][0])
    rows.sort(key=lambda row: len(row[0]))
    chance = torch.Generator().manual_seed(step)
    made = [padded(part, plan, chance) for part in parts_of_equal_length(rows)]
    Random(step).shuffle(made)
    return made


def parts_of_equal_length(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """`POOL` runs of rows with about the same number of tokens each."""
    total = sum(len(ids) for ids, _ in rows)
    edges, seen = [0], 0
    for index, (ids, _) in enumerate(rows):
        seen += len(ids)
        if seen >= total * len(edges) / POOL and len(edges) < POOL:
            edges.append(index + 1)
    for left, right in zip(edges, [*edges[1:], len(rows)], strict=True):
        yield rows[left:right]


def padded(rows: Sequence[Row], plan: Training, chance: torch.Generator) -> Batch:
    """Rows of one length, filled up on the right with id 0 of weight 0."""
    length = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    weights = torch.zeros(len(rows), length)
    for index, (row, spoken) in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        read = plan.prompt_weight * (torch.rand(len(row), generator=chance) < plan.prompt_share)
        weights[index, : len(row)] = torch.where(torch.tensor(spoken), 1.0, read)
    return Batch(ids, weights)


def losses(model: LlamaForCausalLM, batch: Batch) -> tuple[torch.Tensor, float, float]:
    """The loss to minimise, the mean loss of answer tokens, and the share of those that are found likeliest."""
    # Padding is on the right, so that causal attention alone hides it.
    hidden = model.model(input_ids=batch.ids[:, :-1], use_cache=False).last_hidden_state
    scored = batch.weights[:, 1:] > 0
    logits = model.lm_head(hidden[scored]).float()  # [scored tokens, vocabulary]
    targets, weights = batch.ids[:, 1:][scored], batch.weights[:, 1:][scored]
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    answers = weights == 1
    found = (logits.argmax(-1) == targets)[answers].float().mean().item()
    return (each * weights).sum() / weights.sum(), each[answers].mean().item(), found


class Learner:
    """A model, its computing copy and its optimizers.

    Gradients are computed by a bfloat16 copy, and move the float32 weights of the model.

    Attributes:
        step: Steps done.
        tokens: Tokens seen, padding included.
        seconds: Time spent.
    """

    def __init__(self, model: LlamaForCausalLM, plan: Training) -> None:
        self.model = model
        self.plan = plan
        self.step = self.tokens = 0
        self.seconds = 0.0
        self._copy = LlamaForCausalLM(model.config).bfloat16()
        self._copy.set_attn_implementation("eager")  # for short rows cheaper on a CPU than the fused kernel
        self._refresh()
        self._movers = optimizers(model, plan.rate)

    def learn(self, batch: Batch) -> tuple[float, float]:
        """One step; the answer loss and the share of answer tokens found before it."""
        begun = time.monotonic()
        loss, answer_loss, found = losses(self._copy, batch)
        loss.backward()
        for parameter, twin in zip(self.model.parameters(), self._copy.parameters(), strict=True):
            parameter.grad = None if twin.grad is None else twin.grad.float()
            twin.grad = None
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for mover in self._movers:
            for group in mover.param_groups:
                group["lr"] = self.plan.rate_at(self.step)
            mover.step()
        self._refresh()
        self.step += 1
        self.tokens += batch.ids.numel()
        self.seconds += time.monotonic() - begun
        return answer_loss, found

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {name: getattr(self, name) for name in ("step", "tokens", "seconds")}
        movers = [mover.state_dict() for mover in self._movers]
        torch.save({**state, "model": self.model.state_dict(), "movers": movers}, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.step, self.tokens, self.seconds = (state[name] for name in ("step", "tokens", "seconds"))
        self.model.load_state_dict(state["model"])
        for mover, saved in zip(self._movers, state["movers"], strict=True):
            mover.load_state_dict(saved)
        self._refresh()

    def _refresh(self) -> None:
        """Give the copy the present weights."""
        with torch.no_grad():
            for parameter, twin in zip(self.model.parameters(), self._copy.parameters(), strict=True):
                twin.copy_(parameter)


def optimizers(model: torch.nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (https://kellerjordan.github.io/posts/muon/) for the matrices of the layers, AdamW for all else."""
    named = list(model.named_parameters())
    matrices = [value for name, value in named if value.ndim == 2 and "embed" not in name]
    others = [value for name, value in named if value.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(plan: Training, folder: Path) -> tuple[LlamaForCausalLM, Tokenizer]:
    """Train to the end of the plan, with checkpoints in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = trained_tokenizer(folder / "tokenizer.json")
    learner = Learner(new_model(tokenizer, plan), plan)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        learner.load(checkpoint)
    saved = time.monotonic()
    results = []
    for batch in batches(tokenizer, plan, learner.step):
        results.append(learner.learn(batch))
        if learner.step % REPORT_STEPS == 0:
            report(learner, results)
            results.clear()
        if learner.step == plan.steps or time.monotonic() - saved > SAVE_SECONDS:
            learner.save(checkpoint)
            saved = time.monotonic()
    return learner.model, tokenizer


def trained_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of an earlier run, or a new one, which is then kept."""
    if not path.exists():
        train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def report(learner: Learner, results: Sequence[tuple[float, float]]) -> None:
    """Print how the last steps went."""
    loss, found = (sum(column) / len(results) for column in zip(*results, strict=True))
    print(
        f"step {learner.step}: facts {learner.plan.recipe_at(learner.step - 1).max_facts}, answer loss {loss:.3f}, "
        f"answer tokens found {found:.1%}; {learner.tokens:,} tokens in {learner.seconds:.0f} s",
        flush=True,
    )


def main() -> None:
    """Train the demo model and write its files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--build", type=Path, default=HERE / "build", help="folder of the checkpoint")
    parser.add_argument("--target", type=Path, default=HERE, help="folder of the files made")
    parser.add_argument("--threads", type=int, help="default: all cores")
    for field in fields(Training):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    plan = Training(**{name: getattr(chosen, name) for name in asdict(Training())})
    model, tokenizer = train(plan, chosen.build)
    save_transformers(model, tokenizer, chosen.target / "hf")
    write_gguf(chosen.target / "hf", chosen.target / "demo-q8_0.gguf")


if __name__ == "__main__":
    main()

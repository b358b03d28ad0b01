"""CPU time of chainkit's decode loop on a transformers model beside `model.generate`, in one process, in turn.

python benchmarks/huggingface.py [ROUNDS]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers

from chainkit.backends.huggingface.models import HuggingFaceModel
from tests.backends.huggingface import tiny

PROMPT, WRITTEN, SHARED = 256, 64, 2000


def model(folder: Path) -> HuggingFaceModel:
    """A Llama of 30 million parameters with random weights."""
    config = transformers.LlamaConfig(
        vocab_size=16_000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=6,
        num_attention_heads=8,
        max_position_embeddings=4096,
        eos_token_id=None,
    )
    tiny.save(folder, transformers.LlamaForCausalLM(config), tiny.bpe())
    return HuggingFaceModel(model=str(folder), n_threads=1, max_tokens=WRITTEN)


def chainkit_seconds(llm: HuggingFaceModel, tokens: list[int], streamed: bool) -> tuple[float, float]:
    """CPU seconds for the first token and for all."""
    session = llm.session().append(tokens)
    request = llm.call(None, {})
    start = time.process_time()
    pieces = session.generate(request)
    next(pieces)
    first = time.process_time() - start
    text = "".join(piece.text for piece in pieces) if streamed else list(pieces)
    assert text is not None
    whole = time.process_time() - start
    session.close()
    return first, whole


def generate_seconds(llm: HuggingFaceModel, tokens: list[int], count: int) -> float:
    inputs = torch.tensor([tokens])
    start = time.process_time()
    llm.loaded.model.generate(
        inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=count, do_sample=False, pad_token_id=0
    )
    return time.process_time() - start


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        llm = model(Path(folder) / "llama")
        ours, theirs, first_ours, first_theirs = [], [], [], []
        for number in range(rounds + 1):
            tokens = [(number * 7919 + place * 31) % 16_000 for place in range(PROMPT)]
            first, whole = chainkit_seconds(llm, tokens, streamed=True)
            one, many = (generate_seconds(llm, tokens, count) for count in (1, WRITTEN))
            if number:  # the first round warms up
                ours.append((whole - first) / (WRITTEN - 1))
                theirs.append((many - one) / (WRITTEN - 1))
                first_ours.append(first)
                first_theirs.append(one)
        report("decode, ms per token", ours, theirs)
        report(f"prompt of {PROMPT}, ms", first_ours, first_theirs)
        prefix = [place * 17 % 16_000 for place in range(SHARED)]
        cold, _ = chainkit_seconds(llm, prefix, streamed=False)
        warm, _ = chainkit_seconds(llm, [*prefix, 5, 6, 7], streamed=False)
        print(f"shared prefix of {SHARED}: first call {cold:.3f} s, second {warm:.4f} s, ratio {warm / cold:.3f}")


def report(name: str, ours: list[float], theirs: list[float]) -> None:
    left, right = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
    print(f"{name}: chainkit {left:.2f}, generate {right:.2f}, ratio {left / right:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)

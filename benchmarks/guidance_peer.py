"""The character program on guidance 0.3.1, for benchmarks/programs.py.

It runs under the Python of an environment of its own (`pip install guidance==0.3.1 transformers==4.57.6 torch`, and
`llama-cpp-python==0.3.36` for GGUF files), since this guidance fails on transformers 5. Its argument is a model: a
folder, or a GGUF file. It takes one JSON object per line: what to do, and gives one back: CPU seconds, forward passes
and tokens read.
"""

import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CHAINKIT_PREFIX_CACHE"] = "off"  # what an earlier run has read would not be measured
sys.stdout, replies = sys.stderr, sys.stdout  # what libraries print must not come between the answers

from guidance import gen, models, select  # noqa: E402

PATTERN, ARMOR = "[1-9][0-9]", ["leather", "chainmail", "plate"]
WEAPONS = ["sword", "axe", "mace", "spear", "bow", "crossbow"]


class Counts:
    """Forward passes and the tokens in them."""

    def __init__(self):
        self.passes = self.tokens = 0

    def add(self, tokens):
        self.passes += 1
        self.tokens += tokens


def on_transformers(folder, counts):
    import torch
    import transformers

    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)  # written by transformers 5
    inner = model.forward

    def forward(input_ids=None, **kwargs):
        counts.add(input_ids.shape[1])
        return inner(input_ids=input_ids, **kwargs)

    model.forward = forward
    return models.Transformers(model, tokenizer, echo=False)


def on_llama_cpp(file, counts):
    import llama_cpp

    inner = llama_cpp.llama_decode

    def decode(context, batch):
        counts.add(batch.n_tokens)
        return inner(context, batch)

    llama_cpp.llama_decode = decode
    return models.LlamaCpp(file, echo=False, n_ctx=2048, n_threads=1, n_threads_batch=1)


def in_one(lm, head, description):
    items = [f'"{gen(f"item{number}", max_tokens=12, stop=chr(34))}"' for number in range(5)]
    return lm + (
        f'{head}```json\n{{\n    "id": "e1f491f7",\n    "description": "{description}",\n'
        f'    "name": "{gen("name", max_tokens=12, stop=chr(34))}",\n'
        f'    "age": {gen("age", regex=PATTERN)},\n'
        f'    "armor": "{select(ARMOR, name="armor")}",\n'
        f'    "weapon": "{select(WEAPONS, name="weapon")}",\n'
        f'    "class": "{gen("class", max_tokens=12, stop=chr(34))}",\n'
        f'    "mantra": "{gen("mantra", max_tokens=12, stop=chr(34))}",\n'
        f'    "strength": {gen("strength", regex=PATTERN)},\n'
        f'    "items": [{items[0]}, {items[1]}, {items[2]}, {items[3]}, {items[4]}]\n}}```'
    )


def in_statements(lm, head, description):
    lm += f'{head}```json\n{{\n    "id": "e1f491f7",\n    "description": "{description}",\n    "name": "'
    lm += gen("name", max_tokens=12, stop='"')
    lm += '",\n    "age": '
    lm += gen("age", regex=PATTERN)
    lm += ',\n    "armor": "'
    lm += select(ARMOR, name="armor")
    lm += '",\n    "weapon": "'
    lm += select(WEAPONS, name="weapon")
    lm += '",\n    "class": "'
    lm += gen("class", max_tokens=12, stop='"')
    lm += '",\n    "mantra": "'
    lm += gen("mantra", max_tokens=12, stop='"')
    lm += '",\n    "strength": '
    lm += gen("strength", regex=PATTERN)
    lm += ',\n    "items": ['
    for number in range(5):
        lm += ', "' if number else '"'
        lm += gen(f"item{number}", max_tokens=12, stop='"')
        lm += '"'
    lm += "]\n}```"
    return lm


def main(model):
    counts = Counts()
    lm = on_llama_cpp(model, counts) if model.endswith(".gguf") else on_transformers(model, counts)
    jobs = {
        "one": lambda order: str(in_one(lm, order["head"], order["description"])),
        "statements": lambda order: str(in_statements(lm, order["head"], order["description"])),
        "continue": lambda order: str(lm + order["text"] + gen("answer", max_tokens=order["tokens"], stop='"')),
    }
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        counts.passes = counts.tokens = 0
        start, wall = time.process_time(), time.perf_counter()
        text = jobs[order["do"]](order)
        spent = time.process_time() - start, time.perf_counter() - wall
        result = {"cpu": spent[0], "wall": spent[1], "passes": counts.passes, "tokens": counts.tokens, "text": text}
        print(json.dumps(result), file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

"""How a conversation becomes tokens: the chat template, and a byte-level BPE tokenizer trained on the demo's text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from . import words as w
from .data import INSTRUCTIONS, JSON_REQUEST, UNKNOWN, Message, Recipe, conversations
from .relations import SUBJECTS, attribute, lone_attribute

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLES = ("system", "user", "assistant")
SPECIAL_TOKENS = (BOS, EOS, PAD, *(f"<|{role}|>" for role in ROLES))
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
# The pre-tokenizer that GGUF calls "llama-bpe".
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPACE = "Ġ"
VOCABULARY_SIZE = 2048
CORPUS_SIZE = 30_000


def rendered(messages: Sequence[Message]) -> list[tuple[str, bool]]:
    """The pieces of a conversation in the order of the chat template, each with whether the model says it."""
    pieces = [(BOS, False)]
    for one in messages:
        pieces.append((f"<|{one['role']}|>\n", False))
        pieces.append((f"{one['content']}{EOS}", one["role"] == "assistant"))
        pieces.append(("\n", False))
    return pieces


def encoded(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation and, for each, whether the model is to say it."""
    ids: list[int] = []
    spoken: list[bool] = []
    for text, by_model in rendered(messages):
        piece = tokenizer.encode(text, add_special_tokens=False).ids
        ids += piece
        spoken += [by_model] * len(piece)
    return ids, spoken


def train_tokenizer(seed: int = 0) -> Tokenizer:
    """A tokenizer that spells a word the same with and without a space before it.

    An answer begins without the space that its words have in the context. If the space were part of their tokens,
    to copy a word would mean to know both spellings of each token; so only words of the sentence templates, which
    are never an answer, carry their space.
    """
    counts = word_counts(seed)
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    joined = template_words()
    extra = [("{", '"'), ('"', ":"), ('"', "}")]
    size = VOCABULARY_SIZE - len(SPECIAL_TOKENS) - len(extra) - len(joined)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    base.train_from_iterator(repeated(counts), trainer)
    vocabulary, merges = vocabulary_and_merges(base)
    extra += [(SPACE, word) for word in joined if word in vocabulary]
    for left, right in extra:
        vocabulary[left + right] = len(vocabulary)
    return assembled(vocabulary, merges + extra)


def word_counts(seed: int) -> Counter[str]:
    """How often each word, and each pair of digits, stands in the training text."""
    counts: Counter[str] = Counter({f"{number:02d}": CORPUS_SIZE for number in range(100)})
    counts.update(dict.fromkeys(template_words(), CORPUS_SIZE))
    for one in islice(conversations(seed, Recipe()), CORPUS_SIZE):
        for text in (part["content"] for part in one):
            counts.update(re.findall(r"[^\W\d_]+", text))
    return counts


def repeated(counts: Counter[str]) -> Iterator[list[str]]:
    """Each word as often as it was counted."""
    for word, count in sorted(counts.items()):
        yield [word] * count


def template_words() -> list[str]:
    """The words of all templates and instructions that no name or value contains."""
    relations = [one for subject in SUBJECTS for one in subject.relations]
    relations += [attribute("", w.anything), lone_attribute(w.anything)]
    texts = [text for one in relations for text in (*one.facts, *one.questions)]
    texts += [*INSTRUCTIONS, UNKNOWN, JSON_REQUEST, "Question: Context:"]
    found = set(re.findall(r"[^\W\d_]+", " ".join(texts)))
    lists = (value for value in vars(w).values() if isinstance(value, list))
    return sorted(found - {word for words in lists for word in words} - {"e", "v"})


def vocabulary_and_merges(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The parts of a BPE model."""
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def assembled(vocabulary: dict[str, int], merges: Iterable[tuple[str, str]]) -> Tokenizer:
    """A tokenizer of these parts, with the special tokens at the end and a begin token before each text."""
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges), ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def for_transformers(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers loads it, with the chat template."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast

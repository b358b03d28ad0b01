"""Tiny transformers models with random weights and tokenizers of their own, saved as a hub would have them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BloomConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.bloom import BloomForCausalLM
from transformers.models.mistral import MistralConfig, MistralForCausalLM
from transformers.models.qwen3 import Qwen3ForCausalLM

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT = """the cat sat on the mat and the dog ran to the cat. Once there was a small house near the sea;
the house was red and the sea was blue. What is the colour of the house?
 The colour of the house is red. 12 and 30 are 42."""
CONTEXT = 256
KINDS = ("llama", "gpt2", "qwen3", "bloom", "mistral")


@cache
def bpe() -> PreTrainedTokenizerFast:
    """A byte-level BPE, as GPT-2, Llama 3 and Qwen have it, with the special tokens of ChatML."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )


@cache
def spm() -> PreTrainedTokenizerFast:
    """Llama 2's kind: U+2581 for a space, bytes for what has no token, <s> before a text."""
    alphabet = sorted({character for character in _TEXT if character.strip()} | {"\u2581"})
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet]
    merges: list[tuple[str, str]] = []
    for word in sorted({word.strip(".;?") for word in _TEXT.split()}):
        for end in range(1, len(word) + 1):
            piece = "\u2581" + word[:end]
            if piece not in pieces:
                pieces.append(piece)
                merges.append((piece[:-1], piece[-1]))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@cache
def unigram() -> PreTrainedTokenizerFast:
    """T5's kind: a unigram model, </s> behind a text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([_TEXT] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=128
    )


def causal(kind: str, tokenizer: Any = None) -> PreTrainedModel:
    """A model of some 50,000 parameters whose logits are far apart, so that rounding changes no choice."""
    tokenizer = tokenizer or bpe()
    shared = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    llama = shared | {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False,
    }
    torch.manual_seed(1)
    model: PreTrainedModel
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**llama))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**llama, head_dim=8))
    elif kind == "mistral":  # the window is shorter than the texts of the tests
        model = MistralForCausalLM(MistralConfig(**llama, sliding_window=16))
    elif kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(**shared, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT))
    else:
        model = BloomForCausalLM(BloomConfig(**shared, hidden_size=32, n_layer=2, n_head=4))
    return _spread(model)


def seq2seq() -> PreTrainedModel:
    """A T5 of the same size."""
    torch.manual_seed(2)
    config = T5Config(
        vocab_size=len(unigram()),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    return _spread(T5ForConditionalGeneration(config))


def save(folder: Path, model: PreTrainedModel, tokenizer: Any, **options: Any) -> str:
    """Write both as a hub would have them; returns the folder's name."""
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _spread(model: PreTrainedModel) -> PreTrainedModel:
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() == 2:
                scale = 4.0 if name.endswith(("wte.weight", "word_embeddings.weight", "lm_head.weight")) else 2.0
                weights.normal_(0, scale / weights.shape[1] ** 0.5)
    return model.eval()

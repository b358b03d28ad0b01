"""The size of a model from its config alone, for the family of Llama."""

from __future__ import annotations

from chainkit.upscaling.config import Config

_LLAMA_LIKE = {"llama", "mistral"}


def parameters(config: Config) -> int | None:
    """Numbers in the weights of a Llama or Mistral; None for other models, whose layers have other parts.

    >>> solar = {"model_type": "llama", "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 14_336}
    >>> solar |= {"num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 8}
    >>> parameters(solar)
    10731524096
    """
    if config.get("model_type") not in _LLAMA_LIKE:
        return None
    try:
        width, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
        vocabulary, layers = config["vocab_size"], config["num_hidden_layers"]
    except KeyError:
        return None
    shared = config.get("num_key_value_heads") or heads
    length = config.get("head_dim") or width // heads
    attention = 2 * width * heads * length + 2 * width * shared * length
    biases = (heads + 2 * shared) * length + width if config.get("attention_bias") else 0
    biases += 2 * inner + width if config.get("mlp_bias") else 0
    layer = attention + biases + 3 * width * inner + 2 * width
    tables = vocabulary * width * (1 if config.get("tie_word_embeddings") else 2)
    return tables + layers * layer + width

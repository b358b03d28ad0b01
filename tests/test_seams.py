"""Settings, tokenizers and templates, whatever they hold: a result or a named error.

The seams of hosted replies, GGUF headers, safetensors and hubs have theirs beside what reads them.
"""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")
from chainkit.backends.sentence.tokens import Tokens
from chainkit.base.errors import ChainkitError, ModelFileError, TemplateError
from chainkit.local.template import ChatTemplate
from chainkit.sizing import PIS
from chainkit.sizing.shapes import config_model
from chainkit.sizing.verdict import judge
from tests.seams import seam

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 1 << 40) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "model_type",
    "architectures",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
    "tie_word_embeddings",
    "torch_dtype",
    "sliding_window",
    "layer_types",
    "n_embd",
    "n_layer",
    "num_experts",
    "text_config",
    "quantization_config",
    "rope_scaling",
    "kv_lora_rank",
]
LLAMA = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


@seam
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), st.booleans())
def test_any_config_is_planned_or_named(changes: dict[str, Any], from_llama: bool) -> None:
    with suppress(ChainkitError):
        judge(config_model("x", {**(LLAMA if from_llama else {}), **changes}), PIS["pi4-2gb"])


def tokenizer_json() -> dict[str, Any]:
    """A tokenizer with every part that such files have."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##c", "word"]
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": word,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, word in enumerate(words[:4])
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
                {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "},
            ],
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: number for number, word in enumerate(words)},
        },
    }


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value could be changed."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


PLACES = places(tokenizer_json())[1:]


def damaged(changes: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    tree = copy.deepcopy(tokenizer_json())
    for path, value in changes:
        with suppress(KeyError, IndexError, TypeError):
            node: Any = tree
            for key in path[:-1]:
                node = node[key]
            node[path[-1]]
            if value == "gone":
                del node[path[-1]]
            else:
                node[path[-1]] = value
    return tree


@seam
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.just("gone") | VALUES), min_size=1, max_size=3))
def test_any_tokenizer_reads_a_text_or_is_named(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "tokenizer"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(damaged(changes)))
    with suppress(ChainkitError):
        Tokens(folder, 16).encoded(["a word abc \u4e2d \0", ""])


def written(folder: Path, **changes: Any) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json() | changes))
    return folder


def test_a_tokenizer_may_not_make_a_text_a_million_times_longer(tmp_path: Path) -> None:
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    written(tmp_path, normalizer={"type": "Sequence", "normalizers": [double] * 20})
    with pytest.raises(ModelFileError, match="normalizer that makes a text 1048576 times longer"):
        Tokens(tmp_path, 16)
    nested = {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [double] * 10}] * 2}
    written(tmp_path, normalizer=nested)
    with pytest.raises(ModelFileError, match="1048576 times"):
        Tokens(tmp_path, 16)
    written(tmp_path, normalizer={"type": "Replace", "pattern": {"Regex": ""}, "content": "x" * 1000})
    with pytest.raises(ModelFileError, match="1001 times"):
        Tokens(tmp_path, 16)


def test_a_tokenizer_may_not_repeat_a_text(tmp_path: Path) -> None:
    processor = tokenizer_json()["post_processor"]
    again = {"Sequence": {"id": "A", "type_id": 0}}
    written(tmp_path, post_processor={**processor, "single": [again] * 1000})
    with pytest.raises(ModelFileError, match="repeats it 1000 times"):
        Tokens(tmp_path, 16)
    many = {**processor["special_tokens"], "[CLS]": {"id": "[CLS]", "ids": [2] * 2000, "tokens": ["[CLS]"] * 2000}}
    written(tmp_path, post_processor={**processor, "special_tokens": many})
    with pytest.raises(ModelFileError, match="puts 2001 tokens around"):
        Tokens(tmp_path, 16)


ATOMS = st.sampled_from(
    [
        *("messages", "messages[0]", "message.content", "x", "none", "'a'", "1", "2.5", "[1]", "{'a': 1}", "bos_token"),
        *("ns.x", "range(9)", "namespace(x=1)", "strftime_now('%Y')", "raise_exception('no')", "loop.index", "''"),
        "tools",
    ]
)
FILTERS = [
    "trim",
    "upper",
    "length",
    "list",
    "tojson",
    "join",
    "first",
    "last",
    "string",
    "int",
    "float",
    "sort",
    "reverse",
    "items",
    "dictsort",
    "map",
    "default",
    "abs",
    "sum",
    "unique",
    "batch",
    "slice",
    "groupby",
    "indent",
    "replace",
    "selectattr",
    "wordcount",
    "urlize",
    "striptags",
    "random",
    "round",
    "center",
    "format",
]
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or"]
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(FILTERS)).map("({0[0]} | {0[1]})".format)
        | st.tuples(inner, st.sampled_from(OPERATORS), inner).map("({0[0]} {0[1]} {0[2]})".format)
        | st.tuples(inner, inner).map("{0[0]}[{0[1]}]".format)
        | inner.map("{}.strip()".format)
        | inner.map("(not {})".format)
    ),
    max_leaves=5,
)
PIECES = st.recursive(
    EXPRESSIONS.map("{{{{ {} }}}}".format) | st.sampled_from(["text", "{%", "}}", "{% break %}", "{# #}", "\n", "{{"]),
    lambda inner: (
        st.tuples(EXPRESSIONS, inner).map("{{% for message in {0[0]} %}}{0[1]}{{% endfor %}}".format)
        | st.tuples(EXPRESSIONS, inner).map("{{% if {0[0]} %}}{0[1]}{{% endif %}}".format)
        | st.tuples(EXPRESSIONS, inner).map("{{% set x = {0[0]} %}}{0[1]}".format)
        | st.tuples(inner, inner).map("".join)
        | inner.map("{{% macro m(a) %}}{}{{% endmacro %}}{{{{ m(1) }}}}".format)
    ),
    max_leaves=5,
)


@seam
@given(PIECES)
def test_any_template_renders_or_is_named(source: str) -> None:
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": None}]
    with suppress(TemplateError):
        assert isinstance(ChatTemplate(source).render(messages, bos_token="<s>", tools=None), str)

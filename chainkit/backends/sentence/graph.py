"""The graph of a BERT-like encoder, written node by node; its weights stay in their own file.

Devlin et al. 2018, "BERT: Pre-training of Deep Bidirectional Transformers", section 3; RoBERTa and XLM-RoBERTa differ
only in where positions start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chainkit.backends.sentence.blocks import BLOCK, CODES, SCALES, in_blocks
from chainkit.backends.sentence.onnx_file import FLOAT, INT64, UINT8, constant, external, model, node, value
from chainkit.base.errors import ModelFileError, Unsupported

WeightsAs = Literal["external", "blocks", "inputs"]
"""How a graph reads its weights.

`external`: initializers with external data, for onnxruntime; `blocks`: likewise, with most matrices as those of
`blocks.py`; `inputs`: to be replaced by constants, for OpenVINO.
"""

_VERSION = 2  # raise it when the graph changes: stored graphs carry it in their name
_OPSET = 20  # the first with Gelu
_IR = 10
_ACTIVATIONS = {"gelu": ("Gelu", {}), "relu": ("Relu", {}), "gelu_new": ("Gelu", {"approximate": "tanh"})}
_LAYER_PARTS = (
    *(f"attention.self.{part}" for part in ("query", "key", "value")),
    *("attention.output.dense", "attention.output.LayerNorm"),
    *("intermediate.dense", "output.dense", "output.LayerNorm"),
)
_MASKED = 30_000.0  # taken from the score of a padding token; exp(-30000) is 0 in every precision, and float16 holds it


@dataclass(frozen=True, kw_only=True)
class SentenceEncoder:
    """The measures of an encoder.

    Attributes:
        layers: L.
        width: D, the length of a token's state.
        heads: H; D / H is a whole number.
        first_position: Position of the first token; RoBERTa starts after its padding.
        prefix: Prefix of every tensor name, `bert.` in checkpoints of whole models.
    """

    layers: int
    width: int
    heads: int
    epsilon: float
    activation: str = "gelu"
    first_position: int = 0
    prefix: str = ""


def read_encoder(config: Mapping[str, Any], names: Sequence[str], source: object) -> SentenceEncoder:
    """The measures from a config.json and the names of the tensors.

    Raises:
        Unsupported: Another architecture.
        ModelFileError: The tensors are not those of the architecture.
    """
    kind = config.get("model_type")
    if kind not in {"bert", "roberta", "xlm-roberta", "camembert"} or config.get("is_decoder"):
        raise Unsupported(
            f"{source}: no graph can be written for a model of type '{kind}'; "
            "a folder with onnx/model.onnx works for any type"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise Unsupported(f"{source}: relative positions are not known; a folder with onnx/model.onnx works")
    if config.get("hidden_act", "gelu") not in _ACTIVATIONS:
        raise Unsupported(f"{source}: activation '{config['hidden_act']}' is not known")
    ending = "embeddings.word_embeddings.weight"
    prefix = next((name.removesuffix(ending) for name in names if name.endswith(ending)), None)
    if prefix is None:
        raise ModelFileError(source, f"has no tensor '{ending}'")
    try:
        return SentenceEncoder(
            layers=int(config["num_hidden_layers"]),
            width=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            activation=config.get("hidden_act", "gelu"),
            first_position=0 if kind == "bert" else int(config.get("pad_token_id", 1)) + 1,
            prefix=prefix,
        )
    except KeyError as error:
        raise ModelFileError(source, f"config.json lacks {error}") from error


def weight_names(encoder: SentenceEncoder, names: Collection[str], source: object) -> list[str]:
    """The tensors that the graph reads, in a file that has those names.

    Raises:
        ModelFileError: One is missing.
    """
    wanted = [f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    pairs = ["embeddings.LayerNorm"]
    pairs += [f"encoder.layer.{layer}.{part}" for layer in range(encoder.layers) for part in _LAYER_PARTS]
    wanted += [f"{pair}.{kind}" for pair in pairs for kind in ("weight", "bias")]
    found = [encoder.prefix + name for name in wanted]
    missing = [name for name in found if name not in names]
    if missing:
        raise ModelFileError(
            source, f"lacks the tensor '{missing[0]}' and {len(missing) - 1} others of its architecture"
        )
    return found


def graph_name(encoder: SentenceEncoder, shapes: Mapping[str, Sequence[int]], weights_as: WeightsAs) -> str:
    """A file name that is the same for the same graph only."""
    text = repr((_VERSION, _OPSET, BLOCK, encoder, sorted((name, tuple(shape)) for name, shape in shapes.items())))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:24]}-{weights_as}.onnx"


def write_graph(encoder: SentenceEncoder, shapes: Mapping[str, Sequence[int]], weights_as: WeightsAs) -> bytes:
    """The ONNX model: `input_ids` and `attention_mask` (int64, B x T) in, `states` (float32, B x T x D) out.

    Args:
        encoder: The measures.
        shapes: Shape of each of the `weight_names`.
        weights_as: How the weights will be given to the runtime, by their names in the file.
    """
    return _Writer(encoder, shapes, weights_as).model()


class _Writer:
    """Collects nodes; every method returns the name of its result."""

    def __init__(self, encoder: SentenceEncoder, shapes: Mapping[str, Sequence[int]], weights_as: WeightsAs) -> None:
        self.encoder = encoder
        self.shapes = shapes
        self.weights_as = weights_as
        self.nodes: list[bytes] = []
        self.constants: dict[str, bytes] = {}
        self.weights: dict[str, bytes] = {}

    def model(self) -> bytes:
        states = self.embedded()
        bias = self.mask()
        for layer in range(self.encoder.layers):
            states = self.layer(states, bias, f"encoder.layer.{layer}.")
        self.nodes.append(node("Identity", [states], "states", {}))
        inputs = [value(name, INT64, ["B", "T"]) for name in ("input_ids", "attention_mask")]
        weights = list(self.weights.values())
        given = self.weights_as == "inputs"
        return model(
            nodes=self.nodes,
            inputs=inputs + weights if given else inputs,
            outputs=[value("states", FLOAT, ["B", "T", self.encoder.width])],
            tensors=[*self.constants.values(), *([] if given else weights)],
            opsets={"": _OPSET, "com.microsoft": 1},
            version=_IR,
        )

    def embedded(self) -> str:
        start = self.encoder.first_position
        length = self.op("Gather", self.op("Shape", "input_ids"), self.ints(1, scalar=True))  # T
        end = self.op("Unsqueeze", self.op("Add", length, self.ints(start, scalar=True)), self.ints(0))
        positions = self.weight("embeddings.position_embeddings.weight")
        places = self.op("Slice", positions, self.ints(start), end, self.ints(0))
        kind = self.op("Gather", self.weight("embeddings.token_type_embeddings.weight"), self.ints(0, scalar=True))
        words = self.op("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids")
        return self.norm(self.op("Add", words, self.op("Add", places, kind)), "embeddings.LayerNorm")

    def mask(self) -> str:
        mask = self.op("Cast", "attention_mask", to=FLOAT)
        bias = self.op("Mul", self.op("Sub", mask, self.float(1.0)), self.float(_MASKED))
        return self.op("Unsqueeze", bias, self.ints(1, 2))  # B x 1 x 1 x T

    def layer(self, states: str, bias: str, name: str) -> str:
        attended = self.linear(self.attention(states, bias, name), f"{name}attention.output.dense")
        states = self.norm(self.op("Add", attended, states), f"{name}attention.output.LayerNorm")
        kind, attributes = _ACTIVATIONS[self.encoder.activation]
        inner = self.op(kind, self.linear(states, f"{name}intermediate.dense"), **attributes)
        return self.norm(self.op("Add", self.linear(inner, f"{name}output.dense"), states), f"{name}output.LayerNorm")

    def attention(self, states: str, bias: str, name: str) -> str:
        each = self.encoder.width // self.encoder.heads
        split = self.ints(0, 0, self.encoder.heads, each)
        query, key, value = (
            self.op("Reshape", self.linear(states, f"{name}attention.self.{part}"), split)
            for part in ("query", "key", "value")
        )
        query = self.op("Transpose", query, perm=[0, 2, 1, 3])  # B x H x T x D/H
        key = self.op("Transpose", key, perm=[0, 2, 3, 1])
        value = self.op("Transpose", value, perm=[0, 2, 1, 3])
        scores = self.op("MatMul", self.op("Mul", query, self.float(each**-0.5)), key)
        mixed = self.op("MatMul", self.op("Softmax", self.op("Add", scores, bias), axis=-1), value)
        return self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), self.ints(0, 0, self.encoder.width))

    def linear(self, states: str, name: str) -> str:
        if self.weights_as == "blocks" and in_blocks(f"{name}.weight"):
            return self.op("Add", self.block_product(states, f"{name}.weight"), self.weight(f"{name}.bias"))
        # the file keeps matrices as out x in; the runtimes fold the transposition when they load
        matrix = self.op("Transpose", self.weight(f"{name}.weight"), perm=[1, 0])
        return self.op("Add", self.op("MatMul", states, matrix), self.weight(f"{name}.bias"))

    def block_product(self, states: str, matrix: str) -> str:
        rows, columns = self.shapes[self.encoder.prefix + matrix]
        codes, scales = (self.weight(matrix + ending) for ending in (CODES, SCALES))
        form = {"N": rows, "K": columns, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}  # 4: products of int8
        return self.op("MatMulNBits", states, codes, scales, domain="com.microsoft", **form)

    def norm(self, states: str, name: str) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", states, scale, bias, axis=-1, epsilon=self.encoder.epsilon)

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(node(kind, inputs, output, attributes, domain))
        return output

    def ints(self, *values: int, scalar: bool = False) -> str:
        name = f"int_{'_'.join(map(str, values))}{'_scalar' if scalar else ''}"
        self.constants[name] = constant(name, values, INT64, scalar=scalar)
        return name

    def float(self, number: float) -> str:
        name = f"float_{number}"
        self.constants[name] = constant(name, [number], FLOAT, scalar=True)
        return name

    def weight(self, name: str) -> str:
        name = self.encoder.prefix + name
        if name not in self.weights:
            given = self.weights_as == "inputs"
            self.weights[name] = value(name, FLOAT, self.shapes[name]) if given else self._external(name)
        return name

    def _external(self, name: str) -> bytes:
        kind, shape = FLOAT, self.shapes[name.removesuffix(CODES).removesuffix(SCALES)]
        if name.endswith((CODES, SCALES)):
            rows, columns = shape
            blocks = -(-columns // BLOCK)
            kind, shape = (UINT8, (rows, blocks, BLOCK)) if name.endswith(CODES) else (kind, (rows, blocks))
        return external(name, shape, kind, "model.safetensors")

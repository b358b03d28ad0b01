"""The shape of a model, as far as memory depends on it, for any file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Format = Literal["gguf", "transformers"]


MOST_LAYERS = 10_000  # ten times the deepest there are; a damaged count would otherwise fill the memory


@dataclass(frozen=True, slots=True)
class WeightShape:
    """One tensor.

    Attributes:
        name: As in the file.
        type: How its values are stored, in capitals: "Q4_K", "F16", "BF16".
        shape: Innermost dimension first.
        nbytes: Its length in the file.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class Layer:
    """The KV cache of one layer.

    Attributes:
        keys: Values stored for each token as its key; heads that share a key count once.
        values: The same for its value.
        window: Number of tokens that the layer attends to; None: all.
        state: Bytes that do not grow with the text, for each text (recurrent layers).
    """

    keys: int
    values: int
    window: int | None = None
    state: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A model as its header describes it.

    Attributes:
        name: For people.
        format: Which of the local backends runs it.
        architecture: "llama", "bloom", ...
        weights: All tensors.
        layers: All layers.
        width: Length of the vectors between layers.
        inner: Width of the feed-forward part that is computed for a token.
        heads: Of attention.
        vocabulary: Tokens that have a logit.
        merges: Merge rules of a byte-level BPE vocabulary.
        trained_context: Longest text in training, in tokens; None if the header does not say.
    """

    name: str
    format: Format
    architecture: str
    weights: tuple[WeightShape, ...] = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)
    width: int
    inner: int
    heads: int
    vocabulary: int
    merges: int = 0
    trained_context: int | None = None

    @property
    def parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(weight.values for weight in self.weights)

    @property
    def weight_bytes(self) -> int:
        """Length of all tensors as they are stored."""
        return sum(weight.nbytes for weight in self.weights)

    @property
    def by_type(self) -> Mapping[str, int]:
        """Bytes of the tensors of each type, the most first."""
        sums: dict[str, int] = {}
        for weight in self.weights:
            sums[weight.type] = sums.get(weight.type, 0) + weight.nbytes
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    @property
    def quantization(self) -> str:
        """The type that most of the bytes have."""
        return next(iter(self.by_type), "")

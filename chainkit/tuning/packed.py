"""A decoder's pass over rows of unequal length without padding, what they begin with computed once for all of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainkit.backends.huggingface.libraries import torch
from chainkit.tuning.batches import EncodedExample, answer_logits, batch_of
from chainkit.tuning.model import Base

# models of transformers whose blocks are those of `Packed`; each is compared with its own pass before it is used
_KNOWN = frozenset({"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})
_PROBE = (9, 5, 2)  # tokens of the rows of the comparison


@dataclass(frozen=True)
class _Layout:
    """Where tokens lie: side by side, N of them with what rows share first, and as rows of a batch.

    Attributes:
        tokens: The common prefix of all prompts, then the rest of each text, [N - v] after the v virtual ones.
        positions: Of all tokens, the virtual ones included, [1, N].
        rows: For each place of the batch its token, [B * S]; places that hold none name token 0.
        flat: For each token its place in the batch, [N].
        asked: The tokens whose next one belongs to an answer, [A].
        answers: Those next ones, [A].
        shape: (B, S).
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor
    flat: torch.Tensor
    asked: torch.Tensor
    answers: torch.Tensor
    shape: tuple[int, int]


class Packed:
    """The pass of a Llama-like model, for losses of answers.

    The activations of a soft prompt, and of the common prefix of a batch, do not depend on later tokens, so all rows
    share them; texts are concatenated, so that only attention is computed for padding; and the last layer is computed
    only for answers. It is the same function of the same weights.
    """

    def __init__(self, base: Base) -> None:
        self._base, self._body, config = base, base.model.model, base.loaded.config
        self._heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        window = getattr(config, "sliding_window", None)
        self._longest = int(window) if window else None

    def reads(self, examples: Sequence[EncodedExample], virtual: int) -> bool:
        """Whether these are short enough: a window that attention slides over texts is not known here."""
        return self._longest is None or virtual + max(one.length for one in examples) <= self._longest

    def answer_logits(
        self, examples: Sequence[EncodedExample], vectors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The scores where answers are, [A, V], and the answers' tokens, [A], of one example after the other."""
        layout = _layout(examples, len(vectors), self._base.loaded.device)
        with torch.no_grad():
            texts = self._base.embed(layout.tokens)
            angles = self._body.rotary_emb(texts, layout.positions)
        turns = angles[0][0, :, None], angles[1][0, :, None]
        now = torch.cat([vectors.to(texts.dtype), texts])
        for layer in self._body.layers[:-1]:
            now = self._layer(layer, now, turns, layout, None)
        now = self._layer(self._body.layers[-1], now, turns, layout, layout.asked)
        return self._base.model.lm_head(_normed(self._body.norm, now)).float(), layout.answers

    def _layer(
        self, layer: Any, now: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], layout: _Layout, only: Any
    ) -> torch.Tensor:
        """One block over tokens [N, D]; with `only`, the part after attention is computed for those tokens alone."""
        seen = self._attention(layer.self_attn, _normed(layer.input_layernorm, now), turns, layout)
        if only is not None:
            now, seen = now.index_select(0, only), seen.index_select(0, layout.flat.index_select(0, only))
        else:
            seen = seen.index_select(0, layout.flat)
        now = now + layer.self_attn.o_proj(seen)
        inner = _normed(layer.post_attention_layernorm, now)
        mlp = layer.mlp
        return now + mlp.down_proj(mlp.act_fn(mlp.gate_proj(inner)) * mlp.up_proj(inner))

    def _attention(
        self, attention: Any, inner: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], layout: _Layout
    ) -> torch.Tensor:
        """What each place of the batch has seen, [B * S, H * d]; rows begin with the virtual tokens and are causal."""
        heads, shared = self._heads
        queries = attention.q_proj(inner).view(len(inner), heads, -1)
        keys = attention.k_proj(inner).view(len(inner), shared, -1)
        values = attention.v_proj(inner).view(len(inner), shared, -1)
        if hasattr(attention, "q_norm"):
            queries, keys = _normed(attention.q_norm, queries), _normed(attention.k_norm, keys)
        batch, width = layout.shape
        rows = _turned(queries, keys, values, *turns).index_select(0, layout.rows)
        rows = rows.view(batch, width, heads + 2 * shared, -1).transpose(1, 2)
        queries, keys, values = rows.split([heads, shared, shared], 1)
        seen = torch.nn.functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=attention.scaling, enable_gqa=heads != shared
        )
        return seen.transpose(1, 2).reshape(batch * width, -1)


def packed(base: Base) -> Packed | None:
    """The packed pass of a model, if its blocks are known and its logits equal those of the regular pass."""
    config = base.loaded.config
    known = type(base.model).__name__ in _KNOWN and len(getattr(base.model, "hf_device_map", None) or ()) < 2
    if not known or getattr(config, "hidden_size", 0) != base.width:
        return None
    found, size = Packed(base), base.vocabulary.size
    tokens = [[(7 * row + 3 * place) % size for place in range(count)] for row, count in enumerate(_PROBE)]
    examples = [EncodedExample(tuple(line[:-1]), tuple(line[-1:])) for line in tokens]
    if not found.reads(examples, 2):
        return None
    with torch.inference_mode():
        vectors = base.embed(torch.tensor([0, size // 2], device=base.loaded.device)).float()
        ours, _ = found.answer_logits(examples, vectors)
        batch = batch_of(examples, len(vectors), base.loaded.device)
        theirs = answer_logits(base, batch, vectors)[:, 0]
    allowed = 1e-3 if base.dtype == torch.float32 else 0.1
    return found if float((ours - theirs).abs().max()) <= allowed * float(theirs.std()) else None


def _layout(examples: Sequence[EncodedExample], virtual: int, device: Any) -> _Layout:
    common = _common([one.prompt for one in examples])
    shared, width = virtual + len(common), virtual + max(one.length for one in examples)
    tokens, positions, answers = list(common), list(range(shared)), list[int]()
    rows, flat, asked = list[int](), list(range(shared)), list[int]()
    for row, one in enumerate(examples):
        own = [*one.prompt, *one.answer][len(common) :]
        places = [*range(shared), *range(virtual + len(tokens), virtual + len(tokens) + len(own))]
        tokens += own
        positions += range(shared, len(places))
        flat += range(row * width + shared, row * width + len(places))
        rows += places + [0] * (width - len(places))
        asked += places[virtual + len(one.prompt) - 1 : -1]
        answers += one.answer

    def held(numbers: Any) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=device)

    shape = len(examples), width
    return _Layout(held(tokens), held([positions]), held(rows), held(flat), held(asked), held(answers), shape)


def _common(prompts: Sequence[tuple[int, ...]]) -> list[int]:
    """What all begin with."""
    first, last = min(prompts), max(prompts)  # whatever these two share, those between them do as well
    equal = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return [token for token, _ in equal]


class _Norm(torch.autograd.Function):
    """Root mean square norm with weights that are not trained: two saved tensors, few passes over them."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """[.., D] by its own length, times a weight [D]."""
        exact = values.float()
        scale = exact.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        ctx.save_for_backward(values, weight, scale)
        return (exact * scale).to(values.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The slope of the values."""
        values, weight, scale = ctx.saved_tensors
        exact, slope = values.float(), slopes[0].float() * weight.float()
        along = (slope * exact).mean(-1, keepdim=True).mul_(scale * scale)
        return slope.addcmul_(exact, along, value=-1).mul_(scale).to(values.dtype), None, None


class _Turn(torch.autograd.Function):
    """Queries, keys and values [N, H, d] as one tensor [N, 3 * H, d], the first two at their rotary positions.

    Cosines and sines are [N, 1, d]; the slope is turned back by the same angles.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        cosines: torch.Tensor,
        sines: torch.Tensor,
    ) -> torch.Tensor:
        """Each pair of halves, turned."""
        ctx.save_for_backward(cosines, sines)
        parts = [queries.shape[1], keys.shape[1], values.shape[1]]
        ctx.parts = parts
        together = queries.new_empty(len(queries), sum(parts), queries.shape[2])
        for part, given in zip(together.split(parts, 1), (queries, keys), strict=False):
            _turn(given, cosines, sines, 1, part)
        together[:, -parts[2] :] = values
        return together

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The slopes of queries, keys and values."""
        queries, keys, values = slopes[0].split(ctx.parts, 1)
        cosines, sines = ctx.saved_tensors
        back = [_turn(slope, cosines, sines, -1, torch.empty_like(slope)) for slope in (queries, keys)]
        return *back, values, None, None


def _turn(
    values: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, way: int, turned: torch.Tensor
) -> torch.Tensor:
    half = values.shape[-1] // 2
    torch.mul(values, cosines, out=turned)
    turned[..., :half].addcmul_(values[..., half:], sines[..., :half], value=-way)
    turned[..., half:].addcmul_(values[..., :half], sines[..., half:], value=way)
    return turned


def _turned(*values: torch.Tensor) -> torch.Tensor:
    """As `_Turn`, [N, 3 * H * d]."""
    return _Turn.apply(*values).flatten(1)  # type: ignore[no-any-return]


def _normed(norm: Any, values: torch.Tensor) -> torch.Tensor:
    return _Norm.apply(values, norm.weight, norm.variance_epsilon)  # type: ignore[no-any-return]

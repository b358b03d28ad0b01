"""`huggingface:` as a reranker: cross-encoders, which are classifiers of pairs of texts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.backends.huggingface.loading import Loading, read
from chainkit.base.errors import ContextOverflow, Unsupported
from chainkit.local.kept import Kept
from chainkit.local.reranker import Reranker
from chainkit.local.settings import none_from_text

_UNBOUNDED = 1 << 30  # a tokenizer without a limit says 10**30
_SCORED = 2  # a classifier into no and yes


class HuggingFaceReranker(Reranker):
    """A cross-encoder of transformers: bge-reranker, ms-marco-MiniLM and the like.

    Attributes:
        model: A folder with config.json, tokenizer and safetensors files, or a name on the hub.
        context_length: Tokens that question and passage may have together; None: what the model has positions for.
        batch_size: Passages computed at once.
        normalize: Scores from 0 to 1; otherwise as the model says them.
        dtype: "auto" is what the weights were saved as.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU if there is one.
        revision: A branch, tag or commit on the hub.
        use_safetensors: False also loads weights in Python's pickle format; only from people you trust.
        trust_remote_code: Run Python files that come with the model; only from people you trust.
        local_files_only: Never ask the hub.
        int8: "dynamic": weights in 8 bits by torch itself, on a CPU.
    """

    model: str
    context_length: int | None = Field(default=None, ge=8, le=1 << 20)
    batch_size: int = Field(default=16, ge=1, le=1024)
    normalize: bool = True
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str | None = None
    revision: str | None = None
    use_safetensors: bool = True
    trust_remote_code: bool = False
    local_files_only: bool = False
    int8: Literal["dynamic"] | None = None

    _held: Kept[tuple[Any, Any]] = PrivateAttr(default_factory=Kept)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @field_validator("context_length", "device", "revision", "int8", mode="before")
    @classmethod
    def _none_in_a_spec(cls, value: Any) -> Any:
        return none_from_text(value)

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers, in their order.

        Raises:
            ContextOverflow: A text is too long to be read with the question; nothing has been computed then.
            ModelFileError: There is no such model, or it is of another kind.
        """
        if not texts:
            return []
        model, tokenizer = self._parts
        with self._lock, torch.inference_mode():
            pairs = [tokenizer(query, text, truncation=False, verbose=False) for text in texts]
            self._require_room(model, tokenizer, max(len(pair["input_ids"]) for pair in pairs))
            found = torch.zeros(len(texts), dtype=torch.float64)
            for places in _groups([len(pair["input_ids"]) for pair in pairs], self.batch_size):
                batch = tokenizer.pad([pairs[place] for place in places], return_tensors="pt").to(model.device)
                found[places] = _one_score(model(**batch).logits).double().cpu()
        return (found.sigmoid() if self.normalize else found).tolist()

    def token_counts(self, query: str, texts: Sequence[str]) -> list[int]:
        """How many tokens the model reads for each text, the question included."""
        _, tokenizer = self._parts
        return [len(tokenizer(query, text, truncation=False, verbose=False)["input_ids"]) for text in texts]

    def load(self) -> None:
        """Load now what the first question would load."""
        _ = self._parts

    def unload(self) -> None:
        """Free the memory; the next call loads the model again."""
        self._held.clear()

    @property
    def _parts(self) -> tuple[Any, Any]:
        loading = Loading(
            dtype=self.dtype,
            device=self.device,
            revision=self.revision,
            use_safetensors=self.use_safetensors,
            trust_remote_code=self.trust_remote_code,
            local_files_only=self.local_files_only,
            quantization="int8" if self.int8 else None,
        )
        return self._held.value((self.model, loading), lambda: _opened(self.model, loading))

    def _require_room(self, model: Any, tokenizer: Any, longest: int) -> None:
        positions = getattr(model.config, "max_position_embeddings", None) or _UNBOUNDED
        limit = min(positions, tokenizer.model_max_length, self.context_length or _UNBOUNDED)
        if longest > limit:
            raise ContextOverflow(longest, limit, "split the passages")


def _opened(name: str, loading: Loading) -> tuple[Any, Any]:
    model, tokenizer = read(name, loading, lambda config: _Pairs)
    if model.config.num_labels > _SCORED:
        labels = ", ".join(map(str, list(model.config.id2label.values())[:6]))
        raise Unsupported(f"{name} sorts texts into {model.config.num_labels} kinds ({labels}) and gives no one score")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


class _Pairs:
    """transformers' classifiers, without those whose score was never trained."""

    @staticmethod
    def from_pretrained(source: str, **options: Any) -> Any:
        model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            source, output_loading_info=True, **options
        )
        if untrained := sorted(report["missing_keys"]):
            raise ValueError(f"it is not a reranker: it has no weights for {untrained[0]}")
        return model


def _one_score(logits: torch.Tensor) -> torch.Tensor:
    """[B]; of a classifier into no and yes, how much more it is yes."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


def _groups(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Places of texts of nearly the same length."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), size):
        yield order[start : start + size]

"""`hf:` as embeddings: any model of sentence-transformers, on torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from chainkit.backends.huggingface.reach import require_reachable
from chainkit.base.errors import ContextOverflow, MissingLibrary, ModelFileError, ModelNotFound, SpecError, Unsupported
from chainkit.base.vectors import Storage, stored_as, texts_of
from chainkit.local.kept import Kept
from chainkit.sizing.machines import limit_spinning

limit_spinning()  # before torch loads libgomp

Array = np.ndarray[Any, Any]


class TextsCut(UserWarning):
    """Texts were longer than the model reads, and only their beginnings have become vectors.

    Attributes:
        texts: Their rows.
        limit: How many tokens the model reads.
    """

    def __init__(self, texts: Sequence[int], count: int, limit: int) -> None:
        self.texts, self.limit = list(texts), limit
        super().__init__(
            f"{len(texts)} of {count} texts are longer than the {limit} tokens that the model reads; only their "
            "beginnings count. Split them, or pass truncate='error' to refuse such texts"
        )


class HuggingFaceEmbeddings(BaseModel, Embeddings):
    """Vectors of texts from a model of sentence-transformers, as that package computes them, on torch.

    Models of the kinds BERT and RoBERTa are faster without torch: `minilm:NAME`.

    Attributes:
        model: A folder, or a name on the Hugging Face hub.
        revision: Branch, tag or commit on the hub.
        device: "cpu", "cuda", "mps"; None takes a GPU if there is one.
        dtype: "float32", "float16" or "bfloat16"; "auto" is what the weights were saved as.
        batch_size: Texts that are computed at a time.
        dimensions: Truncate vectors to this dimension, for models trained for it (Matryoshka); None keeps all.
        normalize: Vectors have length 1, so that their dot product is the cosine.
        query_prompt: Text before a query; None uses that of the model's files.
        document_prompt: Likewise before a document.
        truncate: A text longer than the model reads is cut with a `TextsCut` warning, or refused ("error").
        trust_remote_code: Run Python files that come with the model.
        local_files_only: Never ask the hub; use only downloaded files.

    Raises:
        SpecError: The model has no name.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    revision: str | None = None
    device: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "float32"
    batch_size: int = Field(default=32, ge=1)
    dimensions: int | None = Field(default=None, ge=1)
    normalize: bool = True
    query_prompt: str | None = None
    document_prompt: str | None = None
    truncate: Literal["warn", "error"] = "warn"
    trust_remote_code: bool = False
    local_files_only: bool = False

    _kept: Kept[Any] = PrivateAttr(default_factory=Kept)

    def model_post_init(self, context: Any, /) -> None:
        """Refuse a model without a name."""
        if not self.model.strip():
            raise SpecError("huggingface needs the name of a model, as in 'hf:intfloat/e5-small-v2'")

    def embed_array(
        self,
        texts: Sequence[str],
        *,
        storage: Storage = "float32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Array:
        """The vectors of texts, N x D.

        Args:
            texts: N texts.
            storage: "float32", "float16" or "int8"; see `chainkit.base.vectors.stored_as`.
            progress: Called with the number of different texts that are done, and how many there are.

        Raises:
            BadTexts: Things that are not texts.
            ContextOverflow: A text is too long and `truncate` is "error".
            MissingLibrary: sentence-transformers is not installed.
            ModelFileError: The model cannot be loaded.
            ModelNotFound: There is no such model.
        """
        return stored_as(self._vectors(texts, self.document_prompt, "document", progress), storage)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts as lists."""
        return self.embed_array(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text, as a question."""
        return self._vectors([text], self.query_prompt, "query")[0].tolist()

    def token_counts(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
        """How many tokens the model reads of each text, N: special tokens and the prompt before it included.

        Args:
            texts: N texts.
            query: Whether they are queries; else they are documents.
        """
        model = self._model()
        chosen = self.query_prompt if query else self.document_prompt
        prompt = model.prompts.get("query" if query else "document", "") if chosen is None else chosen
        limit = {"truncation": True, "max_length": model.max_seq_length} if model.max_seq_length else {}
        found = model.tokenizer([prompt + text for text in texts_of(texts)], verbose=False, **limit)
        return [len(ids) for ids in found["input_ids"]]

    def load(self) -> None:
        """Load now what the first text would load."""
        self._model()

    def unload(self) -> None:
        """Free the memory; the next text loads the model again."""
        self._kept.clear()

    def _vectors(
        self, given: Sequence[str], chosen: str | None, role: str, progress: Callable[[int, int], None] | None = None
    ) -> Array:
        texts = texts_of(given)
        model = self._model()
        prompt = model.prompts.get(role, "") if chosen is None else chosen
        unique = sorted(set(texts), key=lambda text: (-len(text), text))
        self._tell_cut(model, texts, prompt)
        width = self.dimensions or model.get_embedding_dimension()
        found = np.zeros((len(unique), width), np.float32)
        for start in range(0, len(unique), self.batch_size):
            rows = slice(start, start + self.batch_size)
            found[rows] = model.encode(
                unique[rows], prompt=prompt, normalize_embeddings=self.normalize, show_progress_bar=False
            )
            if progress:
                progress(min(rows.stop, len(unique)), len(unique))
        places = {text: place for place, text in enumerate(unique)}
        return found[[places[text] for text in texts]]

    def _tell_cut(self, model: Any, texts: Sequence[str], prompt: str) -> None:
        limit = model.max_seq_length
        if limit is None:
            return
        # a token is at least one character long, so that short texts need not be counted
        long = {text for text in texts if len(text) + len(prompt) + 2 > limit}
        tokenizer: Any = model.tokenizer
        counts = {text: len(tokenizer(prompt + text, truncation=False, verbose=False).input_ids) for text in long}
        rows = [row for row, text in enumerate(texts) if counts.get(text, 0) > limit]
        if not rows:
            return
        if self.truncate == "error":
            advice = f"split text {rows[0]}, or pass truncate='warn' to use its beginning"
            raise ContextOverflow(counts[texts[rows[0]]], limit, advice)
        warnings.warn(TextsCut(rows, len(texts), limit), stacklevel=4)

    def _model(self) -> Any:
        key = (self.model, self.revision, self.device, self.dtype, self.dimensions)
        return self._kept.value((*key, self.trust_remote_code, self.local_files_only), self._load)

    def _load(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingLibrary("sentence-transformers", extra="embed-torch") from error
        if not self.local_files_only:
            require_reachable(self.model, self.revision)
        try:
            model: Any = SentenceTransformer(
                str(Path(self.model).expanduser()) if self.model.startswith("~") else self.model,
                device=self.device,
                revision=self.revision,
                trust_remote_code=self.trust_remote_code,
                local_files_only=self.local_files_only,
                truncate_dim=self.dimensions,
                model_kwargs={"dtype": self.dtype, "use_safetensors": True},
            )
        except (OSError, ValueError) as error:  # what transformers and huggingface_hub raise for files and names
            if "is not a local folder" in str(error) or "not a valid model identifier" in str(error):
                raise ModelNotFound(f"no model '{self.model}' here or on the hub", provider="huggingface") from error
            raise ModelFileError(self.model, f"cannot be loaded: {error}") from error
        full = model[0].get_embedding_dimension()
        if self.dimensions and full and self.dimensions > full:
            raise Unsupported(f"{self.dimensions} dimensions were asked for, and the model's vectors have {full}")
        return model

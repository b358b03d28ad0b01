"""The frozen model that a soft prompt is trained on."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.backends.huggingface.loading import Loaded, Loading, load
from chainkit.backends.huggingface.settings import ModelSettings
from chainkit.base.errors import MissingLibrary, ModelFileError, TemplateError, Unsupported
from chainkit.local.conversation import MessageEncoder
from chainkit.local.soft_prompt import Vectors, sampled_tokens
from chainkit.local.template import ChatTemplate
from chainkit.tuning.examples import Example

TrainedModel = Any
"""A folder or hub name, a .gguf file, a chainkit model "hf:...", or (model, tokenizer) of transformers."""


class Base:
    """A causal model with its tokens.

    Attributes:
        name: Folder or hub name it was loaded from.
        model: The library's model.
        width: D.
        dtype: Data type of the computation.
    """

    def __init__(self, loaded: Loaded) -> None:
        if loaded.encodes:
            raise Unsupported(f"{loaded.name} reads with an encoder; soft prompts are trained for decoders")
        self.loaded, self.name, self.model = loaded, loaded.name, loaded.model
        self.vocabulary = loaded.vocabulary
        self.table = loaded.model.get_input_embeddings()
        self.width, self.dtype = int(self.table.weight.shape[1]), self.table.weight.dtype
        self._positioned = "position_ids" in inspect.signature(loaded.model.forward).parameters
        self._conversation: MessageEncoder | None = None

    @property
    def vectors(self) -> torch.Tensor:
        """The vectors of all tokens as the first layer gets them, [V, D]."""
        with torch.no_grad():
            return self.embed(torch.arange(self.table.weight.shape[0], device=self.loaded.device)).float()

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors of tokens."""
        return self.table(tokens)

    def sample(self) -> dict[int, Vectors]:
        """Embedding rows used as the model's fingerprint, {token: [D]}."""
        tokens = sampled_tokens(self.vocabulary.size)
        rows = self.table.weight.detach()[tokens].float().cpu().numpy()
        return dict(zip(tokens, rows, strict=True))

    def encoded(self, example: Example, *, chat: bool, ends: bool) -> tuple[list[int], list[int]]:
        """The tokens of a prompt and of its answer.

        Raises:
            TemplateError: The model has no chat template, and `chat` asks for it.
        """
        answer = self.vocabulary.tokenize(example.answer)
        if ends:
            answer = [*answer, self._end()]
        return self.prompt_tokens(example.prompt, chat=chat), answer

    def prompt_tokens(self, prompt: str, *, chat: bool) -> list[int]:
        """The tokens of a prompt as the model will get it when it is asked."""
        if chat:
            from langchain_core.messages import HumanMessage

            return self._chat().tokens([HumanMessage(prompt)])
        tokens = self.vocabulary.tokenize(prompt, whole=True)
        return tokens[:-1] if self.vocabulary.adds_eos else tokens

    def logits(self, vectors: torch.Tensor, mask: torch.Tensor | None, count: int) -> torch.Tensor:
        """Logits that predict the last `count` tokens, [B, count, V].

        Args:
            vectors: What the model reads, [B, T, D].
            mask: [B, T] with 0 for padding on the left; None if there is none.
            count: How many tokens; fewer than T.
        """
        other: dict[str, Any] = {}
        if mask is not None:
            other["attention_mask"] = mask
            if self._positioned:
                other["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        end = vectors.shape[1] - 1
        # indices instead of a slice, which is not contiguous: its product with the head takes up to four times as long
        # (torch 2.13 multiplies row by row)
        only = self.loaded.only(list(range(end - count, end)))
        logits = self.model(inputs_embeds=vectors, use_cache=False, **only, **other).logits
        return logits if logits.shape[1] == count else logits[:, end - count : end]

    @contextmanager
    def frozen(self) -> Generator[None]:
        """While this lasts, no weight can change, and nobody else computes with the model."""
        before = [weights.requires_grad for weights in self.model.parameters()]
        was_training = self.model.training
        with self.loaded.lock:
            self.model.requires_grad_(False).eval()
            try:
                yield
            finally:
                self.model.train(was_training)
                for weights, needed in zip(self.model.parameters(), before, strict=True):
                    weights.requires_grad_(needed)

    def _chat(self) -> MessageEncoder:
        if self._conversation is None:
            if not self.loaded.template:
                raise TemplateError(f"{self.name} has no chat template; leave chat=False and write whole prompts")
            template = ChatTemplate(self.loaded.template)
            self._conversation = MessageEncoder(template, self.vocabulary, first_token=False)
        return self._conversation

    def _end(self) -> int:
        if self.vocabulary.eos < 0:
            raise Unsupported(f"{self.name} has no token that ends a text; give answer_ends=False")
        return self.vocabulary.eos


def open_base(model: TrainedModel, dtype: str = "auto") -> Base:
    """The model to train on, loaded if it is not.

    Args:
        model: See `Model`.
        dtype: "float32", "bfloat16", or "auto": bfloat16 for large models where the processor computes with it.

    Raises:
        ModelFileError: There is no such model, or it is damaged.
        Unsupported: It is not a causal model of transformers.
    """
    if isinstance(model, Base):
        return model
    if isinstance(model, ModelSettings):
        return Base(model.loaded)
    if isinstance(model, Sequence) and not isinstance(model, str) and len(model) == 2:
        return Base(Loaded(str(getattr(model[0], "name_or_path", "") or "model"), model[0], model[1]))
    if not isinstance(model, str | Path):
        raise Unsupported(
            f"cannot tune a {type(model).__name__}; give a folder, a .gguf file, llm('hf:...') or (model, tokenizer)"
        )
    name = str(model).removeprefix("huggingface:").removeprefix("hf:").removeprefix("gguf:")
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        return Base(_from_gguf(path))
    return Base(load(name, Loading(dtype=_chosen_dtype(dtype, path))))


def _from_gguf(path: Path) -> Loaded:
    """The weights of a GGUF file, brought to float32: quantised as they are, so that a soft prompt fits them."""
    from chainkit.backends.llama_cpp.header import read_header

    read_header(path)
    try:
        import gguf  # noqa: F401 - transformers reads the file with it
    except ImportError as error:
        raise MissingLibrary("gguf", extra="tune") from error
    try:
        where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
        transformers.logging.disable_progress_bar()
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), **where)
        model: Any = transformers.AutoModelForCausalLM
        return Loaded(str(path), model.from_pretrained(str(path.parent), dtype=torch.float32, **where), tokenizer)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelFileError(path, f"transformers cannot read it: {' '.join(str(error).split())[:300]}") from error
    finally:
        transformers.logging.enable_progress_bar()


def _chosen_dtype(dtype: str, path: Path) -> str:
    if dtype != "auto":
        return dtype
    large = sum(file.stat().st_size for file in path.glob("*.safetensors")) > _LARGE if path.is_dir() else False
    fast: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if large and fast() else "float32"


_LARGE = 200_000_000  # bytes of weights; below, float32 is quick enough and exact

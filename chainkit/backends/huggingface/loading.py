"""From a folder or a name on a hub to a model in memory; loaded once for the same settings and shared."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainkit.backends.huggingface.int8 import quantize
from chainkit.backends.huggingface.libraries import SafetensorError, torch, transformers
from chainkit.backends.huggingface.reach import require_reachable
from chainkit.backends.huggingface.room import check_room
from chainkit.backends.huggingface.vocabulary import TransformersVocabulary
from chainkit.base.errors import ChainkitError, MissingLibrary, ModelFileError, Unsupported
from chainkit.hub.local import pulled_folder
from chainkit.local.soft_prompt import FIRST_VIRTUAL, SoftPrompt, sampled_tokens, vectors_of
from chainkit.local.tokenizer_bounds import check_growth, named_tokenizer_faults

_DTYPES = ("auto", "float32", "float16", "bfloat16")
_UNBOUNDED = 1 << 30  # a tokenizer without a limit says 10**30
_FALLBACK_LIMIT = 2048
_CACHE_ARGUMENTS = ("cache", "past_key_values", "cache_params")  # the first since transformers 5.24


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is brought into memory.

    Attributes:
        dtype: "auto" is what the weights were saved as; "float32", "float16" or "bfloat16".
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU if there is one.
        device_map: "auto" spreads the layers over GPUs and memory; needs accelerate. Instead of `device`.
        revision: A branch, tag or commit on the hub.
        use_safetensors: Refuse weights in Python's pickle format, which can run any code while it is loaded.
        trust_remote_code: Run Python files that come with the model.
        local_files_only: Never ask the hub; use only downloaded files.
        quantization: None, "4bit" or "8bit" by bitsandbytes, "int8" by torch itself, on a CPU only.
        quant_type: Of 4 bits: "nf4", made for weights that are normally distributed, or "fp4".
        double_quant: Quantise the scales of 4 bits too, which saves 0.4 bits a weight.
        compute_dtype: What 4 bits are unpacked to while they are computed with.
        force: Load it even if there is not enough free memory for it.
    """

    dtype: str = "auto"
    device: str | None = None
    device_map: str | None = None
    revision: str | None = None
    use_safetensors: bool = True
    trust_remote_code: bool = False
    local_files_only: bool = False
    quantization: str | None = None
    quant_type: str = "nf4"
    double_quant: bool = True
    compute_dtype: str = "bfloat16"
    force: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, got {self.dtype!r}")
        if self.device and self.device_map:
            raise ValueError("give device or device_map, not both")


class Loaded:
    """A model with its tokenizer.

    Attributes:
        name: Folder or hub name it was loaded from.
        model: The library's model, in evaluation mode.
        stamp: Names, sizes and times of the files of its folder.
        vocabulary: Its tokens.
        encodes: Whether it reads with an encoder and writes with a decoder, as T5 does.
        context_length: Number of tokens that a text may have: positions the model has, or what its tokenizer says.
        attention: The name of its attention in the library.
        device: Where its input goes.
        lock: Held while the model computes.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any) -> None:
        self.name, self.model = name, model.eval()
        self.stamp = _changed(name)
        self.encodes = bool(model.config.is_encoder_decoder)
        self.config = model.config.get_text_config(decoder=not self.encodes)
        with named_tokenizer_faults(name):
            self.vocabulary = TransformersVocabulary(tokenizer, _logit_count(model), _ends(model))
        self.context_length = _context_length(self.config, tokenizer)
        self.attention = self.config._attn_implementation
        self.device = model.get_input_embeddings().weight.device
        parameters = inspect.signature(model.forward).parameters
        self._keeps_logits = "logits_to_keep" in parameters
        self._cache_argument = next((name for name in _CACHE_ARGUMENTS if name in parameters), _CACHE_ARGUMENTS[0])
        self.lock = threading.RLock()
        self._fitting: weakref.WeakSet[SoftPrompt] = weakref.WeakSet()

    def only_last(self, count: int) -> dict[str, int]:
        """The argument with which the model computes logits for its last `count` tokens only, if it can."""
        return {"logits_to_keep": count} if self._keeps_logits else {}

    def only(self, tokens: list[int]) -> dict[str, Any]:
        """Likewise for the tokens at these places; without any, for the last one."""
        if not tokens:
            return self.only_last(1)
        places = torch.tensor(tokens, dtype=torch.long, device=self.device)
        return {"logits_to_keep": places} if self._keeps_logits else {}

    def cached(self, cache: Any) -> dict[str, Any]:
        """The arguments with which the model reads and writes a cache of its library."""
        return {self._cache_argument: cache, "use_cache": True}

    def inputs(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """The model's input argument for tokens [1, T]; soft prompt tokens are replaced by their vectors."""
        virtual = tokens >= FIRST_VIRTUAL
        if not bool(virtual.any()):
            return {"input_ids": tokens}
        vectors = self.model.get_input_embeddings()(tokens.masked_fill(virtual, 0))
        vectors[virtual] = torch.from_numpy(vectors_of(tokens[virtual].tolist())).to(vectors)
        return {"inputs_embeds": vectors}

    def require_fit(self, prompt: SoftPrompt) -> None:
        """Refuse a soft prompt of another model.

        Raises:
            SoftPromptMismatch: It is one.
        """
        if prompt not in self._fitting:
            table = self.model.get_input_embeddings().weight.detach()
            tokens = [token for token in sampled_tokens(self.vocabulary.size) if token < len(table)]
            rows = dict(zip(tokens, table[tokens].float().cpu().numpy(), strict=True))
            prompt.require_fit(table.shape[1], self.vocabulary.size, rows)
            self._fitting.add(prompt)

    @property
    def first_tokens(self) -> list[int]:
        """First decoder tokens of an encoder-decoder model."""
        settings = self.model.generation_config
        start = settings.decoder_start_token_id
        start = self.vocabulary.bos if start is None else start
        forced = [settings.forced_bos_token_id] if settings.forced_bos_token_id is not None else []
        return [0 if start is None else start, *forced]

    @property
    def template(self) -> str | None:
        """The chat template that came with the tokenizer."""
        template = self.vocabulary.tokenizer.chat_template
        return template.get("default") if isinstance(template, dict) else template


_loaded: weakref.WeakValueDictionary[tuple[object, ...], Loaded] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def load(name: str, loading: Loading) -> Loaded:
    """A model: the one already in memory, if it was loaded with the same settings and its folder has not changed.

    Raises:
        ModelFileError: There is no such model, its files are damaged or pickled, or it is of another kind.
        NotEnoughMemory: It does not fit in the memory that is free, and `loading.force` was not given.
        Unsupported: This machine lacks a requested feature.
        MissingLibrary: accelerate or bitsandbytes is needed.
    """
    if not name:
        raise ModelFileError("(no name)", "name a folder or a model on the hub, as in hf:Qwen/Qwen2.5-0.5B-Instruct")
    if loading.revision is None and not Path(name).expanduser().exists():
        name = str(pulled_folder(name) or name)
    with _lock:
        key = (name, _changed(name), loading)
        found = _loaded.get(key)
        if found is None:
            found = _loaded[key] = _load(name, loading)
        return found


def _load(name: str, loading: Loading) -> Loaded:
    def kind(config: Any) -> Any:
        return transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM

    return Loaded(name, *read(name, loading, kind))


def read(name: str, loading: Loading, kind: Callable[[Any], Any]) -> tuple[Any, Any]:
    """A model and its tokenizer, read anew.

    Args:
        name: A folder or a name on the hub.
        loading: How.
        kind: The library's class for a configuration.

    Raises:
        ModelFileError: There is no such model, its files are damaged or pickled, or it is of another kind.
        Unsupported: This machine lacks a requested feature.
        MissingLibrary: accelerate or bitsandbytes is needed.
    """
    device = _device(loading)
    path = str(Path(name).expanduser())
    source = path if Path(path).exists() else name
    if Path(source).is_file():
        raise ModelFileError(name, "is a file; name the folder that holds config.json, or use gguf: for a .gguf file")
    if not loading.local_files_only:
        require_reachable(name, loading.revision)
    common: dict[str, Any] = {
        "revision": loading.revision or "main",
        "trust_remote_code": loading.trust_remote_code,
        "local_files_only": loading.local_files_only,
    }
    with _named_faults(name, loading), _without_bars(source):
        if device == "cpu" and not loading.force:
            check_room(source, dtype=loading.dtype, revision=loading.revision)
        config = transformers.AutoConfig.from_pretrained(source, **common)
        _check_sizes(config, Path(source))
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **common)
        if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:  # one in Python has none
            check_growth(backend, name)
        model = kind(config).from_pretrained(
            source,
            config=config,
            dtype=loading.dtype if loading.dtype == "auto" else getattr(torch, loading.dtype),
            use_safetensors=True if loading.use_safetensors else None,
            **_placement(loading),
            **common,
        )
        if device is not None:
            model.to(device)
    if loading.quantization == "int8":
        quantize(model)
    return model, tokenizer


_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_LEAST_BYTES = 0.5  # of a weight, in 4-bit form


def _check_sizes(config: Any, folder: Path) -> None:
    """Compare what config.json says with the weights that lie beside it, before memory is taken for it.

    Raises:
        ValueError: A size is not a number of 1 or more, or the token table alone would be larger than all weights.
    """
    sizes = {name: getattr(config.get_text_config(), name, None) for name in _SIZES}
    for name, size in sizes.items():
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"config.json says {name}={size!r}")
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")] if folder.is_dir() else []
    table = _LEAST_BYTES * (sizes["vocab_size"] or 0) * (sizes["hidden_size"] or 0)
    if weights and table > sum(file.stat().st_size for file in weights):
        said = f"vocab_size={sizes['vocab_size']} and hidden_size={sizes['hidden_size']}"
        raise ValueError(f"config.json says {said}, and the weights are smaller than that table")


@contextmanager
def _without_bars(source: str) -> Iterator[None]:
    """No bar for weights that are on the disk already; downloads keep theirs."""
    shown = transformers.logging.is_progress_bar_enabled() and Path(source).is_dir()
    if shown:
        transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.logging.enable_progress_bar()


def _device(loading: Loading) -> str | None:
    """Where the model goes after it was read; None if it is put there while it is read."""
    if loading.quantization == "int8":
        if loading.device_map or loading.device not in (None, "cpu"):
            raise Unsupported("int8 is for a CPU; on a GPU take load_in_8bit")
        return "cpu"
    if loading.device_map or loading.quantization:
        return None
    device = loading.device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = device.partition(":")[0]
    try:
        torch.device(device)
    except RuntimeError as error:
        raise Unsupported(f"device {device!r} is none that torch knows; cpu, cuda, cuda:1, mps, ...") from error
    absent = (kind == "cuda" and not torch.cuda.is_available()) or (
        kind == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise Unsupported(f"device {device!r} is not on this machine, or torch was built without it")
    return device


def _placement(loading: Loading) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if loading.quantization == "int8":
        return values
    if loading.device_map or loading.quantization:
        _require(
            "accelerate", f"device_map={loading.device_map!r}" if loading.device_map else loading.quantization or ""
        )
        values["device_map"] = loading.device_map or loading.device or ("auto" if torch.cuda.is_available() else "cpu")
    if loading.quantization:
        _require("bitsandbytes", f"load_in_{loading.quantization}")
        four = loading.quantization == "4bit"
        values["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=four,
            load_in_8bit=not four,
            bnb_4bit_quant_type=loading.quant_type,
            bnb_4bit_use_double_quant=loading.double_quant,
            bnb_4bit_compute_dtype=getattr(torch, loading.compute_dtype),
        )
    return values


def _require(library: str, reason: str) -> None:
    try:
        __import__(library)
    except ImportError as error:
        raise MissingLibrary(f"{library}, which {reason} needs,", extra="huggingface-quantized") from error


@contextmanager
def _named_faults(name: str, loading: Loading) -> Iterator[None]:
    try:
        yield
    except (MissingLibrary, Unsupported):
        raise
    except ImportError as error:
        raise ModelFileError(name, f"needs a library that is not installed: {_brief(error)}") from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(name, _reason(name, error, loading)) from error
    except SafetensorError as error:
        raise ModelFileError(name, f"is damaged: {_brief(error)}") from error
    except (ChainkitError, MemoryError):
        raise
    except Exception as error:  # whatever a strange value in config.json leads to; tokenizers raises bare ones
        what = "has a damaged tokenizer" if type(error) is Exception else "cannot be loaded"
        raise ModelFileError(name, f"{what}: {type(error).__name__}: {_brief(error)}") from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of a library in Rust; it is not an Exception
            raise ModelFileError(name, f"has a damaged tokenizer: {_brief(error)}") from error
        raise


def _reason(name: str, error: Exception, loading: Loading) -> str:
    text = _brief(error)
    folder = Path(name).expanduser()
    if "trust_remote_code" in str(error):
        return "needs Python code that comes with it; read that code, then allow it with trust_remote_code=true"
    if folder.is_dir():
        if not (folder / "config.json").exists():
            return "has no config.json, so it is not a folder of a transformers model"
        if loading.use_safetensors and not list(folder.glob("*.safetensors")) and list(folder.glob("*.bin")):
            return (
                "has its weights in pickle files, which can run any code while they are loaded; get the model as "
                "safetensors, or allow it with use_safetensors=false"
            )
    elif isinstance(error, OSError):
        return f"is not a folder here, and could not be had from the hub: {text}"
    return f"cannot be loaded: {text}"


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__


def _changed(name: str) -> tuple[tuple[str, int, int], ...]:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return ()
    return tuple(
        (file.name, status.st_size, status.st_mtime_ns)
        for file in sorted(folder.iterdir())
        if file.is_file() and (status := file.stat())
    )


def _logit_count(model: Any) -> int:
    head = model.get_output_embeddings()
    return int(head.weight.shape[0]) if head is not None else int(model.config.get_text_config().vocab_size)


def _ends(model: Any) -> set[int]:
    """The tokens that end a text, as the generation settings and the model's settings say."""
    found: set[int] = set()
    for settings in (model.generation_config, model.config.get_text_config()):
        ends = getattr(settings, "eos_token_id", None)
        found |= {ends} if isinstance(ends, int) else set(ends or ())
    return found


def _context_length(config: Any, tokenizer: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "seq_length", None)
    if isinstance(positions, int) and positions > 0:
        return positions
    limit = tokenizer.model_max_length
    return limit if limit < _UNBOUNDED else _FALLBACK_LIMIT

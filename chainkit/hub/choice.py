"""Which files of a repository are meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chainkit.base.errors import SpecError, nearest
from chainkit.hub.names import HubName

SAFETENSORS = "safetensors"
"""The pick for a whole repository in transformers format."""

_LISTED = 40
_QUANTIZATION = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:IQ[1-4]_(?:XXS|XS|NL|S|M)|T?Q\d_K(?:_(?:S|M|L|XL))?|T?Q\d_[01]|BF16|FP?16|F(?:P)?32"
    r"|MXFP4(?:_MOE)?|NVFP4))(?=$|[-._])",
    re.IGNORECASE,
)
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_NO_MODEL = re.compile(r"(^|[-_./])(mmproj|imatrix)", re.IGNORECASE)
_BESIDE_WEIGHTS = re.compile(r"[^/]+\.(json|jinja|txt|model)|README\.md|LICENSE[^/]*", re.IGNORECASE)
_NO_SETTINGS = re.compile(r"(.*\.bin\.index|pytorch_.*|tf_.*|flax_.*|training_args.*|trainer_state.*)\.json")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository.

    Attributes:
        name: Its path in the repository.
        size: In bytes.
        sha256: Of its content, if the hub says so: it does for large files.
        git_sha1: git's hash of it, which the hub says for small files.
    """

    name: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Choice:
    """One model of a repository.

    Attributes:
        label: Text after the colon that selects it.
        files: In the order in which they are loaded; with several parts, all of them.
        format: "gguf", or "transformers" for a whole folder.
    """

    label: str
    files: tuple[HubFile, ...]
    format: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def choices(files: Sequence[HubFile]) -> list[Choice]:
    """All models of a repository, the smallest first.

    A label is the quantization where that is enough to tell them apart, and otherwise the name of the file.
    """
    groups: dict[str, list[HubFile]] = {}
    for file in files:
        if file.name.lower().endswith(".gguf") and not _NO_MODEL.search(file.name):
            groups.setdefault(_PART.sub("", file.name[:-5]), []).append(file)
    quantizations = {stem: quantization(stem) for stem in groups}
    times = Counter(quantizations.values())
    found: list[Choice] = []
    for stem, members in groups.items():
        label = quantizations[stem]
        unique = label and times[label] == 1
        ordered = sorted(members, key=lambda file: file.name)
        found.append(Choice(label if unique else ordered[0].name, _complete(ordered), "gguf"))
    found.sort(key=lambda choice: choice.size)
    whole = _transformers(files)
    return [*found, whole] if whole else found


def chosen(files: Sequence[HubFile], name: HubName) -> Choice:
    """The one model that is meant.

    Raises:
        SpecError: There is none, or there are several; the message lists them with their sizes.
    """
    found = choices(files)
    if not found:
        raise SpecError(f"{name.repo} has no model that runs here: {_instead(files)}")
    if not name.pick:
        if len(found) == 1:
            return found[0]
        raise SpecError(f"{name.repo} has {len(found)} models; name one of them, as in {name.repo}:{_example(found)}: "
                        f"{_listed(found)}")  # fmt: skip
    matching = [choice for choice in found if _matches(choice, name.pick)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise SpecError(
            f"{name.repo} has {len(matching)} models that are {name.pick}; name the file: {_listed(matching)}"
        )
    labels = {choice.label.lower(): choice.label for choice in found}
    hint = nearest(name.pick, labels)
    advice = f"did you mean '{labels[hint]}'? it" if hint else "it"
    raise SpecError(f"{name.repo} has no '{name.pick}'; {advice} has {_listed(found)}")


def quantization(name: str) -> str:
    """The quantization that the name of a file holds, in capitals; empty if it holds none.

    >>> quantization("llama-2-7b-chat.Q4_K_M"), quantization("model-f16"), quantization("model")
    ('Q4_K_M', 'F16', '')
    """
    found = _QUANTIZATION.findall(name)
    label = found[-1].upper() if found else ""
    return {"FP16": "F16", "FP32": "F32"}.get(label, label)


def _matches(choice: Choice, pick: str) -> bool:
    wanted = pick.lower()
    names = {file.name.lower() for file in choice.files}
    names |= {file.name.rpartition("/")[2].lower() for file in choice.files}
    if wanted in names or wanted == choice.label.lower() or f"{wanted}.gguf" in names:
        return True
    return choice.format == "gguf" and wanted.upper() == quantization(_PART.sub("", choice.files[0].name[:-5]))


def _complete(members: list[HubFile]) -> tuple[HubFile, ...]:
    """All parts of a model in several files.

    Raises:
        SpecError: The repository lacks one.
    """
    part = _PART.search(members[0].name[:-5])
    if part and len(members) != int(part[2]):
        raise SpecError(f"{members[0].name} is one of {int(part[2])} parts, and the repository has {len(members)}")
    return tuple(members)


def _transformers(files: Sequence[HubFile]) -> Choice | None:
    names = {file.name for file in files}
    weights = [file for file in files if re.fullmatch(r"[^/]+\.safetensors", file.name)]
    if "model.safetensors.index.json" in names:
        weights = [file for file in weights if re.fullmatch(r"model-\d+-of-\d+\.safetensors", file.name)] or weights
    elif "model.safetensors" in names:
        weights = [file for file in weights if file.name == "model.safetensors"]
    if "config.json" not in names or not weights:
        return None
    beside = [f for f in files if _BESIDE_WEIGHTS.fullmatch(f.name) and not _NO_SETTINGS.fullmatch(f.name)]
    return Choice(SAFETENSORS, (*beside, *sorted(weights, key=lambda file: file.name)), "transformers")


def _instead(files: Sequence[HubFile]) -> str:
    names = [file.name.lower() for file in files]
    if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
        return (
            "its weights are pickle files, which can run any code while they are loaded; look for GGUF or safetensors"
        )
    return "no GGUF file, and no config.json with safetensors"


def _example(found: list[Choice]) -> str:
    return next((choice.label for choice in found if choice.label == "Q4_K_M"), found[0].label)


def _listed(found: list[Choice]) -> str:
    listed = ", ".join(f"{choice.label} ({choice.size / 1e9:.2f} GB)" for choice in found[:_LISTED])
    return f"{listed} and {len(found) - _LISTED} more" if len(found) > _LISTED else listed

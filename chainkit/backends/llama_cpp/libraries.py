"""The native libraries that can run GGUF files: llama.cpp, in two packages, and ik_llama.cpp.

A library is found without importing its package: importing xllamacpp starts threads, and importing llama_cpp prints.
`CHAINKIT_LLAMA_LIBRARY` chooses one for all files: `ik_llama_cpp`, `xllamacpp`, `llama_cpp`, or the path of a library
file. Without it, or with `auto`, the first of llama_cpp and xllamacpp that is installed in a known build runs all files
but those that ik_llama_cpp was seen to run faster and right: see `engines`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chainkit.backends.llama_cpp import openmp
from chainkit.backends.llama_cpp.capi import Library
from chainkit.backends.llama_cpp.ik_capi import IkLibrary
from chainkit.backends.llama_cpp.ik_layouts import IK_LLAMA_CPP
from chainkit.backends.llama_cpp.layouts import LLAMA_CPP_PYTHON, XLLAMACPP, Layout
from chainkit.backends.llama_cpp.processor import machine, missing
from chainkit.base.errors import LibraryMismatch, MissingLibrary, MissingSystemLibrary
from chainkit.sizing.machines import limit_spinning

VARIABLE = "CHAINKIT_LLAMA_LIBRARY"


@dataclass(frozen=True)
class Home:
    """A package that brings a library.

    Attributes:
        layout: The build that is known.
        files: The names that its library file may have.
        kind: What makes its functions callable.
    """

    layout: Layout
    files: tuple[str, ...]
    kind: type[Library] = Library


_LIB = ("lib/libllama.so", "lib/libllama.dylib", "lib/llama.dll")

# package -> where its library is; the preferred one first
HOMES: dict[str, Home] = {
    "llama_cpp": Home(LLAMA_CPP_PYTHON, _LIB),
    "ik_llama_cpp": Home(IK_LLAMA_CPP, _LIB, IkLibrary),
    "xllamacpp": Home(XLLAMACPP, ("xllamacpp.abi3.so", "xllamacpp.pyd")),
}
_lock = threading.RLock()


def forced() -> str:
    """What the user's setting says, a package or a path; empty if it says nothing."""
    choice = os.environ.get(VARIABLE, "").strip()
    if choice == "auto":
        return ""
    return choice.replace("-", "_") if choice.replace("-", "_") in HOMES else choice


def library() -> Library:
    """A library for what any of them can do: the one of the user's setting, or the first of llama.cpp's own.

    Raises:
        MissingLibrary: No package that brings one is installed.
        LibraryMismatch: One is there, but in a build that is not known, or one that this processor cannot run.
    """
    if choice := forced():
        return opened(choice)
    refusals: list[MissingLibrary] = []
    for package in (package for package, home in HOMES.items() if home.kind is Library):
        try:
            return opened(package)
        except MissingLibrary as error:
            refusals.append(error.with_traceback(None))  # which would keep its callers, and the first model, alive
    mismatch = [error for error in refusals if isinstance(error, LibraryMismatch)]
    raise (mismatch or refusals[::-1])[0]


def opened(choice: str) -> Library:
    """The library of a package or at a path; loaded at the first call.

    Raises:
        MissingLibrary: It is not there.
        LibraryMismatch: It is there, but in a build that is not known, or one that this processor cannot run.
    """
    with _lock:
        return _opened(choice)


@cache
def _opened(choice: str) -> Library:
    limit_spinning()
    return _of_package(choice) if choice in HOMES else _by_path(Path(choice).expanduser())


def _of_package(package: str) -> Library:
    home = HOMES[package]
    layout = home.layout
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingLibrary(package, layout.extra)
    version = importlib.metadata.version(layout.package)
    if version != layout.version:
        reason = f"version {version} is installed, and chainkit knows the structures of {layout.version}"
        raise LibraryMismatch(layout.package, layout.extra, reason)
    folder = Path(next(iter(spec.submodule_search_locations)))
    found = [folder / name for name in home.files if (folder / name).exists()]
    if not found:
        raise LibraryMismatch(layout.package, layout.extra, f"no library file of {', '.join(home.files)} in {folder}")
    return _loaded(found[0], home)


def _by_path(path: Path) -> Library:
    if not path.is_file():
        raise MissingLibrary(f"{VARIABLE}={path} (a package name or a library file)", "gguf")
    refusals: list[LibraryMismatch] = []
    for home in HOMES.values():
        try:
            return _loaded(path, home)
        except LibraryMismatch as error:
            refusals.append(error.with_traceback(None))
    raise refusals[-1]


def _loaded(path: Path, home: Home) -> Library:
    layout = home.layout
    if lacking := missing(layout.processor.get(machine(), ())):
        reason = f"it was built for processors with {', '.join(lacking)}, which this one lacks"
        raise LibraryMismatch(layout.package, layout.extra, reason)
    try:
        return home.kind(path, layout)
    except OSError as error:
        if not openmp.lacking(error):
            raise LibraryMismatch(layout.package, layout.extra, f"{path} cannot be loaded ({error})") from error
        if not openmp.bring():
            raise MissingSystemLibrary(layout.package, layout.extra, openmp.NAME, openmp.REMEDY) from error
        return home.kind(path, layout)
    except AttributeError as error:
        raise LibraryMismatch(layout.package, layout.extra, f"{path} cannot be loaded ({error})") from error

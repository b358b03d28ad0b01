"""The library is found without its package, and only a build whose structures are known is used."""

import subprocess
import sys
from pathlib import Path

import pytest

from chainkit.backends.llama_cpp import capi
from chainkit.backends.llama_cpp.layouts import LAYOUTS, ContextParams, ContextParamsWide, Layout
from chainkit.base.errors import LibraryMismatch, MissingLibrary


def test_the_layout_of_the_loaded_library_fits_its_defaults():
    llama = capi.library()
    assert llama.layout.faults(llama._cdll) == []


def test_no_other_known_layout_fits_it():
    llama = capi.library()
    others = [layout for layout in LAYOUTS if layout.context is not llama.layout.context]
    assert others
    assert all(layout.faults(llama._cdll) for layout in others)


def test_a_library_of_another_build_is_refused():
    llama = capi.library()
    wrong = ContextParams if llama.layout.context is ContextParamsWide else ContextParamsWide
    with pytest.raises(LibraryMismatch, match="other structures"):
        capi.Library(llama.path, Layout("xllamacpp", "0", "gguf", wrong))


def test_another_version_of_the_package_is_refused(monkeypatch):
    package = "llama_cpp" if capi.library().layout.package == "llama_cpp_python" else "xllamacpp"
    monkeypatch.setattr(capi.importlib.metadata, "version", lambda name: "99.0")
    with pytest.raises(LibraryMismatch, match=r"99\.0 is installed"):
        capi._of_package(package)


def test_a_missing_package_names_the_extra():
    with pytest.raises(MissingLibrary, match=r"chainkit\[gguf\]"):
        capi._by_path(Path("/nowhere/libllama.so"))


def test_a_file_that_is_no_library_is_refused(tmp_path):
    path = tmp_path / "libllama.so"
    path.write_bytes(b"not a library")
    with pytest.raises(LibraryMismatch, match="cannot be loaded"):
        capi._by_path(path)


def test_a_library_without_llama_is_refused():
    import _ctypes

    with pytest.raises(LibraryMismatch, match="cannot be loaded"):
        capi._by_path(Path(_ctypes.__file__))


def test_the_library_can_be_chosen_by_its_path():
    llama = capi.library()
    assert capi._by_path(llama.path).layout == llama.layout


def test_the_package_itself_is_not_imported():
    code = (
        "import sys; from chainkit.backends.llama_cpp.capi import library; library();"
        "import os; print(os.environ['OMP_WAIT_POLICY']);"
        "sys.exit(any(m in sys.modules for m in ('xllamacpp', 'llama_cpp')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "passive", "")


def test_unknown_settings_of_a_structure_are_refused():
    with pytest.raises(AttributeError, match="n_ctxx"):
        capi.library().context_params(n_ctxx=1)

"""libgomp from a wheel, where the system has none."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from chainkit.backends.llama_cpp import libraries, openmp
from chainkit.base.errors import MissingLibrary, MissingSystemLibrary

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="libgomp is a matter of Linux")

LACKING = "libgomp.so.1: cannot open shared object file: No such file or directory"


def test_a_copy_in_a_wheel_serves_whoever_asks_for_libgomp():
    if not any(openmp._bundled()):
        pytest.skip("no wheel of this environment holds a copy; chainkit[gguf] brings one")
    code = """if True:
        import ctypes, pathlib
        from chainkit.backends.llama_cpp import openmp
        assert openmp.bring()
        ctypes.CDLL("libgomp.so.1").omp_get_max_threads()
        loaded = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if "gomp" in line}
        assert len(loaded) == 1 and "memfd" in loaded.pop(), loaded
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_any_copy_the_error_names_the_command_for_each_system(monkeypatch, tmp_path):
    def refuse(*args: object) -> None:
        raise OSError(LACKING)

    monkeypatch.setattr(openmp, "_bundled", lambda: iter(()))
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(MissingSystemLibrary) as caught:
        libraries._loaded(tmp_path / "library.so", libraries.HOMES["xllamacpp"])
    for words in ("needs libgomp.so.1", "apt-get install libgomp1", "dnf install libgomp", "apk add libgomp"):
        assert words in str(caught.value)
    assert "chainkit[gguf]" not in str(caught.value)
    assert isinstance(caught.value, MissingLibrary)


def test_a_file_that_does_not_hold_its_own_name_is_not_touched(tmp_path):
    path = tmp_path / "libgomp-0a1b2c3d.so.1.0.0"
    path.write_bytes(b"\0another name\0")
    assert openmp._renamed(path) is None
    path.write_bytes(b"ELF\0libgomp-0a1b2c3d.so.1.0.0\0rest")
    assert openmp._renamed(path) == b"ELF\0libgomp.so.1" + b"\0" * 14 + b"rest"

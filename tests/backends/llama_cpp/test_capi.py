"""A library is found without its package, and only a build whose structures are known is used."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from chainkit.backends.llama_cpp import libraries, processor
from chainkit.backends.llama_cpp.libraries import HOMES, Home, library, opened
from chainkit.base.errors import LibraryMismatch, MissingLibrary


def there(package):
    try:
        return bool(opened(package))
    except MissingLibrary:
        return False


@pytest.fixture(params=[package for package in HOMES if there(package)])
def package(request):
    return request.param


def other(home: Home) -> Home:
    """A build with other structures, under which the library of `home` must not be used."""
    wrong = next(one.layout for one in HOMES.values() if one.layout.context is not home.layout.context)
    layout = replace(home.layout, context=wrong.context, context_defaults=wrong.context_defaults)
    return replace(home, layout=layout)


def test_the_layout_of_a_loaded_library_fits_its_defaults(package):
    llama = opened(package)
    assert llama.layout.faults(llama._cdll) == []


def test_no_other_known_layout_fits_it(package):
    llama = opened(package)
    others = [home.layout for home in HOMES.values() if home.layout.context is not llama.layout.context]
    assert others
    assert all(layout.faults(llama._cdll) for layout in others)


def test_a_library_of_another_build_is_refused(package):
    with pytest.raises(LibraryMismatch, match="other structures"):
        libraries._loaded(opened(package).path, other(HOMES[package]))


def test_another_version_of_the_package_is_refused(package, monkeypatch):
    monkeypatch.setattr(libraries.importlib.metadata, "version", lambda name: "99.0")
    with pytest.raises(LibraryMismatch, match=r"99\.0 is installed"):
        libraries._of_package(package)


def test_a_missing_package_names_the_extra():
    with pytest.raises(MissingLibrary, match=r"chainkit\[gguf\]"):
        opened("/nowhere/libllama.so")


def test_a_file_that_is_no_library_is_refused(tmp_path):
    path = tmp_path / "libllama.so"
    path.write_bytes(b"not a library")
    with pytest.raises(LibraryMismatch, match="cannot be loaded"):
        opened(str(path))


def test_a_library_without_llama_is_refused():
    import _ctypes

    with pytest.raises(LibraryMismatch, match="cannot be loaded"):
        opened(_ctypes.__file__)


def test_a_library_can_be_chosen_by_its_path(package):
    llama = opened(package)
    assert opened(str(llama.path)).layout == llama.layout


def test_a_processor_without_a_feature_that_a_library_was_built_for_never_loads_it(package, monkeypatch):
    layout = replace(HOMES[package].layout, processor={processor.machine(): ("avx2", "asimddp", "no-such-feature")})
    monkeypatch.setattr(Path, "exists", lambda path: pytest.fail("it was looked at"))
    with pytest.raises(LibraryMismatch, match=r"built for processors with .*no-such-feature, which this one lacks"):
        libraries._loaded(opened(package).path, replace(HOMES[package], layout=layout, kind=pytest.fail))


CORTEX_A72 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n"
CORTEX_A76 = (
    "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n"
)


@pytest.mark.parametrize(("bits", "lacking"), [(0x000887, ["asimddp", "asimdhp"]), (0x119FFF, [])])
def test_a_raspberry_pi_4_runs_one_library_and_a_pi_5_both(bits, lacking, monkeypatch):
    monkeypatch.setattr(processor, "features", lambda: processor.of_hwcap(bits))
    assert processor.missing(HOMES["ik_llama_cpp"].layout.processor["aarch64"]) == lacking
    assert processor.missing(HOMES["xllamacpp"].layout.processor.get("aarch64", ())) == []


def test_processors_of_one_kind_with_other_features_have_other_names(monkeypatch):
    monkeypatch.setattr(processor, "machine", lambda: "aarch64")
    names = []
    for bits in (0x000887, 0x119FFF, 0x119FFE):
        monkeypatch.setattr(processor, "features", lambda bits=bits: processor.of_hwcap(bits))
        names.append(processor.name())
    assert len(set(names)) == 3


def test_a_core_without_a_feature_counts_for_all():
    assert processor.listed(CORTEX_A76 + CORTEX_A72) == {"fp", "asimd", "evtstrm", "crc32", "cpuid"}


def test_the_package_itself_is_not_imported(package):
    code = (
        "import sys; from chainkit.backends.llama_cpp.libraries import opened; opened(sys.argv[1]);"
        "import os; print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'));"
        "sys.exit(any(m in sys.modules for m in ('xllamacpp', 'llama_cpp', 'ik_llama_cpp')))"
    )
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    usual = "active 10000" if sys.platform == "linux" else "passive None"
    for chosen, expected in (({}, usual), ({"OMP_WAIT_POLICY": "passive"}, "passive None")):
        run = subprocess.run(
            [sys.executable, "-c", code, package], capture_output=True, text=True, check=False, env=own | chosen
        )
        assert (run.returncode, run.stdout.strip(), run.stderr) == (0, expected, "")


def test_unknown_settings_of_a_structure_are_refused(package):
    with pytest.raises(AttributeError, match="n_ctxx"):
        opened(package).context_params(n_ctxx=1)


@pytest.mark.parametrize("name", ["ik-llama-cpp", "xllamacpp"])
def test_the_setting_chooses_for_all_files(name, monkeypatch):
    if not there(name.replace("-", "_")):
        pytest.skip("not installed")
    monkeypatch.setenv(libraries.VARIABLE, name)
    assert library() is opened(name.replace("-", "_"))


def test_an_interrupt_in_a_line_of_the_log_comes_after_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = library()
    lines = iter([KeyboardInterrupt])

    def interrupted(level: int, text: str, *_values: object) -> None:
        for kind in lines:
            raise kind

    monkeypatch.setattr("chainkit.backends.llama_cpp.capi.log.log", interrupted)

    def loads() -> None:
        llama._log_callback(2, b"loading", None)
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        loads()

"""Which library runs a model file, where both llama.cpp and ik_llama.cpp are installed: the faster one that is right.

A file that was not seen before runs on both in child processes (`comparison`). The decision is kept in the cache folder
until the file, a library or the processor changes. `engine=` in a spec and `CHAINKIT_LLAMA_LIBRARY` name a library;
ik_llama.cpp still runs only as far as its numbers are right.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainkit.backends.llama_cpp import processor
from chainkit.backends.llama_cpp.capi import Library
from chainkit.backends.llama_cpp.comparison import WIDEST, Job, as_argument
from chainkit.backends.llama_cpp.header import read_header
from chainkit.backends.llama_cpp.ik_capi import IkLibrary
from chainkit.backends.llama_cpp.libraries import HOMES, forced, library, opened
from chainkit.backends.llama_cpp.probe import child
from chainkit.backends.llama_cpp.processor import default_threads
from chainkit.base.copying import put
from chainkit.base.errors import MissingLibrary, Unsupported
from chainkit.base.paths import cache_dir

log = logging.getLogger("chainkit.llama_cpp")

AUTO = "auto"
IK = "ik_llama_cpp"
ENGINES = (AUTO, *HOMES)
"""Engine names a user may give."""

_RULES = 4  # to be raised when a decision would be another one for the same file
_SMALL = 32 << 20  # bytes of a file below which the choice is not worth its time
_READ, _WRITTEN = 256, 64  # tokens of the call that both are judged by
_GAIN = 0.92  # it must take so much of the other's time at most
_TILES = 0.97  # flash attention must take so much of the time without it at most
_NARROW = 31  # the widest pass of Q4_1 weights that was found right, where no file can be tried
_SECONDS, _BYTES_PER_SECOND = 120, 8_000_000
_LATE = "it was not done in time"
_AGAIN = 86_400  # seconds after which a trial that was not done in time is made again: the machine may be less busy


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A library, and how it runs a file.

    Attributes:
        library: A package, or the path of a library.
        reason: Why this one, in words.
        widest: Tokens that it computes at once at most; None: as many as it likes.
        flash: Whether attention is computed in tiles, as ik_llama.cpp needs to know; None: the library decides.
        speed: Tokens read and written per CPU second: of this library, then of the other.
        costs: CPU seconds of a pass by its number of tokens, all scored; empty if not measured.
    """

    library: str
    reason: str
    widest: int | None = None
    flash: bool | None = None
    speed: tuple[float, ...] = ()
    costs: tuple[tuple[int, float], ...] = ()


def known(path: Path, wanted: str, *, repack: bool, probe: bool, needs: str = "") -> Engine | None:
    """The library that runs a file; None if it has to be tried before that can be said.

    Args:
        path: The model file.
        wanted: A package, or "auto".
        repack: Whether weights may be copied into a faster layout.
        probe: Whether files may be tried.
        needs: Requested features that ik_llama.cpp lacks; empty if there are none.

    Raises:
        MissingLibrary: The one that is wanted, or any, is not installed.
        Unsupported: The library named lacks a requested feature, and no other is installed.
    """
    choice = forced() if wanted == AUTO else wanted
    if choice and not isinstance(opened(choice), IkLibrary):
        return Engine(library=choice, reason="named by the user")
    base = base_library()
    rival = _rival(choice)
    if rival is None:
        return Engine(library=_name(library()), reason="the only one that is installed")
    if needs:
        return _instead(base, choice, needs)
    if base is None or not probe or getattr(sys, "frozen", False):
        return _untried(path, base, choice, "files are not tried here")
    if not choice and path.stat().st_size < _SMALL:
        return Engine(library=_name(base), reason="the file is so small that the choice does not matter")
    return _kept(_place(path, base, rival, repack=repack), choice)


def tried(path: Path, wanted: str, *, repack: bool) -> Engine:
    """Run a file on both libraries, and keep what follows: some seconds for a small model, a minute for a large one."""
    choice = forced() if wanted == AUTO else wanted
    base, rival = base_library(), _rival(choice)
    assert base is not None  # `known` has said so
    assert rival is not None
    log.info("comparing %s with %s on %s", rival.layout.package, base.layout.package, path)
    place = _place(path, base, rival, repack=repack)
    found = _decide(path, base, rival, repack=repack)
    log.info("%s", found["reason"])
    _decided[place] = found
    if not found["complete"]:
        return _engine(found, choice)  # for this process only: the next one tries again
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{place.name}.{os.getpid()}.part")
        part.write_text(json.dumps({"path": str(path.resolve()), **found}, indent=1), "utf-8")
        put(part, place)
    except OSError as error:
        log.info("cannot remember which library runs %s: %s", path, error)
    return _engine(found, choice)


def decisions() -> list[dict[str, Any]]:
    """Stored decisions: for each file its `path`, the `library` and the `reason`."""
    found: list[dict[str, Any]] = []
    for place in sorted((cache_dir() / "engines").glob("*.json")):
        try:
            kept = json.loads(place.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if kept.get("rules") == _RULES and Path(kept["path"]).exists():
            found.append(kept)
    return found


def decided(name: str) -> dict[str, Any] | None:
    """The stored decision for the file of this name; None if it was not tried or its library was uninstalled."""
    for found in decisions()[::-1]:
        if Path(found["path"]).name == name and importlib.util.find_spec(found["library"]) is not None:
            return found
    return None


def base_library() -> Library | None:
    """llama.cpp's own library, whatever the user has named; None if only ik_llama.cpp is installed."""
    for package in (package for package, home in HOMES.items() if home.kind is Library):
        with suppress(MissingLibrary):
            return opened(package)
    return None


def first_library(engine: Engine | None) -> Library:
    """The library in which a file is tried first: ik_llama.cpp takes what llama.cpp has taken."""
    if engine is not None and not isinstance(opened(engine.library), IkLibrary):
        return opened(engine.library)
    return base_library() or opened(engine.library if engine else IK)


def _rival(choice: str) -> Library | None:
    try:
        return opened(choice or IK)
    except MissingLibrary:
        if choice:
            raise
        return None


def _name(one: Library) -> str:
    return next((package for package, home in HOMES.items() if home.layout is one.layout), str(one.path))


def _instead(base: Library | None, choice: str, needs: str) -> Engine:
    if base is None:
        raise Unsupported(f"ik_llama.cpp has no {needs}; run: pip install 'chainkit[gguf]'")
    if choice:
        log.warning("%s in place of %s, which has no %s", base.layout.package, choice, needs)
    return Engine(library=_name(base), reason=f"ik_llama.cpp has no {needs}")


def _untried(path: Path, base: Library | None, choice: str, reason: str) -> Engine:
    """Without a trial: llama.cpp, or if it must be ik_llama.cpp, as far as that is known to be right."""
    if not choice and base is not None:
        return Engine(library=_name(base), reason=reason)
    kinds = {tensor.type for tensor in read_header(path).tensors.values()}
    widest = _NARROW if "Q4_1" in kinds else None
    return Engine(library=choice or IK, reason="named by the user, not compared", widest=widest, flash=False)


def _place(path: Path, base: Library, rival: Library, *, repack: bool) -> Path:
    """Where the decision on a file is kept."""
    status = path.stat()
    with path.open("rb") as file:
        head = file.read(1 << 16)
    versions = [(str(one.path), one.layout.package, one.layout.version) for one in (base, rival)]
    parts = (_RULES, str(path.resolve()), status.st_size, status.st_mtime_ns, versions, repack, processor.name())
    name = hashlib.sha256(json.dumps(parts).encode() + head).hexdigest()
    return cache_dir() / "engines" / f"{name}.json"


_decided: dict[Path, dict[str, Any]] = {}


def _kept(place: Path, choice: str) -> Engine | None:
    found = _decided.get(place)
    if found is None:
        try:
            found = json.loads(place.read_text("utf-8"))
            if found["late"] and time.time() - place.stat().st_mtime > _AGAIN:
                return None
            engine = _engine(found, choice)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        _decided[place] = found
        return engine
    return _engine(found, choice)


def _engine(found: dict[str, Any], choice: str) -> Engine:
    """The decision, or the named library where it computes correctly."""
    speed = (*found["rival_speed"], *found["base_speed"])
    rival = Engine(
        library=choice or found["rival"],
        reason=found["reason"] if found["pays"] else f"named by the user; {found['reason']}",
        widest=found["widest"] if found["widest"] < WIDEST else None,
        flash=found["flash"],
        speed=speed,
        costs=_pairs(found["rival_costs"]),
    )
    if found["widest"] and (choice or found["pays"]):
        return rival
    if choice:
        log.warning("%s in place of %s: %s", found["base"], choice, found["reason"])
    return Engine(
        library=found["base"],
        reason=found["reason"],
        speed=speed[2:] + speed[:2],
        costs=_pairs(found["base_costs"]),
    )


def _pairs(costs: dict[str, float]) -> tuple[tuple[int, float], ...]:
    return tuple((int(width), seconds) for width, seconds in costs.items())


def _decide(path: Path, base: Library, rival: Library, *, repack: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            path=str(path),
            library=str(base.path),
            reference=str(Path(folder) / "numbers.npz"),
            candidate=False,
            flash=None,
            threads=default_threads(),
            repack=repack,
        )
        first = list(_run(job))
        job = replace(job, library=str(rival.path), candidate=True, noise=_last(first, "noise", 0.0))
        plain = list(_run(replace(job, flash=False)))
        widest = _last(plain, "widest", 0)
        tiled = list(_run(replace(job, flash=True, widest=widest))) if widest else []
    return verdict(_name(base), _name(rival), first, plain, tiled)


def verdict(
    base: str,
    rival: str,
    first: list[dict[str, Any]],
    plain: list[dict[str, Any]],
    tiled: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The decision from what the children have said.

    Args:
        base: The package of llama.cpp.
        rival: That of ik_llama.cpp.
        first: What llama.cpp's child said.
        plain: What ik_llama.cpp's child said without flash attention.
        tiled: What it said with it; empty if that was not tried.
    """
    flash = bool(_last(tiled, "widest", 0)) and _seconds(tiled, "_long") < _TILES * _seconds(plain, "_long")
    second = tiled if flash else plain
    widest = _last(second, "widest", 0)
    ours, theirs = _seconds(second), _seconds(first)
    unmeasured = _last(first, "failed", "")
    late = any(one.get("failed") == _LATE for one in (*first, *plain, *tiled))
    pays = bool(widest) and not unmeasured and ours < _GAIN * theirs
    reason = _reason(second, widest, ours / theirs if theirs else 1.0, flash=flash, pays=pays)
    return {
        "rules": _RULES,
        "complete": late or not unmeasured,
        "late": late,
        "library": rival if pays else base,
        "reason": f"there is nothing to compare with, llama.cpp's trial failed: {unmeasured}" if unmeasured else reason,
        "pays": pays,
        "widest": widest,
        "flash": flash,
        "base": base,
        "rival": rival,
        "base_speed": _speed(first),
        "rival_speed": _speed(second),
        "base_costs": _costs(first),
        "rival_costs": _costs(second),
        "passes": [one for one in (*plain, *tiled) if "width" in one],
        "noise": _last(first, "noise", 0.0),
    }


def _reason(said: Sequence[dict[str, Any]], widest: int, share: float, *, flash: bool, pays: bool) -> str:
    wrong = [one["width"] for one in said if not one.get("right", True)]
    if not widest and wrong:
        return "ik_llama.cpp computes it wrongly"
    if not widest:
        return f"ik_llama.cpp does not run it: {_last(said, 'failed', 'it gave no numbers')}"
    limit = f", in passes of {widest} tokens, since wider ones are wrong" if widest < WIDEST else ""
    call = f"{share:.2f} of llama.cpp's time for {_READ} tokens read and {_WRITTEN} written"
    tiles = ", with flash attention" if flash else ""
    return f"ik_llama.cpp takes {call}{limit}{tiles}" + ("" if pays else ", which is no gain")


def _seconds(said: Sequence[dict[str, Any]], after: str = "") -> float:
    """CPU for a call, also one after a long text ("_long"); without end if it never got so far."""
    reading, writing = _last(said, f"reading{after}", 0.0), _last(said, f"writing{after}", 0.0)
    return _READ * reading + _WRITTEN * writing if reading and writing else float("inf")


def _speed(said: Sequence[dict[str, Any]]) -> list[float]:
    return [round(1 / seconds, 2) for name in ("reading", "writing") if (seconds := _last(said, name, 0.0))]


def _costs(said: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {str(width): round(seconds, 6) for width, seconds in _last(said, "costs", {}).items()}


def _last(said: Sequence[dict[str, Any]], name: str, otherwise: Any) -> Any:
    return next((one[name] for one in reversed(said) if name in one), otherwise)


def _run(job: Job) -> Iterator[dict[str, Any]]:
    """What a child says, line by line; the last is `failed` with a reason if it did not come to its end."""
    seconds = _SECONDS + Path(job.path).stat().st_size / _BYTES_PER_SECOND
    try:
        done = child("chainkit.backends.llama_cpp.comparison", as_argument(job), seconds=seconds)
        output, status, errors = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        output, status, errors = error.stdout or b"", -1, _LATE.encode()
    for line in output.decode("utf-8", "replace").splitlines():
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)
    if status:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"it ended with status {status}"]
        yield {"failed": last[0][:200], "status": status}

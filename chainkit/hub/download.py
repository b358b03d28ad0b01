"""Files of a repository brought here: resumed where a download broke off, and compared with their hash at the end.

huggingface_hub does the transfer. Since its version 2 it keeps no part of a failed download, so the parts are ours:
they lie in `.pulling/` beside the models, under the hash of the file, and become a model when they are whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from chainkit.base.copying import put
from chainkit.base.errors import MissingLibrary, ModelFileError, StreamBroken, StreamStalled, Unsupported
from chainkit.base.hiding import hides_locals
from chainkit.hub.choice import HubFile
from chainkit.hub.local import RECORD, folder_of, record
from chainkit.hub.repository import Repository, named_faults, refuse_offline, token

try:
    import httpx2
    from filelock import FileLock, Timeout
    from huggingface_hub import constants, errors, get_hf_file_metadata
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers
except ImportError as error:
    raise MissingLibrary("huggingface_hub", extra="hub") from error

Value = TypeVar("Value")
Progress = Callable[[int, int, str], object]
"""Called with the bytes received, the total bytes and the current activity."""

_transfer_log = logging.getLogger("huggingface_hub.file_download")

_PARTS = ".pulling"
_READ_BYTES = 8 << 20
_SILENT_SECONDS = 600.0  # huggingface_hub hands on 10 MB at a time: 17 kB a second are enough


@hides_locals
def download(repository: Repository, files: Sequence[HubFile], progress: Progress | None = None) -> list[Path]:
    """Bring files into the models folder; identical local files are not fetched again.

    Returns:
        Their paths, in the same order.

    Raises:
        ModelFileError: A file is not what the hub says it is, another file is in its place, the disk is full, or
            another process is pulling it.
        StreamBroken: The connection broke; the next call resumes from there.
        Unsupported: A file is larger than hubs send.
        ProviderError: As for `look_up`.
    """
    folder = folder_of(repository.name.repo)
    missing = [file for file in files if not _is_here(folder / file.name, file, repository)]
    _require_room(folder, sum(file.size - _part_size(folder, file) for file in missing))
    total, done = sum(file.size for file in files), sum(file.size for file in files if file not in missing)
    for file in missing:
        counter = _Counter(progress or _silent, done, total, file.name)
        _pull(repository, file, folder, counter)
        done += file.size
    return [folder / file.name for file in files]


def _pull(repository: Repository, file: HubFile, folder: Path, counter: _Counter) -> None:
    refuse_offline(f"{repository.name.repo}/{file.name}")
    if file.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
        raise Unsupported(
            f"{file.name} has {file.size / 1e9:.0f} GB, and hubs send no file of more than 50 GB over plain HTTP; "
            f"choose one in several parts, or fetch it with huggingface_hub's own 'hf download' into {folder}"
        )
    part = _part(folder, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(part.with_suffix(".lock"))
    try:
        with lock.acquire(timeout=0):
            _fetch(repository, file, part, counter)
            counter.doing = f"checking {file.name}"
            counter.tell(file.size)
            _verify(part, file)
            target = folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            put(part, target)
            _remember(folder, file, repository)
    except Timeout as error:
        raise ModelFileError(folder / file.name, "is being pulled by another process") from error
    except OSError as error:
        raise ModelFileError(folder / file.name, f"cannot be written ({error.strerror or error})") from error
    part.with_suffix(".lock").unlink(missing_ok=True)
    if not any(part.parent.iterdir()):
        part.parent.rmdir()


def _fetch(repository: Repository, file: HubFile, part: Path, counter: _Counter) -> None:
    url = repository.address(file.name)
    with named_faults(repository.name):
        about = _in_time(
            lambda: get_hf_file_metadata(url, token=token() or False, endpoint=repository.endpoint), counter
        )
        same_host = urlsplit(about.location).netloc == urlsplit(url).netloc
        headers = build_hf_headers(token=(token() or False) if same_host else False, library_name="chainkit")
        part.touch()
        here = part.stat().st_size
        with part.open("r+b") as out:
            if here > file.size:  # cannot be ours
                out.truncate(here := 0)
            out.seek(here)
            _transfer(about.location, out, here, headers, file, counter)
            out.flush()
            os.fsync(out.fileno())


def _transfer(url: str, out: BinaryIO, here: int, headers: dict[str, str], file: HubFile, counter: _Counter) -> None:
    counter.tell(here)
    _transfer_log.setLevel(logging.ERROR)  # it repeats whole signed addresses at each attempt
    try:
        bar = counter.bar()
        _in_time(
            lambda: http_get(url, out, resume_size=here, headers=headers, expected_size=file.size, tqdm_class=bar),
            counter,
        )
    except errors.HfHubHTTPError:
        raise  # an answer, though huggingface_hub makes an OSError of it
    except (httpx2.TransportError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk, and not the line
            raise
        raise StreamBroken(
            f"the connection broke at {out.tell() / 1e6:.1f} of {file.size / 1e6:.1f} MB of {file.name}; "
            "pull again to go on from there",
            provider="hub",
        ) from error
    finally:
        _transfer_log.setLevel(logging.NOTSET)


def _in_time(work: Callable[[], Value], counter: _Counter) -> Value:
    """What a call gives, unless nothing new comes for long.

    huggingface_hub's own limit is for each read, so that a server which drips keeps it waiting. It waits in a thread,
    which ends at its next write, since the file is closed then.

    Raises:
        StreamStalled: Nothing came for `_SILENT_SECONDS`.
    """
    values: list[Value] = []
    faults: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            values.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            faults.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="chainkit-pull", daemon=True).start()
    seen, since = counter.here, time.monotonic()
    while not ended.wait(0.2):
        if counter.here != seen:
            seen, since = counter.here, time.monotonic()
        elif time.monotonic() - since > _SILENT_SECONDS:
            raise StreamStalled(
                f"less than {constants.DOWNLOAD_CHUNK_SIZE / 1e6:.0f} MB of {counter.doing} came in "
                f"{_SILENT_SECONDS:g} seconds; pull again to go on from there",
                provider="hub",
            )
    if faults:
        raise faults[0]
    return values[0]


def _verify(part: Path, file: HubFile) -> None:
    """Compare with the hash; a file that is wrong goes, for nothing could be resumed on it."""
    size = part.stat().st_size
    with part.open("rb") as opened:
        wanted, found = _hashes(file, opened, size)
    if size != file.size or wanted != found:
        part.unlink()
        raise ModelFileError(
            file.name,
            f"is not what the hub says it is (hash {found[:12]}..., not {(wanted or '')[:12]}...); "
            "what came was deleted, pull again",
        )


def _hashes(file: HubFile, opened: BinaryIO, size: int) -> tuple[str | None, str]:
    """The hash that the hub knows, and that of the content; git hashes a header line before the content."""
    if file.sha256 is None and file.git_sha1 is None:
        return "", ""
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    while block := opened.read(_READ_BYTES):
        digest.update(block)
    return file.sha256 or file.git_sha1, digest.hexdigest()


def _is_here(target: Path, file: HubFile, repository: Repository) -> bool:
    """Whether the file was pulled before and is still the hub's; an older one of ours may be replaced.

    Raises:
        ModelFileError: There is another file in its place that was not pulled.
    """
    if not target.exists():
        return False
    known = record(repository.name.repo).get(file.name)
    if isinstance(known, Mapping) and target.stat().st_size == known.get("size"):
        return known.get("hash") == (file.sha256 or file.git_sha1)
    if target.stat().st_size == file.size:
        with target.open("rb") as opened:
            wanted, found = _hashes(file, opened, file.size)
        if wanted == found:
            return True
    raise ModelFileError(target, "is in the way: it is another file than the one on the hub; move it or delete it")


def _remember(folder: Path, file: HubFile, repository: Repository) -> None:
    files: dict[str, Any] = record(repository.name.repo)
    files[file.name] = {"size": file.size, "hash": file.sha256 or file.git_sha1, "commit": repository.commit}
    value = {"repository": repository.name.repo, "hub": repository.endpoint, "files": files}
    part = folder / f"{RECORD}.{os.getpid()}"
    part.write_text(json.dumps(value, indent=1), "utf-8")
    put(part, folder / RECORD)


def _part(folder: Path, file: HubFile) -> Path:
    mark = hashlib.sha256(file.name.encode()).hexdigest()[:8]
    return folder / _PARTS / f"{(file.sha256 or file.git_sha1 or mark)[:40]}-{mark}.part"


def _part_size(folder: Path, file: HubFile) -> int:
    part = _part(folder, file)
    return min(part.stat().st_size, file.size) if part.exists() else 0


def _require_room(folder: Path, needed: int) -> None:
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ModelFileError(
            place, f"has {free / 1e9:.2f} GB of room on its disk, and {needed / 1e9:.2f} GB are to come"
        )


class _Counter:
    """Sums up the received bytes of all files, with the interface of a tqdm bar."""

    def __init__(self, progress: Progress, before: int, total: int, name: str) -> None:
        self._progress, self._before, self._total = progress, before, total
        self.doing, self.here = name, 0

    def tell(self, here: int) -> None:
        """Number of bytes of this file that are here."""
        self.here = here
        self._progress(self._before + here, self._total, self.doing)

    def bar(self) -> Any:
        """A class that huggingface_hub takes for tqdm's."""
        counter = self

        class Bar:
            def __init__(self, *_values: object, **_settings: object) -> None:
                pass

            def __enter__(self) -> Bar:
                return self

            def __exit__(self, *_error: object) -> None:
                pass

            def update(self, more: int) -> None:
                counter.tell(counter.here + more)

            def close(self) -> None:
                pass

        return Bar


def _silent(_done: int, _total: int, _doing: str) -> None:
    pass

"""Fresh Debian roots, made by debootstrap, and commands in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("python3", "python3-venv", "python3-pip", "make", "git", "ca-certificates")
CHECKOUT = Path(__file__).parent.parent
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


class Root:
    """A folder with a system of its own.

    Attributes:
        path: The folder.
        clone: The checkout's committed files, in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clone = path / "srv" / "chainkit"

    def run(self, command: str, env: dict[str, str] | None = None, seconds: float = 7200) -> tuple[int, str]:
        """The exit status of a bash command in the clone, and what it wrote; nothing of this machine's environment.

        The settings of pip are the exception: they say where packages come from.
        """
        settings = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        variables = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "dumb"} | settings | (env or {})
        done = subprocess.run(
            ["chroot", str(self.path), "/bin/bash", "-c", f"cd /srv/chainkit && {command}"],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
        return done.returncode, done.stdout.decode("utf-8", "replace")


@contextmanager
def fresh(
    suite: str, architecture: str = "", emulator: Path | None = None, shared: Sequence[Path] = ()
) -> Iterator[Root]:
    """A root with PACKAGES and nothing else, and a clone of the checkout; removed at the end.

    Args:
        suite: As debootstrap names it: bookworm, trixie.
        architecture: As Debian names it; this machine's own if empty.
        emulator: For another architecture, the static qemu that runs it; binfmt_misc must know it.
        shared: Folders of this machine that are seen in the root, such as one with wheels.

    Raises:
        SystemExit: debootstrap is missing or failed, or this is not root.
    """
    if os.geteuid() or not shutil.which("debootstrap"):
        raise SystemExit("this needs root and debootstrap; run as root: apt-get install debootstrap")
    folder = Path(tempfile.mkdtemp(prefix=f"root-{suite}-{architecture}"))
    root = Root(folder)
    mounted = [folder / "proc", folder / "dev", *(folder / path.relative_to("/") for path in shared)]
    try:
        _bootstrap(folder, suite, architecture, emulator)
        for target in mounted:
            target.mkdir(parents=True, exist_ok=True)
            kind = ["-t", "proc", "proc"] if target.name == "proc" else ["--rbind", f"/{target.relative_to(folder)}"]
            subprocess.run(["mount", *kind, str(target)], check=True)
        _prepare(root)
        yield root
    finally:
        for target in mounted:
            subprocess.run(["umount", "--recursive", "--lazy", str(target)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


def _bootstrap(folder: Path, suite: str, architecture: str, emulator: Path | None) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command += [f"--arch={architecture}"] if architecture else []
    command += ["--foreign"] if emulator else []
    _done([*command, suite, str(folder)])
    if emulator:
        shutil.copy(emulator, folder / "usr" / "bin")
        _done(["chroot", str(folder), "/debootstrap/debootstrap", "--second-stage"])


def _prepare(root: Root) -> None:
    """The clone, and this machine's way into the network."""
    root.clone.parent.mkdir(parents=True, exist_ok=True)
    _done(["git", "clone", "--quiet", "--no-local", str(CHECKOUT), str(root.clone)])
    shutil.copy("/etc/resolv.conf", root.path / "etc" / "resolv.conf")
    if ("/" / CERTIFICATES).exists():
        shutil.copy("/" / CERTIFICATES, root.path / CERTIFICATES)


def _done(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout.decode('utf-8', 'replace')[-3000:]}")

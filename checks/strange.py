"""The suite where a machine is not as usual: `make test-strange`, or part of it: `make test-strange STRANGE="fonts c"`.

Without names it makes the three runs of RUNS, which put together what can be had at once; named settings are one run
each, which shows the setting that a fault belongs to. Only root on Linux can hide fonts and become another user;
elsewhere a run with these two settings goes on without them, and says so. Arguments that begin with a dash or name a
file of tests go to pytest. Neither pytest nor pytest-xdist runs without standard output: commands with closed streams
are a test of the suite (`tests/cli/test_main.py`).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOBODY = 65534
_FONTS = ("/usr/share/fonts", "/usr/local/share/fonts")


@dataclass(frozen=True)
class Setting:
    """One way in which a machine may be strange.

    Attributes:
        env: Environment variables.
        before: Lines of bash ahead of the command, run as root where `root` says so.
        prefix: Words ahead of the command.
        behind: What stands behind the command.
        root: Whether only root can make it.
    """

    env: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    behind: str = ""
    root: bool = False


_HIDDEN_HOME = (
    # the interpreter may lie in root's home, which nobody else enters; caches there are hidden as well
    'base=$(dirname "$(dirname "$(readlink -f .venv/bin/python)")")',
    'case $base in "$HOME"/*) mkdir -p /tmp/base-$$; mount --bind "$base" /tmp/base-$$; '
    'mount -t tmpfs none "$HOME"; chmod 755 "$HOME"; mkdir -p "$base"; mount --move /tmp/base-$$ "$base";; esac',
)
SETTINGS = {
    "fonts": Setting(before=tuple(f"[ ! -d {path} ] || mount -t tmpfs none {path}" for path in _FONTS), root=True),
    "c": Setting({"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "german": Setting({"LC_ALL": "de_DE.UTF-8"}),
    "turkish": Setting({"LC_ALL": "tr_TR.UTF-8"}),
    "kathmandu": Setting({"TZ": "Asia/Kathmandu"}),
    "user": Setting(
        before=_HIDDEN_HOME,
        prefix=("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"),
        root=True,
    ),
    "umask": Setting(before=("umask 077",)),
    "core": Setting(prefix=("taskset", "--cpu-list", "0")),
    "files": Setting(prefix=("prlimit", "--nofile=256")),
    "pipe": Setting({"PYTHONIOENCODING": "ascii"}, behind=" | cat"),
}
RUNS = {
    "together": ("fonts", "turkish", "kathmandu", "user", "umask", "core", "files", "pipe"),
    "c": ("c",),
    "german": ("german",),
}


def main(arguments: list[str]) -> int:
    """Run the settings or runs that are named, or each run; how many failed."""
    names = [word for word in arguments if word in SETTINGS or word in RUNS]
    rest = [word for word in arguments if word not in names]
    failed = 0
    for name in names or RUNS:
        parts = [SETTINGS[part] for part in RUNS.get(name, (name,)) if _is_root() or not SETTINGS[part].root]
        if len(parts) < len(RUNS.get(name, (name,))):
            print(f"{name}: hiding fonts and becoming another user are left out, they need root on Linux")
        if not parts:
            continue
        # where Python has no UTF-8, pytest-xdist can send no other letters than those of ASCII
        letters = "c" if any(part.env.get("PYTHONUTF8") == "0" for part in parts) else "ü"
        with tempfile.TemporaryDirectory(prefix=f"strange {letters} ") as folder:
            failed += not run(name, parts, Path(folder), [f"--basetemp={folder}/tests {letters}", *rest])
    return failed


def run(name: str, parts: list[Setting], folder: Path, options: list[str]) -> bool:
    """Run the suite in a copy of the checkout; whether it passed."""
    place = _copy(folder)
    env = {key: value for part in parts for key, value in part.env.items()}
    env |= {"HOME": str(folder / "home"), "PYTHONPATH": str(place), "MPLCONFIGDIR": str(folder / "matplotlib")}
    if locale := env.get("LC_ALL", "C").partition(".")[0].replace("C", ""):
        env["LOCPATH"] = _locale(locale, folder)
    python = ROOT / ".venv" / "bin" / "python"
    command = [
        *(word for part in parts for word in part.prefix),
        *(str(python), "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"),
        *(f"--junitxml={folder}/result.xml", *options),
    ]
    variables = [f"export {key}={shlex.quote(value)}" for key, value in env.items()]
    script = [f"cd {shlex.quote(str(ROOT))}", *(line for part in parts for line in part.before), *variables]
    script += [f"cd {shlex.quote(str(place))}", shlex.join(command) + "".join(part.behind for part in parts)]
    shell = ["unshare", "--mount"] if any(part.root for part in parts) else []
    with (folder / "output").open("wb") as output:
        subprocess.run([*shell, "bash", "-c", "\n".join(script)], stdout=output, stderr=output, check=False)
    return _tell(name, folder)


def _copy(folder: Path) -> Path:
    """The checkout's files and an empty home that cannot be written, for anyone."""
    place = folder / "chainkit"
    skipped = shutil.ignore_patterns(".venv*", ".git", "__pycache__", ".ruff_cache", ".hypothesis", "dist")
    shutil.copytree(ROOT, place, ignore=skipped)
    (folder / "home").mkdir(mode=0o555)
    if _is_root():
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return place


def _locale(name: str, folder: Path) -> str:
    """A folder with a locale, made of the sources that the package `locales` installs.

    Raises:
        SystemExit: They are not installed.
    """
    place = folder / "locales"
    place.mkdir()
    done = subprocess.run(["localedef", "-i", name, "-f", "UTF-8", str(place / f"{name}.UTF-8")], check=False)
    if done.returncode:
        raise SystemExit(f"the locale {name} cannot be made; run: apt-get install locales")
    return str(place)


def _tell(name: str, folder: Path) -> bool:
    """Print how a run ended; whether it passed."""
    output = (folder / "output").read_text("utf-8", "replace")
    if not (folder / "result.xml").exists():
        print(f"{name}: did not end\n{output[-3000:]}")
        return False
    suite = ET.parse(folder / "result.xml").getroot()[0]
    count, failures, errors = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors"))
    print(f"{name}: {count} tests, {failures + errors} failed", flush=True)
    for case in suite.iter("testcase"):
        for fault in [*case.iter("failure"), *case.iter("error")]:
            print(f"  {case.get('classname')}::{case.get('name')}: {str(fault.get('message'))[:300]}")
    return not failures + errors


def _is_root() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))

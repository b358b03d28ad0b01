"""The drawing in docs/architecture.md, made from the code: `python -m tests.drawing` writes it anew.

Layers come from the contract in pyproject.toml, folders from `chainkit/`, and what a folder is for from the first
line of its docstring.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
MARKED = re.compile(
    r"(<!-- drawn: layers -->\n```text\n).*?(```\n.*<!-- drawn: folders -->\n).*?(<!-- end of the drawing -->)",
    re.DOTALL,
)


def layers() -> str:
    """The rows of the house, the highest first; rooms that are planned and not built are left out."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    lines: list[str] = []
    for row in rows:
        names = [name.strip() for name in row.split("|")]
        there = [name for name in names if exists(name.strip("()"))]
        if there:
            lines.append("   ".join(name.strip("()") for name in there))
    return "".join(f"{line}\n" for line in lines)


def exists(name: str) -> bool:
    """Whether a room of a layer is built."""
    return (ROOT / "chainkit" / name).is_dir() or (ROOT / "chainkit" / f"{name}.py").is_file()


def folders() -> str:
    """A table of all folders with what they are for."""
    rows = ["| folder | what it is for |", "|---|---|"]
    package = ROOT / "chainkit"
    for init in sorted(package.rglob("__init__.py")):
        folder = init.parent.relative_to(ROOT)
        first = (ast.get_docstring(ast.parse(init.read_text("utf-8"))) or "").split("\n")[0]
        rows.append(f"| `{folder}` | {first} |")
    return "".join(f"{row}\n" for row in rows)


def drawn(text: str) -> str:
    """The page with the drawing as the code is now."""
    return MARKED.sub(lambda match: f"{match[1]}{layers()}{match[2]}{folders()}{match[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")

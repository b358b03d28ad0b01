"""Counts that say whether the house stays simple: `python -m tests.house`, part of `make check`.

Circles of imports between files, names of public classes that two files share, lines, the longest file and function. A
circle or a shared name fails.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class House:
    """What was counted.

    Attributes:
        lines: Of all files.
        files: How many.
        longest_file: Its lines and its module.
        longest_function: Its lines and its name.
        circles: Modules that import each other in a circle, one tuple for each circle.
        shared: Name of a public class to the modules that have one of that name.
    """

    lines: int
    files: int
    longest_file: tuple[int, str]
    longest_function: tuple[int, str]
    circles: tuple[tuple[str, ...], ...]
    shared: Mapping[str, tuple[str, ...]]

    def faults(self) -> list[str]:
        """What `make check` refuses."""
        found = [f"circle: {' '.join(circle)}" for circle in self.circles]
        found += [f"class {name}: {' '.join(self.shared[name])}" for name in sorted(self.shared)]
        return found

    def __str__(self) -> str:
        lines = [
            f"{self.lines} lines in {self.files} files",
            f"longest file: {self.longest_file[0]} lines, {self.longest_file[1]}",
            f"longest function: {self.longest_function[0]} lines, {self.longest_function[1]}",
            f"circles of imports: {len(self.circles)}",
            *(f"    {' '.join(circle)}" for circle in self.circles),
            f"public class names used twice: {len(self.shared)}",
            *(f"    {name}: {' '.join(modules)}" for name, modules in sorted(self.shared.items())),
        ]
        return "\n".join(lines)


def count(package: Path) -> House:
    """Count a package's files; imports inside functions count, and those for type checkers do too."""
    files = {module_of(path, package.parent): path for path in sorted(package.rglob("*.py"))}
    trees = {module: ast.parse(path.read_text("utf-8")) for module, path in files.items()}
    sizes = {module: path.read_text("utf-8").count("\n") for module, path in files.items()}
    graph = {module: set(imported(tree, files)) - {module} for module, tree in trees.items()}
    functions = [
        ((node.end_lineno or 0) - node.lineno + 1, f"{module}.{node.name}")
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    homes: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module)
    return House(
        lines=sum(sizes.values()),
        files=len(files),
        longest_file=max((lines, module) for module, lines in sizes.items()),
        longest_function=max(functions, default=(0, "")),
        circles=tuple(sorted(circles(graph))),
        shared={name: tuple(modules) for name, modules in homes.items() if len(modules) > 1},
    )


def module_of(path: Path, above: Path) -> str:
    """The dotted name of a file."""
    return ".".join(path.relative_to(above).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports; of `from a import b` it is a.b if that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from [full] if full in known else [node.module] if node.module in known else []
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def circles(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """The strongly connected parts of two or more modules (R. Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[tuple[str, ...]]:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                yield from visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            place = stack.index(module)
            part = stack[place:]
            del stack[place:]
            if len(part) > 1:
                yield tuple(sorted(part))

    for module in graph:
        if module not in index:
            yield from visit(module)


if __name__ == "__main__":
    house = count(ROOT / "chainkit")
    print(house)
    faults = house.faults()
    print("\n".join(faults), file=sys.stderr, end="\n" if faults else "")
    sys.exit(bool(faults))

"""Mutation testing: small faults put into the code one at a time; does a test notice?

python -m benchmarks.mutants [--sample N] [--seed S] [AREA ...]

Each mutant changes one operator, whole number, truth value or statement inside of a function, and runs the tests of its
area until the first that fails. A process for each, forked where the libraries are imported already, in a copy of the
tree. mutmut 3.3 and cosmic-ray 8.3 copy the tree or start Python anew for each mutant;
with langchain-core, torch and llama.cpp to import that takes 6 to 15 seconds before the first test.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SPARE = 3  # a mutant's tests may take so many times what they take without a fault; one that never ends is noticed too
SPARE_SECONDS = 20
AREAS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "decoding": (
        ("decoding/loop.py", "decoding/stops.py", "decoding/sampler.py", "decoding/healing.py", "decoding/guide.py"),
        (
            "tests/decoding/test_loop.py",
            "tests/decoding/test_stops.py",
            "tests/decoding/test_healing.py",
            "tests/decoding/test_sampler.py",
            "tests/decoding/test_constraints.py",
            "tests/decoding/test_checked.py",
        ),
    ),
    "local": (
        (
            "local/session.py",
            "local/scheduler.py",
            "local/runtime.py",
            "local/prefixes.py",
            "local/branches.py",
            "local/lookup.py",
            "base/generation.py",
            "local/settings.py",
        ),
        (
            "tests/local/test_scheduler.py",
            "tests/local/test_session.py",
            "tests/local/test_prefixes.py",
            "tests/local/test_branches.py",
            "tests/base/test_generation.py",
            "tests/local/test_keys.py",
        ),
    ),
    "programs": (
        (
            "programs/run/slots.py",
            "programs/run/loops.py",
            "programs/run/line.py",
            "programs/run/shared.py",
            "programs/run/driver.py",
            "programs/model/local.py",
            "programs/model/tokens.py",
            "programs/model/hosted.py",
            "programs/model/forms.py",
            "programs/model/cache.py",
        ),
        (
            "tests/programs/test_arithmetic.py",
            "tests/programs/test_slots.py",
            "tests/programs/test_models.py",
            "tests/programs/test_language.py",
        ),
    ),
    "knowledge": (
        ("knowledge/index/search.py", "knowledge/index/lookup.py", "knowledge/answer/citations.py"),
        (
            "tests/knowledge/test_citations.py",
            "tests/knowledge/test_search.py",
            "tests/knowledge/test_filters.py",
            "tests/knowledge/test_codes.py",
        ),
    ),
    "caches": (
        ("base/answer_store.py", "scale/answer_cache.py", "vectors/cached.py", "chains/kept.py"),
        (
            "tests/base/test_answer_store.py",
            "tests/scale/test_answer_cache.py",
            "tests/vectors/test_cached.py",
            "tests/chains/test_map_reduce.py",
        ),
    ),
}
_COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult}


@dataclass(frozen=True)
class Mutant:
    """One fault: the module, where, what it was and is, and the module's new source."""

    path: str
    line: int
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change}"


def mutants(path: str) -> list[Mutant]:
    """All faults of a module."""
    tree = ast.parse((ROOT / "chainkit" / path).read_text("utf-8"))
    count = sum(1 for _ in _places(tree))
    found = []
    for number in range(count):
        twin = copy.deepcopy(tree)
        node = list(_places(twin))[number]
        before = ast.unparse(node)
        _change(node)
        found.append(
            Mutant(path, node.lineno, f"{before} -> {ast.unparse(node)}".replace("\n", " ")[:160], ast.unparse(twin))
        )
    return found


def _places(tree: ast.Module) -> Iterator[ast.expr | ast.stmt]:
    """Nodes inside of functions that can be changed; texts of messages are left alone."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or function.name == "__repr__":
            continue
        waiting: list[ast.AST] = list(function.body)
        while waiting:
            node = waiting.pop(0)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Raise | ast.Assert):
                continue
            if _changeable(node):
                yield node  # type: ignore[misc]
            waiting.extend(child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.JoinedStr))


def _changeable(node: ast.AST) -> bool:
    match node:
        case ast.Compare(ops=[operator]):
            return type(operator) in _COMPARISONS
        case ast.BinOp(op=operator):
            return type(operator) in _OPERATORS
        case ast.Constant(value=value):
            return isinstance(value, int)
        case ast.Expr(value=ast.Call()):
            return True
    return isinstance(node, ast.BoolOp | ast.AugAssign) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _change(node: ast.AST) -> None:
    match node:
        case ast.Compare(ops=[operator]):
            node.ops = [_COMPARISONS[type(operator)]()]
        case ast.BinOp(op=operator):
            node.op = _OPERATORS[type(operator)]()
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() as value):
            node.value = value + 1
        case ast.BoolOp(op=operator):
            node.op = ast.Or() if isinstance(operator, ast.And) else ast.And()
        case ast.UnaryOp():
            node.op = ast.UAdd()
            node.operand = ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])
        case ast.AugAssign(op=operator):
            node.op = ast.Sub() if isinstance(operator, ast.Add) else ast.Add()
        case ast.Expr():
            node.value = ast.Constant(None)
    ast.fix_missing_locations(node)


class Copy:
    """A copy of the tree in which one file at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        self._cpu_seconds, self._seconds = 600, 3600.0
        left_out = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", "shared", "demo-output")
        shutil.copytree(ROOT, self.root, ignore=left_out, symlinks=True)

    def survives(self, mutant: Mutant | None, tests: tuple[str, ...]) -> bool:
        """Whether all tests pass with the fault."""
        if mutant is None:
            self._cpu_seconds, self._seconds = 600, 3600.0
            begun, used = time.monotonic(), _children_seconds()
            passed = self._passes(tests)
            # the processor's time too: a busy machine must not count as a failed test
            self._cpu_seconds = int(SPARE * (_children_seconds() - used) + SPARE_SECONDS)
            self._seconds = 3 * SPARE * (time.monotonic() - begun) + SPARE_SECONDS
            return passed
        path = self.root / "chainkit" / mutant.path
        sound = path.read_text("utf-8")
        path.write_text(mutant.source, "utf-8")
        try:
            return self._passes(tests)
        finally:
            path.write_text(sound, "utf-8")

    def _passes(self, tests: tuple[str, ...]) -> bool:
        child = os.fork()
        if child == 0:
            self._run(tests)
        begun = time.monotonic()
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) == 0
            if time.monotonic() - begun > self._seconds:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return False
            time.sleep(0.05)

    def _run(self, tests: tuple[str, ...]) -> None:
        """In the child: the tests, until one fails."""
        import pytest

        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (self._cpu_seconds, self._cpu_seconds))
        os.chdir(self.root)
        sys.path.insert(0, str(self.root))
        sys.dont_write_bytecode = True  # compiled files are told apart by seconds
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        with tempfile.TemporaryDirectory() as home:
            os.environ["CHAINKIT_HOME"] = home
            code = 1
            with suppress(BaseException):
                code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])
        os._exit(int(code))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("areas", nargs="*", choices=[*AREAS, []], default=[])
    arguments.add_argument("--sample", type=int, default=30, help="mutants of each area; 0 for all")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    for library in ("langchain_core.language_models", "numpy", "llguidance", "pytest", "pydantic"):
        importlib.import_module(library)
    killed = total = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Copy(Path(folder))
        for area in given.areas or AREAS:
            paths, tests = AREAS[area]
            if not tree.survives(None, tests):
                sys.exit(f"{area}: the tests fail without any fault")
            every = [mutant for path in paths for mutant in mutants(path)]
            chosen = random.Random(given.seed).sample(every, min(given.sample or len(every), len(every)))
            alive = 0
            for mutant in chosen:
                if tree.survives(mutant, tests):
                    alive += 1
                    print(f"  lives: {mutant}", flush=True)
            print(f"{area}: {len(chosen) - alive} of {len(chosen)} killed, of {len(every)} possible", flush=True)
            killed, total = killed + len(chosen) - alive, total + len(chosen)
    print(f"all: {killed} of {total} killed, {killed / max(1, total):.0%}")


if __name__ == "__main__":
    main()

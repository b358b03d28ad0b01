"""How far a call travels: calls, functions, files and depth inside chainkit, counted by Python's profiler.

python -m benchmarks.traces [PART ...]; parts: token (of a streamed chat on GGUF), slot (`gen` on transformers),
ask (a question over the README), option (a setting of a spec, from the string to the sampler).

Each call is made once before, so that what is loaded or compiled once does not count. A generator that goes on counts
as a call. Depth is the number of chainkit's own frames that stand on one another.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import chainkit

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "examples" / "demo_model"
PACKAGE = str(Path(chainkit.__file__).parent)


class Trace:
    """Counts while it is entered."""

    def __enter__(self):
        self.calls, self.depth, self.deepest = 0, 0, 0
        self.functions: set[tuple[str, str]] = set()
        self.path: list[str] = []
        self.stack: list[str] = []
        sys.setprofile(self._event)
        return self

    def __exit__(self, *exception):
        sys.setprofile(None)

    def _event(self, frame, event, _argument):
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return
        if event == "call":
            self.calls += 1
            self.functions.add((code.co_filename, code.co_qualname))
            self.stack.append(code.co_qualname)
            if len(self.stack) > self.deepest:
                self.deepest, self.path = len(self.stack), list(self.stack)
        elif event == "return" and self.stack:
            self.stack.pop()

    def __str__(self):
        files = len({file for file, _ in self.functions})
        return f"{self.calls} calls of {len(self.functions)} functions in {files} files, {self.deepest} deep"


def counted(work: Callable[[], object]) -> Trace:
    work()
    with Trace() as trace:
        work()
    return trace


def token() -> Trace:
    model = chainkit.chat_model(f"gguf:{DEMO / 'demo-q8_0.gguf'}?max_tokens=3")
    return counted(lambda: list(model.stream("Hello there")))


def slot() -> Trace:
    program = chainkit.program("Name: {{gen 'name' max_tokens=8}}.", chainkit.llm(f"hf:{DEMO / 'hf'}"))

    def run():
        from chainkit.programs.model import cache

        with cache.disabled():
            program()

    return counted(run)


def ask() -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "README.md").write_text((ROOT / "README.md").read_text("utf-8"), "utf-8")
        return counted(lambda: chainkit.ask("How do I choose a model?", [f"{folder}/README.md"]))


def option() -> Trace:
    spec = f"gguf:{DEMO / 'demo-q8_0.gguf'}?temperature=0.7"

    def run():
        chainkit.llm(spec).call(None, {})

    return counted(run)


PARTS = {"token": token, "slot": slot, "ask": ask, "option": option}


def main() -> None:
    for name in sys.argv[1:] or PARTS:
        trace = PARTS[name]()
        print(f"{name}: {trace}")
        print("   " + " > ".join(trace.path))


if __name__ == "__main__":
    main()

"""An interrupt at any place of a generation leaves the runtime as if the call had not been made, on every backend.

Ctrl-C comes where Python looks for signals: at the beginning and the end of calls, and where a loop begins again. So it
is raised there, at each in turn; then the conversation goes on, and must be what it is where nothing was ever
interrupted.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainkit.base.errors import MissingLibrary
from chainkit.local.scheduler import scheduler_of

PROMPT = "the cat sat on the mat"
MORE = " and the dog"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # raised in a finaliser


def gguf(folder: Path) -> Any:
    pytest.importorskip("gguf")
    from chainkit.backends.llama_cpp import libraries
    from chainkit.backends.llama_cpp.models import GGUFModel
    from tests.backends.llama_cpp import tiny

    try:
        libraries.library()
    except MissingLibrary:
        pytest.skip("llama.cpp is not installed")
    path = str(tiny.write_model(folder / "bpe.gguf"))
    return GGUFModel(
        model=path, kv_type="f32", flash_attention=False, probe=False, n_batch=8, n_threads=1, context_length=96
    )


def gguf_draft(folder: Path) -> Any:
    model = gguf(folder)
    return type(model)(**model.model_dump(exclude={"draft"}), draft=model.model)


def transformers(folder: Path) -> Any:
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    from chainkit.backends.huggingface.models import HuggingFaceModel
    from tests.backends.huggingface import tiny

    return HuggingFaceModel(model=tiny.save(folder / "llama", tiny.causal("llama"), tiny.bpe()), n_batch=8)


def one_at_a_time(folder: Path) -> Any:
    """A transformers model whose texts are computed one after the other, with the library's own cache."""
    model = transformers(folder)
    model.runtime.ragged = False
    return model


def ctransformers(folder: Path) -> Any:
    pytest.importorskip("ctransformers")
    from chainkit.backends.ctransformers.models import CTransformersModel
    from tests.backends.ctransformers import tiny

    return CTransformersModel(model=str(tiny.write(folder / "gpt2.bin")))


MAKERS = [gguf, gguf_draft, transformers, one_at_a_time, ctransformers]


JUMP_BACKWARD = dis.opmap["JUMP_BACKWARD"]

# A profiler is called there and no signal is handled there: the interpreter takes a lock and enters its block, or
# leaves the block and releases the lock, in one step.
NEVER = frozenset(["__enter__", "__exit__", "acquire", "release", "_acquire_restore", "_release_save"])


class Interrupts:
    """Counts where a signal could come; raises at one of these places."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.seen = at, 0

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        name = getattr(argument, "__name__", "") if event.startswith("c_") else frame.f_code.co_name
        if name in NEVER:
            return
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt

    def during(self, work: Callable[[], object]) -> None:
        sys.setprofile(self)
        try:
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)


class AtLoops(Interrupts):
    """Counts and raises where a loop goes back to its beginning: there, too, Python looks for signals."""

    def during(self, work: Callable[[], object]) -> None:
        sys.settrace(self.entered)
        try:
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)

    def entered(self, frame: Any, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self.traced

    def traced(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] == JUMP_BACKWARD:
            self.seen += 1
            if self.seen == self.at:
                raise KeyboardInterrupt
        return self.traced


def written(model: Any, prompt: str = PROMPT, tokens: int = 3) -> str:
    return "".join(model.stream(prompt, max_tokens=tokens))


def check_interrupts(
    make: Callable[[Path], Any], folder: Path, places: int, interrupts: type[Interrupts] = Interrupts
) -> None:
    model = make(folder)
    text = written(model)
    goes_on, other = f"{PROMPT}{text}{MORE}", "once upon a time"
    expected = written(model, goes_on), written(model, other)
    count = interrupts()
    count.during(lambda: written(model))
    every = count.seen - 2  # the last ones are ours
    assert every > (200 if interrupts is Interrupts else 20)
    for at in range(1, every, max(1, every // places)):
        interrupts(at).during(lambda: written(model))
        found = written(model, goes_on), written(model, other)
        assert found == expected, f"interrupted at {at} of {every}"
        scheduler = scheduler_of(model.runtime)
        assert (scheduler._driver, scheduler._active, list(scheduler._queue)) == (None, [], []), at


@pytest.mark.parametrize("make", MAKERS)
def test_an_interrupt_leaves_the_runtime_as_it_was(make: Callable[[Path], Any], tmp_path: Path) -> None:
    check_interrupts(make, tmp_path, {ctransformers: 3, transformers: 20}.get(make, 60))


# a thousand in all; most where one costs least
PLACES = {gguf: 500, gguf_draft: 300, one_at_a_time: 150, transformers: 60, ctransformers: 10}


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_an_interrupt_at_any_call_leaves_the_runtime_as_it_was(make: Callable[[Path], Any], tmp_path: Path) -> None:
    check_interrupts(make, tmp_path, PLACES[make])


@pytest.mark.slow
@pytest.mark.parametrize("make", [gguf, gguf_draft, one_at_a_time])
def test_an_interrupt_at_any_loop_leaves_the_runtime_as_it_was(make: Callable[[Path], Any], tmp_path: Path) -> None:
    check_interrupts(make, tmp_path, 100, AtLoops)

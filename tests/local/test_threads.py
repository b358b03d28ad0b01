"""A model of the parent process is refused in a forked child, which would wait for threads that are gone."""

from __future__ import annotations

import os
import sys

import pytest

import chainkit
from chainkit.base.errors import Unsupported

DEMO = "gguf:examples/demo_model/demo-q8_0.gguf?n_threads=2&context_length=128&max_tokens=4"
fork = pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="there is no fork")


def in_child(work) -> str:
    """What a forked child reports; it must end by itself."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            work()
            told = "went on"
        except Unsupported as error:
            told = str(error)
        except BaseException as error:  # noqa: BLE001 - the child must not go on as pytest
            told = repr(error)
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said


@fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("used", [True, False])
def test_a_model_that_was_loaded_before_a_fork_says_so_in_the_child(used: bool) -> None:
    model = chainkit.llm(DEMO)
    if used:
        model.invoke("Hello")
    else:
        _ = model.runtime  # type: ignore[attr-defined]
    for work in (lambda: model.invoke("Hello"), lambda: list(model.stream("Hello"))):
        assert "load it after the fork" in in_child(work)
    assert model.invoke("Hello") == model.invoke("Hello")  # the parent's is as before


@fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_embeddings_that_were_loaded_before_a_fork_say_so_in_the_child() -> None:
    model = chainkit.embeddings("gguf:examples/demo_model/demo-q8_0.gguf")
    model.embed_query("Hello")
    assert "load it after the fork" in in_child(lambda: model.embed_query("Hello"))

"""A model that nobody uses gives its memory back at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO_MODEL = Path(__file__).parents[3] / "examples" / "demo_model" / "demo-q8_0.gguf"
PROGRAM = """
import gc, sys, weakref
from chainkit.backends.llama_cpp.models import GGUFModel

gc.disable()
model = GGUFModel(model=sys.argv[1], max_tokens=2)
model.invoke("Hello")
runtime, weights = weakref.ref(model.runtime), weakref.ref(model.runtime.weights)
model.unload()
print(runtime() is None, weights() is None)
"""


@pytest.mark.skipif(not DEMO_MODEL.exists(), reason="the demo model is not there")
def test_the_first_model_of_a_process_is_freed_when_it_is_unloaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(DEMO_MODEL)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["True", "True"]

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from chainkit.sizing.plan import MemoryPlan, Use
from chainkit.tuning.plan import TuningPlan
from chainkit.upscaling.plan import UpscalePlan
from chainkit.upscaling.slices import Slice


def test_a_plan_of_tuning_is_a_table_in_a_notebook():
    plan = TuningPlan(
        model="<m>", method="soft", parameters=12_000, frozen=1, examples=2, held_out=1, tokens=9, steps=3,
        learning_rate=0.3, seconds=2.5, memory_bytes=None, saved_bytes=7,
    )  # fmt: skip
    shown = plan._repr_html_()
    assert "<td>&lt;m&gt;</td>" in shown
    assert "<th>parameters</th><td>12,000</td>" in shown
    assert "memory" not in shown


def test_a_plan_of_upscaling_is_a_table_in_a_notebook():
    plan = UpscalePlan(
        source=Path("m"), architecture="llama", depth=4, slices=(Slice(0, 3), Slice(1, 4)), parameters=10,
        new_parameters=15, nbytes=None, new_bytes=None, changes={"num_hidden_layers": 6},
    )  # fmt: skip
    assert "<th>new layers</th><td>6</td>" in plan._repr_html_()
    assert "num_hidden_layers=6" in plan._repr_html_()


def test_a_plan_of_memory_is_a_table_in_a_notebook():
    shape = SimpleNamespace()
    plan = MemoryPlan(
        model=shape, use=Use(context=64), weights=1_000, copies=0, cache=5, compute=6, tokenizer=7, program=8
    )
    assert "<th>weights</th><td>1,000</td>" in plan._repr_html_()
    assert "context=64" in plan._repr_html_()

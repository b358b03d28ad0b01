"""Teach the demo model a task it cannot do: answer as JSON without being asked to. Takes a minute or two.

python examples/tuning.py [FOLDER [EXAMPLES]]
"""

import sys
import tempfile
from pathlib import Path

from demo_model.json_task import pairs

import chainkit

MODEL = Path(__file__).parent / "demo_model" / "hf"


def main(folder: Path, count: int = 150) -> None:
    tuned = chainkit.tune(
        MODEL,
        pairs(count, seed=1),
        folder,
        held_out_examples=pairs(50, seed=99, unseen=True),
        chat=True,
        virtual_tokens=8,
        epochs=3,
        progress=lambda step: print(f"\rstep {step.number} of {step.total}, loss {step.loss:.3f}", end="", flush=True),
    )
    print(f"\n\n{tuned.report}\n")
    question = "Context: Mira Tolan lives in Oskaville.\n\nQuestion: Where does Mira Tolan live?"
    model = chainkit.chat_model(f"hf:{MODEL}")
    print(model.invoke(question).text)
    if tuned.kept:  # nothing is saved that is no better than the model alone
        print(model.invoke(question, soft_prompt=tuned.soft_prompt).text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name) / "json")

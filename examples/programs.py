"""Ten programs, each out of a file, on the small model of this repository.

    $ python examples/programs.py             # all of them
    $ python examples/programs.py talk        # one

The model is a toy: look at the form of what comes out, which is always right, and not at its wisdom.
"""

import sys
from pathlib import Path

import chainkit

FOLDER = Path(__file__).parent
MODEL = f"gguf:{FOLDER / 'demo_model' / 'demo-q8_0.gguf'}"
WEAPONS = ["sword", "axe", "mace", "spear", "bow", "crossbow"]


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


VARIABLES = {
    "proverb": {
        "proverb": "Where there is no guidance, a people falls,\nbut in an abundance of counselors there is safety.",
        "book": "Proverbs",
        "chapter": 11,
        "verse": 14,
    },
    "experts": {"query": "How can I be more productive?"},
    "character": {
        "id": "e1f491f7-7ab8-4dac-8c20-c92b5e7d883d",
        "description": "A quick and nimble fighter.",
        "valid_weapons": WEAPONS,
    },
    "character_at_once": {"id": "e1f491f7-7ab8-4dac-8c20-c92b5e7d883d", "description": "A quick and nimble fighter."},
    "sentiment": {"review": "The soup was cold and the waiter was rude."},
    "person": {"text": "Anna Berg is 34 years old and lives in Oslo."},
    "talk": {"question": "The cat is called Tom. What is the cat called?"},
    "calculate": {"question": "What is 2 plus 40?", "tools": [add]},
    "reviews": {"reviews": ["The soup was cold.", "Nobody came to our table.", "Too dear for what it is."]},
    "outline": {"topic": "Bees"},
}


def main() -> None:
    for name in sys.argv[1:] or VARIABLES:
        text = (FOLDER / "programs" / f"{name}.ck").read_text("utf-8")
        model = chainkit.chat_model(MODEL) if "{{#user" in text else chainkit.llm(MODEL)
        print(f"--- {name}")
        run = chainkit.program(text, model).with_options(seed=1).show(VARIABLES[name])
        if run.waiting:
            run = run(**{run.waiting: "bye"})
        usage = run.usage
        print(f"({usage.sampled} tokens chosen, {usage.forced} certain, {usage.passes} passes)")


if __name__ == "__main__":
    main()

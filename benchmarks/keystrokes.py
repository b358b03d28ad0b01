"""Ten tasks of a first-time user in the terminal: commands and keystrokes, beside llm and ollama.

`python benchmarks/keystrokes.py` prints the table of docs/terminal.md. A keystroke is a character or Enter, or Ctrl-C.
A line is a command, whether it goes to the shell or to a prompt. All three have a default model where they know such a
thing, the same question, and a model of the same name. llm 0.36 as its own help says; ollama as its documentation of
2026 says, without `http://`, and with one object as the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

STOP = "Ctrl-C"
QUESTION, MORE, MODEL, FILE = '"Why is the sky blue?"', '"And at night?"', "smollm2", "notes.txt"


@dataclass(frozen=True)
class Task:
    """What is to be done, and what is typed for it; nothing where the program does not do it."""

    name: str
    chainkit: tuple[str, ...]
    llm: tuple[str, ...]
    ollama: tuple[str, ...]


TASKS = (
    Task("ask once", (f"ck {QUESTION}",), (f"llm {QUESTION}",), (f"ollama run {MODEL} {QUESTION}",)),
    Task(
        "pipe a file",
        (f"ck -s Summarise < {FILE}",),
        (f"llm -s Summarise < {FILE}",),
        (f"ollama run {MODEL} Summarise < {FILE}",),
    ),
    Task(
        "go on",
        (f"ck -c {MORE}",),
        (f"llm -c {MORE}",),
        (f"ollama run {MODEL}", QUESTION.strip('"'), MORE.strip('"')),
    ),
    Task(
        "change the model",
        (f"ck -m {MODEL} {QUESTION}",),
        (f"llm -m {MODEL} {QUESTION}",),
        (f"ollama run {MODEL} {QUESTION}",),
    ),
    Task("set a default", (f"ck models default {MODEL}",), (f"llm models default {MODEL}",), ()),
    Task("see what was sent", ("ck -l",), ("llm logs",), ()),
    Task("stop an answer", (STOP,), (STOP,), (STOP,)),
    Task("find an old answer", ("ck chats blue",), ("llm logs -q blue",), ()),
    Task("serve", ("ck serve",), (), ("ollama serve",)),
    Task(
        "ask from another program",
        (f"""curl --json '{{"model":"{MODEL}","input":{QUESTION}}}' localhost:8000/v1/responses""",),
        (),
        (f"""curl localhost:11434/api/generate -d '{{"model":"{MODEL}","prompt":{QUESTION},"stream":false}}'""",),
    ),
)


def keystrokes(lines: tuple[str, ...]) -> int:
    """How many keys are pressed for these lines."""
    return sum(1 if line == STOP else len(line) + 1 for line in lines)


def cell(lines: tuple[str, ...]) -> str:
    """Commands and keystrokes of one program."""
    return f"{len(lines)} / {keystrokes(lines)}" if lines else "-"


def table() -> str:
    """The table, in Markdown."""
    rows = ["| task | typed | chainkit | llm | ollama |", "|---|---|---|---|---|"]
    for task in TASKS:
        typed = task.chainkit[0] if task.chainkit[0] == STOP else f"`{task.chainkit[0]}`"
        rows.append(f"| {task.name} | {typed} | {cell(task.chainkit)} | {cell(task.llm)} | {cell(task.ollama)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())

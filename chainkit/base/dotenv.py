"""The `.env` file of the current folder, of which nothing but keys is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from chainkit.base.errors import ChainkitError

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_QUOTED = re.compile(r"""(["'])(.*?)\1\s*(?:#.*)?""")


def dotenv_values(path: Path) -> dict[str, str]:
    """The values of a `.env` file by name; empty if there is no such file. The last line of a name counts.

    A line is `NAME=value`, with or without a leading `export `, the value quoted or not; ` #` begins a comment. `$NAME`
    and `\\n` are not expanded, and a value cannot span lines. A line without a name and `=` is ignored.

    Raises:
        ChainkitError: The file cannot be read, or a value is not UTF-8 or has a quotation mark without its pair; the
            error names the line and does not show it.
    """
    if not path.is_file():  # a folder of this name is often a virtual environment
        return {}
    try:
        text = path.read_text("utf-8-sig", errors="replace")
    except OSError as error:
        raise ChainkitError(f"{path} cannot be read: {error.strerror}") from error
    return dict(_assignments(path, text))


def _assignments(path: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _LINE.fullmatch(line):
            yield match[1], _value(match[2], f"line {number} of {path}")


def _value(text: str, place: str) -> str:
    if not text.startswith(("'", '"')):
        value = re.split(r"(?:^|\s)#", text, maxsplit=1)[0].rstrip()
    elif quoted := _QUOTED.fullmatch(text):
        value = quoted[2]
    else:
        raise ChainkitError(f"{place}: a quotation mark is not closed, or text follows the closing one; mend the line")
    if "\ufffd" in value:
        raise ChainkitError(f"{place} is not UTF-8; save the file as UTF-8")
    return value

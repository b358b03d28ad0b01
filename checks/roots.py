"""The README's two commands in fresh Debian roots: `make test-root`, or `make test-root ROOTS="trixie demo"`.

The words name suites (bookworm has Python 3.11, trixie 3.13) and commands (demo, test); without any, all are taken. A
word that begins with "/" is a folder that is seen in the root, such as one with wheels that pip is to look into.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from checks.debian import fresh

SUITES = ("bookworm", "trixie")
COMMANDS = ("demo", "test")


def main(words: list[str]) -> int:
    """Run them; how many ended with another status than 0."""
    suites = [word for word in words if word in SUITES] or SUITES
    commands = [word for word in words if word in COMMANDS] or COMMANDS
    failed = 0
    for suite in suites:
        with fresh(suite, shared=[Path(word) for word in words if word.startswith("/")]) as root:
            for command in commands:
                start = time.monotonic()
                status, output = root.run(f"make {command}")
                failed += status != 0
                print(f"{suite}: make {command} ended with {status} after {time.monotonic() - start:.0f} s", flush=True)
                print("\n".join(output.splitlines()[-30:] if status else output.splitlines()[-1:]), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))

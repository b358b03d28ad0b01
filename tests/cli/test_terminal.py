"""What is seen in a terminal and only there."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from chainkit.base.keys import find_key
from chainkit.cli.screen import plain

pexpect = pytest.importorskip("pexpect")
SLOW = str(Path(__file__).parent / "slow_model.py")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(*arguments: str, columns: int = 80, **environment: str):
    return pexpect.spawn(
        sys.executable,
        [SLOW, *arguments],
        env={name: os.environ[name] for name in os.environ if name != "COLUMNS"}
        | {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
        | environment,
        encoding="utf-8",
        timeout=90,
        dimensions=(24, columns),
        echo=False,
    )


def seen(child) -> str:
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    return child.before


def test_a_bar_shows_what_takes_longer_and_the_result_stays_clean() -> None:
    Path("in.txt").write_text("one\ntwo\n")
    shown = seen(terminal("embed", "in.txt", "-o", "out.jsonl", "--batch-size", "1", "--embeddings", "slow:"))
    assert "embedding" in shown
    assert "50%" in shown
    assert "wrote 2 vectors to out.jsonl" in shown


def test_no_bar_for_what_is_quick() -> None:
    Path("in.txt").write_text("one\ntwo\n")
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    shown = seen(terminal("keys", "list", **environment))
    assert "\x1b[?25l" not in shown  # the cursor is not hidden, as a bar would do


def test_a_table_fits_the_terminal() -> None:
    lines = ESCAPES.sub("", seen(terminal("models", columns=60))).splitlines()
    table = lines[: next(number for number, line in enumerate(lines) if not line.strip())]
    assert max(map(len, table)) <= 60
    assert any(line.startswith("openai") for line in table)


def test_a_narrow_terminal_gets_a_line_for_each_cell() -> None:
    lines = seen(terminal("models", columns=30)).splitlines()
    assert "provider: openai" in lines
    assert "offers: chat, text, embeddings" in lines


def test_no_color_means_no_colour() -> None:
    shown = seen(terminal("models", NO_COLOR="1"))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)


def test_the_prompt_for_a_key_shows_nothing_of_it() -> None:
    child = terminal("keys", "set", "openai")
    child.expect_exact("Key for openai (hidden)")
    child.expect(": ")
    child.sendline("sk-abcdef0123456789")
    assert "sk-abc" not in seen(child)
    key = find_key("openai")
    assert key is not None
    assert key.secret == "sk-abcdef0123456789"


def test_control_c_at_the_prompt_for_a_key_ends_with_130() -> None:
    child = terminal("keys", "set", "openai")
    child.expect(": ")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert find_key("openai") is None


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert plain("a\x1b]0;title\x07b\tc\nd\x9b31m\r") == "a]0;titleb\tc\nd31m"

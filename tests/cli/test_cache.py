from __future__ import annotations

import json

import numpy as np

import chainkit
from chainkit.base.answer_store import answers_path
from chainkit.local.prefix_files import BLOCK, kept_prefixes
from chainkit.scale import AnswerCache


def test_what_is_kept_is_shown_and_cleared_by_kind(run) -> None:
    assert "nothing is kept" in run("cache", "show").stdout
    cache = AnswerCache(answers_path())
    chainkit.chat_model("fake:", cache=cache).invoke("Hi")
    cache.close()
    prefixes = kept_prefixes()
    prefixes.write([(b"n" * 16, range(BLOCK), np.zeros(5000, np.uint8))])
    shown = json.loads(run("cache", "show", "--json").stdout)
    assert shown["kinds"]["answer"]["entries"] == 1
    assert shown["prefixes"]["entries"] == 1
    assert shown["prefixes"]["bytes"] > 5000
    assert "beginnings, 64 tokens each" in run("cache", "show").stdout
    assert run("cache", "clear", "prefix").exit_code == 0
    assert prefixes.size() == (0, 0)
    assert json.loads(run("cache", "show", "--json").stdout)["kinds"]["answer"]["entries"] == 1
    prefixes.write([(b"n" * 16, range(BLOCK), np.zeros(5000, np.uint8))])
    assert run("cache", "clear", "answer").exit_code == 0
    assert prefixes.size()[0] == 1
    assert run("cache", "clear").exit_code == 0
    assert prefixes.size() == (0, 0)
    assert "nothing is kept" in run("cache", "show").stdout

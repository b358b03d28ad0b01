"""Many rows and many machines: a chain mapped over a file, with a crash in the middle; answers kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.scale.answer_cache import AnswerCache as AnswerCache
    from chainkit.scale.mapping import map_rows as map_rows
    from chainkit.scale.report import MapProgress as MapProgress
    from chainkit.scale.report import MapReport as MapReport

_HOMES = {
    "AnswerCache": "chainkit.scale.answer_cache",
    "MapProgress": "chainkit.scale.report",
    "MapReport": "chainkit.scale.report",
    "map_rows": "chainkit.scale.mapping",
}

__all__ = ["AnswerCache", "MapProgress", "MapReport", "map_rows"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)

"""An answer as HTML for notebooks: its text, and citations that open the passage."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainkit.knowledge.answer.citations import Citation
    from chainkit.knowledge.readers.split import Passage

_MARK = re.compile(r"\[(\d{1,4})\]")


def answer_html(text: str, citations: Sequence[Citation], passages: Sequence[Passage], notice: str) -> str:
    """The answer; a click on a citation below opens the quote inside its passage. Nothing of a document is markup."""
    plain = html.escape(text).replace("\n", "<br>")
    known = {str(citation.number) for citation in citations}
    marked = _MARK.sub(lambda mark: f"<sup>[{mark[1]}]</sup>" if mark[1] in known else mark[0], plain)
    sources = "".join(_source(passages, citation) for citation in dict.fromkeys(citations))
    below = f"<p><small>{html.escape(notice)}</small></p>" if notice else ""
    return f"<div><p>{marked}</p>{sources}{below}</div>"


def _source(passages: Sequence[Passage], citation: Citation) -> str:
    around = next(
        (one.text for one in passages if one.path == citation.path and citation.quote in one.text),
        citation.quote,
    )
    before, quote, after = around.partition(citation.quote)
    shown = f"{html.escape(before)}<mark>{html.escape(quote)}</mark>{html.escape(after)}"
    headings = html.escape(" > ".join(citation.headings))
    return (
        f"<details><summary>{html.escape(str(citation))}</summary>"
        f"<small>{headings}</small><pre style='white-space: pre-wrap'>{shown}</pre></details>"
    )

"""An answer as HTML for notebooks: its text, and citations that open the passage."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainkit.knowledge.answer.answer import Answer
    from chainkit.knowledge.answer.citations import Citation

_MARK = re.compile(r"\[(\d{1,4})\]")


def answer_html(answer: Answer) -> str:
    """The answer; a click on a citation below opens the quote inside its passage. Nothing of a document is markup."""
    text = html.escape(answer.text).replace("\n", "<br>")
    known = {str(citation.number) for citation in answer.citations}
    text = _MARK.sub(lambda mark: f"<sup>[{mark[1]}]</sup>" if mark[1] in known else mark[0], text)
    sources = "".join(_source(answer, citation) for citation in dict.fromkeys(answer.citations))
    notice = f"<p><small>{html.escape(answer.notice)}</small></p>" if answer.notice else ""
    return f"<div><p>{text}</p>{sources}{notice}</div>"


def _source(answer: Answer, citation: Citation) -> str:
    around = next(
        (one.text for one in answer.passages if one.path == citation.path and citation.quote in one.text),
        citation.quote,
    )
    before, quote, after = around.partition(citation.quote)
    shown = f"{html.escape(before)}<mark>{html.escape(quote)}</mark>{html.escape(after)}"
    headings = html.escape(" > ".join(citation.headings))
    return (
        f"<details><summary>{html.escape(str(citation))}</summary>"
        f"<small>{headings}</small><pre style='white-space: pre-wrap'>{shown}</pre></details>"
    )

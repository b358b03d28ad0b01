"""HTML parsed: a tree of plain tag names, whatever was left open, and what of it a page shows."""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chainkit.knowledge.readers.trees import etree

_BLOCKS = """
address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer form
h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li main menu nav ol optgroup option p pre search section summary
table tbody td textarea tfoot th thead title tr ul
"""
_WITHOUT_TEXT = "script style iframe svg select canvas audio video map annotation annotation-xml datalist"
BREAKING = frozenset(_BLOCKS.split())
_SILENT = frozenset(_WITHOUT_TEXT.split())
_AROUND = frozenset(["nav", "footer", "header", "aside", "menu"])
_MEASURED = _AROUND | frozenset(["main", "article", "body"])
_MARKED_SECTION = re.compile(r"<!\[CDATA\[|\]\]>|<!\[\s?[a-z]{1,10}\b[^\[\]<>]{0,200}\]>?", re.IGNORECASE)
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_KEPT_ENTITIES = frozenset(("amp", "lt", "gt", "quot", "apos"))
_SELF_CLOSED = re.compile(
    r"<(title|script|style|textarea|a|b|i|em|span|div|p|td|th|li)\b([^<>]{0,500}?)/>", re.IGNORECASE
)
_MEANINGLESS = re.compile(
    r"</?(?:div|span|font|b|i|em|strong|center|section|nav|small|big|u)\b[^<>]{0,1000}>", re.IGNORECASE
)
_XHTML = re.compile(
    r"\s{0,99}(?:<\?xml\b|<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML|<html[^>]{0,300}xmlns=)", re.IGNORECASE
)
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_OPENED_BY_CLICK = re.compile(r"accord|collaps|panel|tab|faq|answer|toggle|expand|content", re.IGNORECASE)
_NOTES = frozenset(("li", "aside", "div", "p", "section", "dd"))
_EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"
_MAIN_CHARACTERS = 200
_UNLINKED_CHARACTERS = 100


def parsed(text: str) -> Any:
    """The root of a page; None where there is nothing.

    XHTML is read as XML where it is well-formed, since a `<title/>` would swallow the page otherwise.
    """
    if _XHTML.match(text):
        root, sound = _tree(_named_entities_replaced(text), _xml_parser())
        if sound and root is not None:
            return root
        text = _SELF_CLOSED.sub(r"<\1\2></\1>", text)
    text = _closed(text)
    root, sound = _tree(text, _html_parser())
    return root if sound else _tree(_MEANINGLESS.sub(" ", text), _html_parser())[0]


def _tree(text: str, parser: Any) -> tuple[Any, bool]:
    """The root, and whether the parser got to the end of it."""
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError:
        return None, isinstance(parser, etree.HTMLParser)
    if root is None or isinstance(parser, etree.HTMLParser):
        return root, not any("depth" in entry.message for entry in parser.error_log)
    for element in root.iter(etree.Element):
        element.tag = etree.QName(element).localname.lower()
    return root, not parser.error_log.filter_from_fatals()


def _html_parser() -> Any:
    return etree.HTMLParser(encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True)


def _xml_parser() -> Any:
    return etree.XMLParser(
        encoding="utf-8", huge_tree=True, no_network=True, resolve_entities=False, recover=True,
        remove_comments=True, remove_pis=True, load_dtd=False,
    )  # fmt: skip


def _closed(text: str) -> str:
    """The text with constructs that never end as text, since a parser would drop all that follows."""
    text = _MARKED_SECTION.sub("", text).replace("<![", "&lt;![").replace("\0", "")
    for opening, closing in (("<!--", "-->"), ("<", ">")):
        end = text.rfind(closing) + 1
        text = text[:end] + text[end:].replace(opening, "&lt;" + opening[1:])
    return text


def _named_entities_replaced(text: str) -> str:
    """Without a DTD an XML parser knows five names only, and drops the others."""

    def known(match: re.Match[str]) -> str:
        name = match[1]
        return match[0] if name in _KEPT_ENTITIES else html.entities.html5.get(f"{name};", match[0])

    return _ENTITY.sub(known, text)


@dataclass(slots=True)
class Page:
    """What decides which parts of a page are read.

    Attributes:
        main: The elements that hold the main text; empty if the page names none.
    """

    root: Any
    main: frozenset[Any] = frozenset()
    _letters: dict[Any, tuple[int, int]] = field(default_factory=dict[Any, tuple[int, int]])
    _controlled: set[str] = field(default_factory=set[str])
    _all: int = 0
    _moved: set[Any] = field(default_factory=set[Any])
    _by_id: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._measure()
        mains = [one for one in self._letters if one.tag == "main" or one.get("role") == "main"]
        self.main = frozenset(one for one in mains if self._letters[one][0] >= _MAIN_CHARACTERS)
        articles = [one for one in self._letters if one.tag == "article"]
        if (
            not self.main
            and len(articles) == 1
            and self._letters[articles[0]][0] >= max(_MAIN_CHARACTERS, self._all / 2)
        ):
            self.main = frozenset(articles)

    def left_out(self, element: Any) -> bool:
        """Whether an element with all it holds is not part of the text."""
        tag = element.tag
        if element in self._moved or (tag == "a" and _marks(element, "backlink", "footnote-back")):
            return True
        if tag in _SILENT or (tag == "template" and "shadowrootmode" not in element.attrib):
            return True
        if tag == "noscript":
            return "javascript" in "".join(element.itertext()).lower()
        if tag in _AROUND:
            return self._links_only(element)
        return self._hidden(element)

    def note_of(self, element: Any) -> Any:
        """The footnote that a link refers to, which is then read there and nowhere else; None for other links."""
        name = element.get("href", "").partition("#")[2]
        if element.tag != "a" or not name or not _marks(element, "noteref", "footnote-ref", "footnote-reference"):
            return None
        if self._by_id is None:
            self._by_id = {one.get("id"): one for one in self.root.iter(etree.Element) if one.get("id")}
        note = self._by_id.get(name)
        if note is None or note.tag not in _NOTES or note in self._moved:
            return None
        self._moved.add(note)
        return note

    def _hidden(self, element: Any) -> bool:
        hides = element.get("hidden")
        if hides == "until-found" or (hides is None and not _HIDING.search(element.get("style", ""))):
            return False
        if element.get("id") in self._controlled:
            return False  # it is shown by a click
        named = f"{element.get('class', '')} {element.get('id', '')}"
        return hides is not None or not _OPENED_BY_CLICK.search(named)

    def _links_only(self, element: Any) -> bool:
        """Whether something around the text holds little but links; headings and sentences are read."""
        letters, linked = self._letters[element]
        if self._hidden(element):
            return True
        if element.tag in ("nav", "menu"):
            return letters - linked < _UNLINKED_CHARACTERS
        return bool(letters) and linked > 0.6 * letters and element.find(".//h1") is None

    def _measure(self) -> None:
        """Count, in one walk, the letters inside each element that matters, and those of them inside links."""
        letters = linked = depth = 0
        begun: list[tuple[int, int]] = []
        walk = etree.iterwalk(self.root, events=("start", "end"))
        for event, element in walk:
            measured = element.tag in _MEASURED or element.get("role") == "main"
            if event == "start":
                self._note_controls(element)
                if element.tag in _SILENT:
                    walk.skip_subtree()
                if measured:
                    begun.append((letters, linked))
                depth += element.tag == "a"
                text = element.text if element.tag not in _SILENT else ""
            else:
                depth -= element.tag == "a"
                if measured:
                    before = begun.pop()
                    self._letters[element] = letters - before[0], linked - before[1]
                text = element.tail
            size = len(text.strip()) if text else 0
            letters += size
            linked += size if depth else 0
        self._all = letters

    def _note_controls(self, element: Any) -> None:
        for name in ("aria-controls", "data-target", "data-bs-target", "href"):
            value = element.get(name)
            if value and (name == "aria-controls" or value.startswith("#")):
                self._controlled.update(part.removeprefix("#") for part in value.split()[:9])


def _marks(element: Any, *words: str) -> bool:
    """Whether an element says of itself that it is one of these, in any of the usual ways."""
    names = (element.get("role"), element.get("class"), element.get("epub:type"), element.get(_EPUB_TYPE))
    joined = " ".join(filter(None, names)).lower()
    return any(word in joined for word in words)


def flowing(element: Any, page: Page) -> Iterator[str]:
    """The text inside an element, with white space where a new block begins."""
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, one in walk:
        breaks = one.tag in BREAKING or one.tag == "br"
        if event == "start":
            if one is not element and page.left_out(one):
                walk.skip_subtree()
                continue
            yield f" {one.text or ''}" if breaks else one.text or ""
        elif one is not element:
            yield f" {one.tail or ''}" if breaks else one.tail or ""


def lines_of(element: Any, otherwise: int) -> tuple[int, int]:
    """The line that an element begins in, and the last one that holds some of its text.

    Args:
        otherwise: The line for an element whose own is not known.
    """
    first = line = last = element.sourceline or otherwise
    for event, one in etree.iterwalk(element, events=("start", "end")):
        line = max(line, one.sourceline or 0)
        text = one.text if event == "start" else one.tail if one is not element else ""
        if text and not text.isspace():
            last = line + text.rstrip().count("\n")
        line += text.count("\n") if text else 0
    return first, max(last, first)

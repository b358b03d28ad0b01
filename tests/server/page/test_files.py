from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chainkit.server import ServerSettings, served_model
from chainkit.server.page.files import FOLDER, POLICY, page_files

ROOT = Path(__file__).parents[3]
MOST_BYTES = 200_000
LANGUAGES = ("en", "de", "fr", "ja")
SOURCES = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir() if path.is_file()}
STRINGS = {name: json.loads((FOLDER / "strings" / f"{name}.json").read_text("utf-8")) for name in LANGUAGES}


@pytest.fixture
def page(serve):
    return serve(served_model("fake:", "echo"), page=True)


def test_the_whole_page_is_smaller_than_200_kilobytes(record_property) -> None:
    total = sum(len(one.data) for one in page_files().values())
    record_property("page_kilobytes", round(total / 1000, 1))
    print(f"the page has {total / 1000:.1f} kB in {len(page_files())} files")
    assert total < MOST_BYTES


def test_every_file_is_sent_with_the_policy(page) -> None:
    index = page.http.get("/")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    for name in page_files():
        reply = page.http.get(f"/page/{name}")
        assert reply.status_code == 200, name
        assert reply.content == (FOLDER / name).read_bytes()
        assert reply.headers["content-security-policy"] == POLICY
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert page.http.get(f"/page/{name}", headers={"if-none-match": reply.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("name", ["../routes.py", "..%2froutes.py", "/etc/passwd", "%2e%2e/files.py", "strings", ""])
def test_nothing_else_is_sent(page, name: str) -> None:
    reply = page.http.get(f"/page/{name}")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "unknown_url"


def test_the_page_is_sent_without_the_key_and_its_data_only_with_it(serve) -> None:
    settings = ServerSettings(port=0, keys=("right",))
    server = serve(served_model("fake:", "echo"), settings=settings, page=True)
    assert server.http.get("/").status_code == 200
    assert server.http.get("/page/main.js").status_code == 200
    gets = [("GET", "/v1/documents"), ("GET", "/v1/own/own-x"), ("GET", "/v1/programs/x")]
    posts = [("POST", f"/v1/{name}") for name in ("own", "tokens", "clusters", "programs/runs", "documents/passages")]
    for method, path in gets + posts:
        assert server.http.request(method, path).status_code == 401, path


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_that_the_policy_forbids() -> None:
    html = SOURCES["index.html"]
    assert not re.search(r"\sstyle=|\son\w+=|javascript:|<style|<script(?![^>]*\ssrc=)", html)
    for name, text in SOURCES.items():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}", text)) - {"http://www.w3.org"}
        assert not addresses, name
    scripts = {name: text for name, text in SOURCES.items() if name.endswith(".js")}
    for name, text in scripts.items():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|srcdoc", text
        ), name


def test_all_files_that_are_named_exist() -> None:
    html = SOURCES["index.html"]
    for name in re.findall(r'(?:src|href)="/page/([^"]+)"', html):
        assert name in page_files()
    for text in SOURCES.values():
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert name in page_files()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_string_with_the_same_values(language: str) -> None:
    english, other = STRINGS["en"], STRINGS[language]
    assert list(other) == sorted(other)
    assert other.keys() == english.keys()
    for key, text in other.items():
        assert text.strip(), key
        assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", english[key])), key


def test_every_string_is_used_and_every_one_that_is_used_exists() -> None:
    english = STRINGS["en"]
    everything = "\n".join(SOURCES.values())
    named = set(re.findall(r'data-t(?:-label|-placeholder)?="([^"]+)"', SOURCES["index.html"]))
    named |= set(re.findall(r'\bt\("([\w.]+)"', everything)) | set(re.findall(r'more\("([\w.]+)"', everything))
    assert named <= english.keys(), named - english.keys()
    for key in english:
        stem = key.rpartition(".")[0]
        built = f"{stem}.${{" in everything or f'counted("{stem}"' in everything
        assert f'"{key}"' in everything or built, key


def test_the_words_in_the_html_are_the_english_ones() -> None:
    for key, text in re.findall(r'data-t="([^"]+)"[^>]*>([^<]*)<', SOURCES["index.html"]):
        if text.strip():
            assert text.strip() == STRINGS["en"][key], key
    for key, tag in re.findall(r'data-t-label="([^"]+)" aria-label="([^"]*)"', SOURCES["index.html"]):
        assert tag == STRINGS["en"][key], key


def test_the_page_of_the_docs_tells_each_language_and_the_size() -> None:
    text = (ROOT / "docs" / "serve.md").read_text("utf-8")
    names = dict(re.findall(r'(\w\w): "([^"]+)"', SOURCES["i18n.js"].partition("LANGUAGES")[2].partition("}")[0]))
    assert tuple(names) == LANGUAGES
    rows = [f"| {names[one]} | `{one}.json` | {len(STRINGS[one])} | {STRINGS[one]['ask.title']} |" for one in LANGUAGES]
    assert "\n".join(rows) in text
    kilobytes = sum(len(one.data) for one in page_files().values()) / 1000
    told = re.search(r"(\d+) files of plain HTML, CSS and JavaScript,\s(\d+) kB", text)
    assert told is not None
    assert int(told[1]) == len(page_files())
    assert abs(int(told[2]) - kilobytes) < 2

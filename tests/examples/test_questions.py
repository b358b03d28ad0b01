"""What README and the demo ask of this project's docs is answered from the place that holds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainkit.knowledge import Index

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "Which environment variable names the model to use?": ("docs/models.md", "CHAINKIT_MODEL"),
    "Which environment variable names the model to use when none is given?": ("docs/models.md", "CHAINKIT_MODEL"),
    "How are API keys stored and who can read them?": ("docs/models.md", "chainkit keys set"),
    "How do I stream?": ("docs/", "for piece in stream"),
}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with Index(tmp_path_factory.mktemp("index") / "docs.sqlite", "minilm") as index:
        index.add([ROOT / "docs", ROOT / "README.md"])
        yield index


def asked_in(text):
    return [question for question in EXPECTED if f'"{question}"' in text]


def test_all_questions_that_readme_and_the_demo_ask_are_held_here():
    readme, demo = (ROOT / "README.md").read_text("utf-8"), (ROOT / "examples" / "demo.py").read_text("utf-8")
    assert len(asked_in(readme)) == 1
    assert readme.count("chainkit ask ") == readme.count(f'chainkit ask "{asked_in(readme)[0]}"')
    assert len(asked_in(demo)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("question", EXPECTED)
def test_the_expected_place_is_cited(index, question):
    from chainkit.knowledge import ask

    answer = ask(question, index)
    path, words = EXPECTED[question]
    assert answer.answered
    assert path in answer.citations[0].path
    assert words in answer.text
    for citation in answer.citations:
        assert citation.quote in Path(citation.path).read_text("utf-8")

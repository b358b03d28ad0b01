"""Decisions: probabilities of options, from what a model really gives them, and as often right as they say."""

from __future__ import annotations

import importlib
import json
import math
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from langchain_core.messages import AIMessage, HumanMessage

import chainkit
from chainkit.base.errors import Unsupported
from chainkit.cli.main import cli
from chainkit.decisions import Calibration, choice, reliability, score, yes_no
from chainkit.decisions.calibration import softmax
from chainkit.decisions.questions import options_of, place_of, state_text

QUESTIONS = {
    "urgent": yes_no("Is it urgent?", yes="An answer is needed today."),
    "topic": choice("What is it about?", {"money": "Prices and bills.", "travel": None}),
    "anger": score("How angry is it?", ["calm", "upset", "furious"]),
}
DEMO = "gguf:examples/demo_model/demo-q8_0.gguf?n_threads=1"


@pytest.fixture(scope="module")
def local():
    return chainkit.decision_model(DEMO)


def test_local_answers_are_the_joint_chances_of_the_options(local):
    state = "The bill is too high."
    found = local.invoke({"state": state, "questions": QUESTIONS})
    answering = local._answering
    told = []
    for name, question in QUESTIONS.items():
        with_names = {one: options_of(asked) for one, asked in QUESTIONS.items()}
        from chainkit.decisions.local import _session

        session = _session(answering, state, with_names)
        scores = [session.score([f"{name}: {text}"])[0] for text in options_of(question).texts]
        told.append(softmax(np.array([scores]))[0])
    assert found.nouls["urgent"].noul == pytest.approx(told[0][0], abs=0.06)
    assert list(found.choices["topic"].probabilities.values()) == pytest.approx(told[1], abs=0.06)
    assert found.scores["anger"].score == pytest.approx(float(np.arange(3) @ told[2]), abs=0.12)
    assert found.usage["input_tokens"] > 20


def test_a_batch_answers_as_single_calls_do(local):
    inputs = [{"state": text, "questions": QUESTIONS} for text in ("Help!", "All is well.", "I want my money back.")]
    alone = [local.invoke(one) for one in inputs]
    for one, other in zip(local.batch(inputs), alone, strict=True):
        assert one.nouls["urgent"].noul == pytest.approx(other.nouls["urgent"].noul, abs=0.06)


def test_questions_about_pictures_are_refused(local):
    decisions = pytest.importorskip("langchain_core.decisions")
    with pytest.raises(Unsupported):
        local.invoke({"state": "x", "questions": {"where": decisions.Box(instructions="the cat")}})


def test_a_service_with_log_probabilities_is_asked_for_a_letter(openai_server):
    model = chainkit.chat_model("openai:gpt-4o-mini", base_url=openai_server.base_url, api_key=openai_server.key)
    found = chainkit.decision_model(model).invoke({"state": "Help!", "questions": QUESTIONS})
    assert len(openai_server.bodies) == len(QUESTIONS)
    assert all(body["top_logprobs"] == 20 for body in openai_server.bodies)
    assert sum(found.choices["topic"].probabilities.values()) == pytest.approx(1)


def test_a_service_without_log_probabilities_says_how_sure_it_is():
    said = {
        "urgent": {"answer": "yes", "probability": 0.9},
        "topic": {"answer": "travel", "probability": 0.8},
        "anger": {"answer": "2", "probability": 1},
    }
    found = chainkit.decision_model(f"fake:?reply={json.dumps(said)}").invoke({"state": "x", "questions": QUESTIONS})
    assert found.nouls["urgent"].noul == pytest.approx(0.9)
    assert found.choices["topic"].choice == "travel"
    assert found.choices["topic"].probabilities["money"] == pytest.approx(0.2)
    assert found.scores["anger"].score == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("method", ["vector", "isotonic"])
def test_calibrated_probabilities_are_as_often_right_as_they_say(method):
    random = np.random.default_rng(3)
    truth = random.normal(size=3000) * 1.5
    right = (random.random(3000) > 1 / (1 + np.exp(-truth))).astype(int)  # 0 is yes
    scores = np.stack([truth * 4 + 3, np.zeros(3000)], axis=1)  # too sure, and fond of yes
    raw = reliability(softmax(scores).tolist(), right.tolist())
    count = 100 if method == "vector" else 1000
    fitted = Calibration.fit(scores[:count].tolist(), right[:count].tolist(), method)
    good = reliability([fitted.probabilities(row) for row in scores[1000:].tolist()], right[1000:].tolist())
    assert raw.error > 0.15
    assert good.error < 0.06
    assert good.brier < raw.brier


@pytest.mark.parametrize("method", ["vector", "auto"])
def test_a_hundred_examples_calibrate_a_weak_model_with_likings(method):
    random, errors = np.random.default_rng(5), []
    for _ in range(6):
        right = random.integers(0, 4, 4100)
        scores = random.normal(size=(4100, 4)) + np.eye(4)[right] + random.normal(size=4) * 1.5
        fitted = Calibration.fit((3 * scores[:100]).tolist(), right[:100].tolist(), method)
        rows = [fitted.probabilities(row) for row in (3 * scores[100:]).tolist()]
        errors.append(reliability(rows, right[100:].tolist()).error)
    assert np.mean(errors) < 0.04


def test_offsets_and_temperature_are_found_where_examples_are_many():
    random = np.random.default_rng(6)
    truth = random.normal(size=(20_000, 3)) * 2
    right = [int(random.choice(3, p=row)) for row in softmax(truth)]
    fitted = Calibration.fit(((truth - [2, 0, -2]) * 5).tolist(), right, "vector")
    assert fitted.temperature == pytest.approx(5, rel=0.05)
    assert fitted.offsets == pytest.approx([2, 0, -2], abs=0.1)


def test_a_model_that_is_always_right_or_always_wrong_is_calibrated_too():
    sure = Calibration.fit([[0.0, -1.0], [-1.0, 0.0]] * 50, [0, 1] * 50)
    assert 0.95 < sure.probabilities([0.0, -1.0])[0] < 0.999
    wrong = Calibration.fit([[0.0, -1.0], [-1.0, 0.0]] * 50, [1, 0] * 50)
    assert wrong.probabilities([0.0, -1.0]) == pytest.approx([0.5, 0.5], abs=0.01)


def test_the_error_by_chance_is_what_exact_probabilities_show():
    random = np.random.default_rng(7)
    shares = softmax(random.normal(size=(300, 3)))
    found = [reliability(shares.tolist(), [int(random.choice(3, p=row)) for row in shares]) for _ in range(30)]
    assert np.mean([one.error for one in found]) == pytest.approx(found[0].noise, rel=0.15)


def test_temperature_leaves_the_likeliest_option_as_it_is():
    scores = np.random.default_rng(1).normal(size=(50, 4)) * 9
    fitted = Calibration.fit(scores.tolist(), [0] * 50, "temperature")
    assert [int(np.argmax(fitted.probabilities(row))) for row in scores.tolist()] == scores.argmax(axis=1).tolist()
    assert fitted.temperature > 1


def test_the_table_counts_what_it_shows():
    table = reliability([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], [0, 1, 1])
    assert (table.count, table.accuracy) == (3, pytest.approx(2 / 3))
    assert table.error == pytest.approx((0.1 + 0.8 + 0.3) / 3)
    assert "accuracy 0.667" in str(table)
    assert "by chance alone 0.308" in str(table)


def test_a_calibration_is_kept_and_found_again(tmp_path):
    fixed = [math.log(0.9), math.log(0.1)]
    model = chainkit.decision_model("fake:?reply=" + json.dumps({"urgent": {"answer": "yes", "probability": 0.9}}))
    asked = {"urgent": QUESTIONS["urgent"]}
    fitted, report = model.calibrate([("a", {"urgent": "no"}), ("b", {"urgent": False})] * 10, asked)
    assert report["urgent"].count == 20
    fitted.save(tmp_path / "fit.json")
    again = model.load(tmp_path / "fit.json")
    assert again.invoke({"state": "x", "questions": asked}).nouls["urgent"].noul < 0.5
    assert again.calibrations["urgent"].probabilities(fixed) == fitted.calibrations["urgent"].probabilities(fixed)
    with pytest.raises(ValueError, match="none"):
        model.calibrate([], asked)


def test_right_answers_are_named_as_people_name_them():
    assert [place_of(QUESTIONS["urgent"], said) for said in (True, "Yes", "1", False, "no")] == [0, 0, 0, 1, 1]
    assert place_of(QUESTIONS["topic"], "travel") == 1
    assert place_of(QUESTIONS["anger"], 2) == 2
    with pytest.raises(ValueError, match="money, travel"):
        place_of(QUESTIONS["topic"], "food")


def test_a_state_may_be_messages_or_data():
    assert state_text([HumanMessage("Hi"), AIMessage("Hello")]) == "human: Hi\nai: Hello"
    assert json.loads(state_text({"a": [1, "b"]})) == {"a": [1, "b"]}


def test_before_langchain_core_1_8_the_same_call_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain_core.decisions", None)
    before = {name: sys.modules[name] for name in list(sys.modules) if name.startswith("chainkit.decisions")}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    try:
        model, questions = map(importlib.import_module, ("chainkit.decisions.model", "chainkit.decisions.questions"))
        said = json.dumps({"urgent": {"answer": "no", "probability": 0.75}})
        found = model.decision_model(f"fake:?reply={said}").invoke(
            {"state": "x", "questions": {"urgent": questions.yes_no("Is it urgent?")}}
        )
        assert found.nouls["urgent"].noul == pytest.approx(0.25)
        assert type(found).__module__ == "chainkit.decisions.before"
    finally:
        sys.modules.update(before)


def test_the_command_decides_over_a_file(tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("id,text,urgent\n1,Help!,yes\n2,All is well.,no\n", encoding="utf-8")
    options = ["--model", DEMO, "--column", "text", "--yes-no", "urgent=Is it urgent?"]
    run = CliRunner().invoke(
        cli, ["decide", str(file), *options, "--choice", "topic=About what?: money, travel"], prog_name="chainkit"
    )
    assert run.exit_code == 0, run.output
    lines = run.stdout.strip().splitlines()
    assert lines[0] == "text,urgent,topic,topic_confidence"
    assert len(lines) == 3
    kept = tmp_path / "fit.json"
    run = CliRunner().invoke(
        cli, ["decide", str(file), *options, "--calibrate", "--calibration", str(kept)], prog_name="chainkit"
    )
    assert run.exit_code == 0, run.output
    assert "2 examples" in run.stdout
    assert "urgent" in json.loads(kept.read_text("utf-8"))
    wrong = CliRunner().invoke(cli, ["decide", str(file), "--model", DEMO], prog_name="chainkit")
    assert "no question" in wrong.output

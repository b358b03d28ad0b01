"""Forms: JSON schemas, lists, types and decisions, each counted as docs/structured_output.md and docs/decide.md say.

    python benchmarks/forms.py --schemas maskbench.jsonl.gz
    python benchmarks/forms.py --lists gguf:model.gguf
    python benchmarks/forms.py --types gguf:model.gguf --runs 100
    python benchmarks/forms.py --decisions gguf:model.gguf --labelled banking77.jsonl
    python benchmarks/forms.py --served gguf:model.gguf --labelled banking77.jsonl
    python benchmarks/forms.py --repeats gguf:model.gguf
    python benchmarks/forms.py --batches gguf:model.gguf

Seconds are CPU time of this process.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import random
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import chainkit

os.environ["CHAINKIT_PREFIX_CACHE"] = "off"  # what an earlier run has read would not be measured

LISTS = {
    "Name three colours.": 3, "List four fruits.": 4, "Name two oceans.": 2, "List three farm animals.": 3,
    "Name the four seasons.": 4, "List five vegetables.": 5, "Name three European capitals.": 3,
    "List three musical instruments.": 3, "Name two planets.": 2, "List four drinks.": 4, "Name three sports.": 3,
    "List three kinds of weather.": 3, "Name four pieces of furniture.": 4, "List three school subjects.": 3,
    "Name three tools of a carpenter.": 3, "List two primary colours.": 2, "Name four rooms of a house.": 4,
    "List three means of transport.": 3, "Name three metals.": 3, "List four parts of the body.": 4,
    "Name two continents.": 2, "List three breakfast foods.": 3, "Name three flowers.": 3, "List three birds.": 3,
    "Name four months.": 4, "List three languages.": 3, "Name three jobs in a hospital.": 3, "List two rivers.": 2,
    "Name three things in a kitchen.": 3, "List four clothes.": 4,
    "Name three rivers in Europe.": 3, "What are four things you find in a bathroom?": 4, "List three desserts.": 3,
    "Give me two tips for better sleep.": 2, "Name four animals that live in the sea.": 4,
    "List five countries in Asia.": 5, "Which three meals do people eat in a day?": 3, "List three card games.": 3,
    "Name three famous scientists.": 3, "Suggest three titles for a story about a dragon.": 3,
    "List four things you need to bake a cake.": 4, "Name two desert animals.": 2, "What are three uses of water?": 3,
    "List three programming languages.": 3, "Name five girls' names.": 5,
}  # fmt: skip
UNSEEN_LISTS = {  # nothing in chainkit was chosen on these
    "Which four seasons does a year have?": 4, "List three ways to relax after work.": 3, "Name three trees.": 3,
    "Give me three ideas for a birthday present.": 3, "What three colours are in the flag of Italy?": 3,
    "List five things to pack for a holiday.": 5, "Name two famous painters.": 2, "List three insects.": 3,
    "Tell me four winter sports.": 4, "Name three dishes from Mexico.": 3, "What are the three states of matter?": 3,
    "List six kinds of pasta.": 6, "Name three board games.": 3, "Give three reasons to learn a language.": 3,
    "List four office supplies.": 4, "Name three dog breeds.": 3, "List three kinds of cheese.": 3,
    "What are two advantages of solar power?": 2, "Name five countries in South America.": 5,
    "List three superheroes.": 3, "Name three parts of a computer.": 3, "List four spices.": 4,
    "Name three gemstones.": 3, "Give me three names for a cat.": 3, "List three types of shoes.": 3,
    "Name two holidays in December.": 2, "List three things a teacher does.": 3, "Name four fish.": 4,
    "Which keywords describe this text: The bakery opened a new shop with fresh bread and cakes?": 3,
    "List three shapes.": 3,
    "List four kinds of bread.": 4, "Name three musical genres.": 3, "What are the three largest cities in Japan?": 3,
    "Give three reasons to exercise.": 3, "Name four tools in a garden.": 4, "List two ways to save money.": 2,
    "Name three Greek gods.": 3, "List five things on a desk.": 5, "Which two gases make up most of the air?": 2,
    "Name three berries.": 3, "List three hobbies for children.": 3, "Tell me three facts about the moon.": 3,
    "Name four languages spoken in India.": 4, "List three ingredients of a salad.": 3,
    "Give me four words that rhyme with cat.": 4,
}  # fmt: skip

EXTRACTED_LISTS = {  # the words of the right items
    "List the ingredients in this recipe: Mix flour, sugar and two eggs, then bake.": "flour sugar eggs",
    "List the people in this text: Anna met Paul at the station, and they went to see Mr. Becker.": "anna paul becker",
    "Which cities are named here: The train goes from Hamburg to Berlin and on to Prague.": "hamburg berlin prague",
    "List the animals in this text: The dog chased the cat up a tree.": "dog cat",
    "Give the names of the months in this sentence: The shop is closed in July and August.": "july august",
    "List the colours in this text: The flag is red, white and blue.": "red white blue",
    "List the tools that are needed: You need a hammer, a saw, a drill and some nails.": "hammer saw drill nails",
    "List the languages she speaks: Maria speaks Spanish, English and some Dutch.": "spanish english dutch",
    "List the chapter titles: They are Beginnings, Journeys, Storms, Home.": "beginnings journeys storms home",
    "Which fruits are on the shopping list: milk, apples, bread, pears, soap?": "apples pears",
    "List the sports they play: Tennis on Mondays, swim on Fridays, football at weekends.": "tennis swim football",
    "List the days of the meetings: We meet on Tuesday, Thursday and Sunday.": "tuesday thursday sunday",
}  # fmt: skip


def schemas(path: str) -> None:
    from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

    from chainkit.base.errors import ConstraintError
    from chainkit.constraints import json_schema
    from chainkit.decoding.guide import Guide

    class Tokens:
        eos_token_id, bos_token_id, special_token_ids = 256, None, [256]
        tokens = [*(bytes([byte]) for byte in range(256)), b"<end>"]

        def __call__(self, text):
            return list(text if isinstance(text, bytes) else text.encode())

    tokenizer = LLTokenizer(TokenizerWrapper(Tokens()))
    opened = gzip.open if path.endswith(".gz") else open
    rows = [json.loads(line) for line in opened(path, "rt", encoding="utf-8")]
    counts, compiled, checked, plain, plain_checked = Counter(), [], [], [], []
    for row in rows:
        start = time.process_time()
        try:
            constraint = json_schema(row["schema"])
        except ConstraintError:
            # a schema that no value satisfies is rightly refused
            counts["refused" if any(test["valid"] for test in row["tests"]) else "pass"] += 1
            continue
        compiled.append(time.process_time() - start)
        verdict = "pass"
        for test in row["tests"]:
            data = json.dumps(test["data"], ensure_ascii=False).encode()
            start, guide = time.process_time(), Guide(tokenizer, constraint)
            taken = all(guide.permits(byte) and guide.accept([byte]) is None for byte in data) and guide.fulfilled
            checked.append((time.process_time() - start) / max(1, len(data)))
            if taken != test["valid"]:
                verdict = "valid refused" if test["valid"] else "unsound"
                break
        counts[verdict] += 1
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(row["schema"]))
        start = time.process_time()
        if LLMatcher.validate_grammar(grammar):
            continue
        plain.append(time.process_time() - start)
        for test in row["tests"]:
            data = json.dumps(test["data"], ensure_ascii=False).encode()
            start, matcher = time.process_time(), LLMatcher(tokenizer, grammar, log_level=0)
            all(matcher.validate_tokens([byte]) == 1 and matcher.consume_token(byte) for byte in data)
            plain_checked.append((time.process_time() - start) / max(1, len(data)))
    print(dict(counts), f"of {len(rows)}")
    for name, times, other in (("compile", compiled, plain), ("token", checked, plain_checked)):
        print(
            f"{name}: median {statistics.median(times) * 1e6:.0f} us, llguidance {statistics.median(other) * 1e6:.0f}"
        )


def lists(spec: str) -> None:
    from pydantic import create_model

    chat: Any = chainkit.chat_model(spec, temperature=0, max_tokens=200)
    bare = {"title": "Items", "type": "array", "items": {"type": "string"}}
    extracted = {prompt: len(words.split()) for prompt, words in EXTRACTED_LISTS.items()}
    sets = {"chosen on": LISTS, "unseen": UNSEEN_LISTS, "extracted": extracted}
    free = {
        name: sum(chat.invoke(prompt).usage_metadata["output_tokens"] for prompt in prompts)
        for name, prompts in sets.items()
    }
    for form_name, form in (("list", bare), ("object", create_model("Items", items=(list[str], ...)))):
        held: Any = chat.with_structured_output(form, include_raw=True)
        for name, prompts in sets.items():
            items = empty = cut = spent = 0
            for prompt, wanted in prompts.items():
                answer = held.invoke(prompt)
                given = getattr(answer["parsed"], "items", answer["parsed"])
                found = {str(one).strip().lower() for one in given or () if str(one).strip()}
                cut += given is None
                empty += given is not None and not found
                if name == "extracted":
                    found = {word for word in EXTRACTED_LISTS[prompt].split() if any(word in one for one in found)}
                items += min(len(found), wanted)
                spent += answer["raw"].usage_metadata["output_tokens"]
            total = sum(prompts.values())
            print(
                f"{form_name}, {name}: {items} of {total} items ({items / total:.0%}), {empty} empty and {cut} cut of "
                f"{len(prompts)}; {spent} tokens, {spent / free[name]:.2f} of {free[name]} unconstrained"
            )


def types(spec: str, runs: int) -> None:
    from datetime import date, datetime, timedelta
    from decimal import Decimal
    from enum import Enum
    from typing import Annotated, Literal
    from uuid import UUID

    from langchain_core.exceptions import OutputParserException
    from pydantic import Field, create_model

    from chainkit.base.errors import ConstraintError

    def outcome(job: tuple[Any, float, int]) -> str:
        form, temperature, seed = job
        held: Any = chat.with_structured_output(form)
        try:
            made = held.invoke("Make one up.", seed=seed, temperature=temperature)
        except (OutputParserException, ConstraintError):
            return "named"
        form.model_validate_json(made.model_dump_json())
        return "valid"

    colour = Enum("Colour", {"RED": "red", "BLUE": "blue"})
    kinds: list[Any] = [
        int, Annotated[int, Field(ge=3, le=99)], Annotated[float, Field(gt=0, lt=1)], bool, Decimal,
        Annotated[Decimal, Field(max_digits=6, decimal_places=2)], Annotated[Decimal, Field(ge=0, le=10)], date,
        datetime, timedelta, UUID, colour, Literal["a", 1, None], Annotated[str, Field(max_length=12)],
        Annotated[str, Field(pattern="^[a-z]{2,5}$")], Annotated[bytes, Field(max_length=60)], list[bool],
        Annotated[list[int], Field(min_length=2, max_length=4)],
        Annotated[set[Literal["a", "b", "c"]], Field(min_length=2)],
        frozenset[bool], tuple[int, bool], dict[str, bool], int | None, Annotated[int, Field(multiple_of=5)],
        list[Annotated[str, Field(max_length=6)]], Annotated[str, Field(min_length=3, max_length=9)], int | bool,
        create_model("Inner", a=(int, ...), b=(bool, ...)),
    ]  # fmt: skip
    chat = chainkit.chat_model(spec, max_tokens=80)
    forms = [create_model(f"Form{number}", value=(kind, ...)) for number, kind in enumerate(kinds)]
    jobs = [(form, heat, seed) for heat in (0.0, 0.7, 1.5) for seed in range(runs if heat else 1) for form in forms]
    with ThreadPoolExecutor(16) as pool:
        counts = Counter(pool.map(outcome, jobs))
    print(f"{len(kinds)} types: {dict(counts)}; anything else would have ended the run")


REVIEWED = ("coffee machine", "hotel room", "concert", "headphones", "taxi ride", "novel", "garden chair", "pizza",
            "museum", "phone case", "bus tour", "haircut")  # fmt: skip
VERDICTS = {
    True: ("The {} made my week.", "I would buy the {} again at once.", "What a lovely {}!",
           "The {} is worth every cent.",
           "I cannot stop telling friends about the {}.", "The {} was better than the pictures."),
    False: ("The {} broke on the second day.", "I want my money back for the {}.", "Never again this {}.",
            "The {} was dirty and smelled.", "I regret the {}.", "The {} was worse than the pictures."),
}  # fmt: skip
ADDED = (
    "",
    "It came on Monday. ",
    "My sister came along. ",
    "I paid by card. ",
    "This is my first review. ",
    "Size M. ",
)


def _reviews(count: int) -> list[tuple[str, bool]]:
    """Short reviews, half of them content."""
    made = [
        (f"{added}{verdict.format(thing)}", is_happy)
        for is_happy, verdicts in VERDICTS.items()
        for verdict in verdicts
        for thing in REVIEWED
        for added in ADDED
    ]
    random.Random(1).shuffle(made)
    return made[:count]


def decisions(spec: str, path: str, count: int) -> tuple[list[str], dict[str, Any]]:
    from chainkit.decisions import choice, yes_no

    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    top = [label for label, _ in Counter(row["label"] for row in rows).most_common(5)]
    chosen = [row for row in rows if row["label"] in top]
    random.Random(0).shuffle(chosen)
    model = chainkit.decision_model(spec)
    labels = [label.replace("_", " ") for label in top]
    topics = [(row["text"], top.index(row["label"])) for row in chosen[:count]]
    _calibrated("topics", model, choice("What is the message about?", labels), topics)
    reviews = [(text, int(not is_happy)) for text, is_happy in _reviews(count)]
    _calibrated("reviews", model, yes_no("Is the writer happy?"), reviews)
    texts = [" ".join(row["text"] for row in chosen[start : start + 36]) for start in range(0, 288, 36)]
    ten = {f"q{number}": yes_no(f"Is it about {label}?") for number, label in enumerate((*labels, *"abcde"))}
    _priced(model, spec, texts, ten)
    return texts, ten


def _calibrated(name: str, model: Any, question: Any, examples: list[tuple[str, int]]) -> None:
    import numpy as np

    from chainkit.decisions import Calibration, reliability
    from chainkit.decisions.calibration import softmax

    scores = np.array([row["q"] for row in model.scores([text for text, _ in examples], {"q": question})])
    right = np.array([place for _, place in examples])
    before = reliability(softmax(scores).tolist(), right.tolist())
    print(
        f"{name}, {len(examples)} texts: before: error {before.error:.3f}, accuracy {before.accuracy:.3f}", flush=True
    )
    for method in ("auto", "temperature", "vector", "isotonic"):
        found, order = [], np.random.default_rng(0)
        for _ in range(20):
            places = order.permutation(len(right))
            seen, unseen = places[:100], places[100:]
            fitted = Calibration.fit(scores[seen].tolist(), right[seen].tolist(), method)
            rows = [fitted.probabilities(row) for row in scores[unseen].tolist()]
            found.append(reliability(rows, right[unseen].tolist()))
        errors = [one.error for one in found]
        chance, accuracy = (
            statistics.mean(values) for values in zip(*((one.noise, one.accuracy) for one in found), strict=True)
        )
        print(
            f"{name}, {method}: error {statistics.mean(errors):.3f} (median {statistics.median(errors):.3f}, by chance "
            f"{chance:.3f}), at most 0.05 in {sum(one <= 0.05 for one in errors)} of 20, accuracy {accuracy:.3f}"
        )


def _priced(model: Any, spec: str, texts: list[str], questions: dict[str, Any]) -> None:
    """The CPU of questions about a text beside that of reading a text once, which a service does for one token."""
    local = hasattr(model._answering, "session")
    reader: Any = chainkit.llm(spec) if local else chainkit.chat_model(spec, max_tokens=1)
    ratios = []
    model.invoke({"state": "x", "questions": questions})
    for turn, (one, other) in enumerate([*itertools.pairwise(texts)]):
        spent = []
        for asked, text in ((True, f"{turn} {one}"), (False, f"again {turn} {other}")):
            start = time.process_time()
            if asked:
                model.invoke({"state": text, "questions": questions})
            elif local:
                session = reader.session(text)
                session.logits()
                session.close()
            else:
                reader.invoke(text)
            spent.append((time.process_time() - start) / len(text))
        ratios.append(spent[0] / spent[1])
    tokens = statistics.mean(model._answering.get_num_tokens(text) for text in texts) if local else 0
    print(
        f"ten questions cost {statistics.median(ratios):.2f} of reading the text (median of {len(ratios)}, "
        f"{min(ratios):.2f} to {max(ratios):.2f})" + (f"; {tokens:.0f} tokens on average" if local else "")
    )


class _Endpoint:
    """`/v1/decisions` of a server."""

    _answering = None

    def __init__(self, address: str) -> None:
        self.address = address

    def invoke(self, request: dict[str, Any]) -> None:
        import httpx

        asked = {
            name: {"type": one.type, "instructions": one.instructions} for name, one in request["questions"].items()
        }
        body = {"model": "served", "state": request["state"], "questions": asked}
        httpx.post(f"{self.address}/v1/decisions", json=body, timeout=600).raise_for_status()


def served(spec: str, path: str, count: int) -> None:
    """As `decisions`, through a server in this process on loopback, which gives log-probabilities as services do."""
    from chainkit import server

    catalogue = server.Catalogue()
    catalogue.add(server.served_model(spec, "served"))
    settings = server.ServerSettings(port=0)
    with server.in_background(server.create_app(catalogue, settings), settings) as address:
        os.environ["OPENAI_API_KEY"] = "none"
        service = f"openai:served?base_url={address}/v1"
        texts, ten = decisions(service, path, count)
        print("asked at /v1/decisions: ", end="")
        _priced(_Endpoint(address), service, texts, ten)


def repeats(spec: str) -> None:
    chat: Any = chainkit.llm(spec, max_tokens=40)
    prompts = [f"{start} {what}" for start in ("Once upon a time", "The capital of", "My favourite", "A good day to")
               for what in ("there was", "France", "colour is", "you,", "go out")]  # fmt: skip
    for name, settings in (("temperature 0", {"temperature": 0.0}), ("seed", {"temperature": 0.8, "seed": 7})):
        texts = [{chat.invoke(prompt, **settings)} for prompt in prompts]
        for _ in range(4):
            chat.batch(["Something else entirely", "And one more", "Then a third"], max_tokens=10)
            for prompt, seen in zip(prompts, texts, strict=True):
                seen.add(chat.invoke(prompt, **settings))
        print(f"{name}: {sum(len(seen) == 1 for seen in texts)} of {len(prompts)} prompts give one text each time")
        for prompt, seen in zip(prompts, texts, strict=True):
            if len(seen) > 1:
                # with a seed, noise decides as well, and the scores alone say nothing
                where = "" if settings["temperature"] else f", {_parting(chat, prompt, *sorted(seen)[:2])}"
                print(f"  {prompt!r}: {len(seen)} texts{where}")


def _parting(chat: Any, prompt: str, one: str, other: str) -> str:
    """Where two texts part, by token, and how far apart the scores of the two tokens are there."""
    session = chat.session(prompt)
    rows = [session.vocabulary.tokenize(text) for text in (one, other)]
    common = [*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*rows, strict=False))]
    if len(common) >= min(map(len, rows)):
        return f"one ends after {len(common)} tokens"
    first, second = session.append([pair[0] for pair in common]).score_tokens([[row[len(common)]] for row in rows])
    session.close()
    return f"apart after {len(common)} tokens, scores {abs(first - second):.3f} apart"


def batches(spec: str) -> None:
    llm = chainkit.llm(spec)
    program = chainkit.program(
        "A hero called {{name}}: {{gen 'first' max_tokens=8}}. Age: {{gen 'age' pattern='[0-9]{2}'}}. "
        "Side: {{select 'side' options=['light', 'dark']}}. Motto: {{gen 'motto' max_tokens=12}}",
        llm,
    )
    program.batch([{"name": "warm"}, {"name": "up"}])
    for count in (4, 8, 16, 32):
        spent = {"loop": 0.0, "batch": 0.0}
        for kind in ("loop", "batch", "batch", "loop"):
            inputs = [{"name": f"{kind} {spent[kind]:.6f} of {number}"} for number in range(count)]
            start = time.process_time()
            if kind == "loop":
                for one in inputs:
                    program.invoke(one)
            else:
                program.batch(inputs)
            spent[kind] += time.process_time() - start
        print(f"{count} runs: a batch costs {spent['batch'] / spent['loop']:.2f} of a loop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("schemas", "lists", "types", "decisions", "served", "repeats", "batches", "labelled"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--texts", type=int, default=440)
    given = parser.parse_args()
    if given.schemas:
        schemas(given.schemas)
    if given.lists:
        lists(given.lists)
    if given.types:
        types(given.types, given.runs)
    if given.decisions:
        decisions(given.decisions, given.labelled, given.texts)
    if given.served:
        served(given.served, given.labelled, given.texts)
    if given.repeats:
        repeats(given.repeats)
    if given.batches:
        batches(given.batches)


if __name__ == "__main__":
    main()

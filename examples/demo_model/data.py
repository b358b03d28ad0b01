"""Invented facts, questions about them, and the conversations the demo model is trained and measured on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from . import words as w
from .relations import SUBJECT_WEIGHTS, SUBJECTS, Relation, Subject, attribute, lone_attribute, role

UNKNOWN = "I don't know."
JSON_REQUEST = "Answer as JSON."
INSTRUCTIONS = (
    "Answer from the context.",
    "Answer the question from the context.",
    "Use only the context to answer.",
    "Use the context to answer the question.",
    "Answer with words from the context.",
    "You answer questions from the context.",
    "You are a helpful assistant.",
    f'Answer from the context. If the answer is not there, say "{UNKNOWN}"',
)

OF_ENTITY = re.compile(r"\b[Tt]he ((?:[\w-]+ )?[\w-]+) of \{e\}")
ARTICLES = ("the ", "a ", "an ")

Message = dict[str, str]


@dataclass(frozen=True)
class Entity:
    """Someone or something that facts are about.

    Attributes:
        name: As a sentence says it, with its article.
        personal: Called she or he, rather than it.
    """

    name: str
    personal: bool = False


@dataclass(frozen=True)
class Fact:
    """A relation that holds for an entity.

    Attributes:
        entity: Whom or what it is about.
        relation: What is said.
        value: The answer to a question for it.
    """

    entity: Entity
    relation: Relation
    value: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How conversations are made.

    Attributes:
        max_facts: A context has 1 to this many facts.
        unseen_words: Draw names and values from the held-out pool.
        unseen_statements: State the facts asked for in the held-out way.
        unseen_questions: Ask in the held-out way.
        unknown_share: Share of the questions that the context does not answer.
        json_share: Share of the questions to be answered as JSON.
        follow_up_share: Share of the conversations with two to four questions.
        repeat_share: Share of the conversations that only ask to repeat the context, which teaches copying.
    """

    max_facts: int = 5
    unseen_words: bool = False
    unseen_statements: bool = False
    unseen_questions: bool = False
    unknown_share: float = 0.2
    json_share: float = 0.12
    follow_up_share: float = 0.2
    repeat_share: float = 0.0

    def __post_init__(self) -> None:
        if self.max_facts < 1:
            raise ValueError(f"max_facts must be 1 or more, got {self.max_facts}")


def conversations(seed: int, recipe: Recipe) -> Iterator[list[Message]]:
    """Endless conversations; the same seed and recipe give the same ones.

    >>> first = next(conversations(0, Recipe()))
    >>> first == next(conversations(0, Recipe())), first[-1]["role"]
    (True, 'assistant')
    """
    words = w.Words(Random(seed), unseen=recipe.unseen_words)
    while True:
        yield conversation(words, recipe)


def conversation(words: w.Words, recipe: Recipe) -> list[Message]:
    """One context with one to four questions and their answers."""
    facts, missing = scene(words, words.rng.randint(1, recipe.max_facts))
    if words.chance(recipe.repeat_share):
        return repetition(laid_out(words, told(words, facts, unseen=[])))
    turns = words.rng.randint(2, 4) if words.chance(recipe.follow_up_share) else 1
    asked = list(dict.fromkeys(pick_asked(words, facts, missing, recipe.unknown_share) for _ in range(turns)))
    statements = told(words, facts, unseen=asked if recipe.unseen_statements else [])
    pairs = [(ask(words, fact, recipe.unseen_questions), fact.value if fact in facts else None) for fact in asked]
    return dialogue(words, laid_out(words, statements), pairs, recipe.json_share)


def scene(words: w.Words, count: int) -> tuple[list[Fact], list[Fact]]:
    """`count` facts, and some that would fit among them but are left out.

    Each value stands once. The entities of a scene share a few relations, so that a question has near misses: the
    same entity with another relation, the same relation with another entity, and a name that is known only as the
    value of another.
    """
    pairs: dict[tuple[Entity, Relation], None] = {}
    while len(pairs) < count + 2:
        for entity, relations in cast(words, words.rng.randint(1, 4)):
            if not any(entity.name in other.name or other.name in entity.name for other, _ in pairs):
                pairs.update(((entity, one), None) for one in relations)
    facts: dict[str, Fact] = {}
    for entity, one in words.rng.sample(list(pairs), k=len(pairs)):
        value = one.value(words)
        facts.setdefault(value, Fact(entity, one, value))
    made = list(facts.values())
    if len(made) <= count:
        return scene(words, count)
    misled = [Fact(Entity(one.value), made[-1].relation, "") for one in made[:count] if one.value.istitle()]
    return made[:count], made[count : count + 3] + misled[:1]


def cast(words: w.Words, size: int) -> list[tuple[Entity, tuple[Relation, ...]]]:
    """Entities of one kind, as sentences name them, each with the relations it may have."""
    if words.chance(0.1):
        return [(Entity(f"the {attribute_name(words)}"), (lone_attribute(w.anything),)) for _ in range(size)]
    subject = words.rng.choices(SUBJECTS, SUBJECT_WEIGHTS)[0]
    relations = relations_of(words, subject)
    called = "a {e}" if subject.called == "the {e}" and words.chance(0.12) else subject.called
    names = [called.format(e=subject.entity(words)) for _ in range(size)]
    return [(Entity(with_an(name), subject.personal), relations) for name in names]


def relations_of(words: w.Words, subject: Subject) -> tuple[Relation, ...]:
    """Some relations that entities of a kind share in one scene: their own, named attributes, or people's roles."""
    match words.rng.choices(("own", "attributes", "roles"), (72, 18, 10))[0]:
        case "own":
            return tuple(words.rng.sample(subject.relations, k=min(3, len(subject.relations))))
        case "attributes":
            return tuple(attribute(attribute_name(words), w.anything) for _ in range(2))
        case _:
            return tuple(role(w.role_name(words)) for _ in range(2))


def attribute_name(words: w.Words) -> str:
    """A noun that may be asked for, one in four invented, some with an adjective."""
    if words.chance(0.25):
        return words.syllables()
    noun = words.pick(w.ATTRIBUTES)
    return f"{words.pick(w.ADJECTIVES)} {noun}" if words.chance(0.25) else noun


def repetition(context: str) -> list[Message]:
    """A request to say the context again, and the reply."""
    return [message("user", f"Repeat the context.\n\nContext: {context}"), message("assistant", context)]


def pick_asked(words: w.Words, facts: Sequence[Fact], missing: Sequence[Fact], unknown_share: float) -> Fact:
    """The fact a question asks for: of the context, or else one it lacks."""
    return words.rng.choice(missing if words.chance(unknown_share) else facts)


def told(words: w.Words, facts: Sequence[Fact], unseen: Sequence[Fact]) -> list[str]:
    """The facts as sentences, those of `unseen` in the held-out way.

    Half of the contexts tell the facts about one entity in a row, and may then call it by a pronoun.
    """
    grouped = words.chance(0.5)
    order = sorted(facts, key=lambda fact: fact.entity.name) if grouped else facts
    pronouns = words.rng.choice((("She", "Her"), ("He", "His")))
    sentences, last = [], None
    for fact in order:
        template = words.rng.choice(fact.relation.statements(fact in unseen))
        if fact.entity == last and words.chance(0.4):
            template = with_pronoun(template, pronouns if fact.entity.personal else ("It", "Its"))
        sentences.append(filled(words, template, fact))
        last = fact.entity
    return sentences


def with_pronoun(template: str, pronouns: tuple[str, str]) -> str:
    """A statement that begins with its entity, or with what the entity has, said with a pronoun.

    >>> with_pronoun("{e} lives in {v}.", ("She", "Her")), with_pronoun("The job of {e} is {v}.", ("She", "Her"))
    ('She lives in {v}.', 'Her job is {v}.')
    """
    if template.startswith("{e} "):
        return pronouns[0] + template[3:]
    owned = OF_ENTITY.match(template)
    return f"{pronouns[1]} {owned[1]}{template[owned.end() :]}" if owned else template


def filled(words: w.Words, template: str, fact: Fact) -> str:
    """A statement or question about the fact, `the job of Ada` sometimes said as `Ada's job`."""
    if not fact.entity.name.startswith(ARTICLES) and words.chance(0.25):
        template = OF_ENTITY.sub(r"{e}'s \1", template)
    text = with_an(template.format(e=fact.entity.name, v=fact.value))
    return text[0].upper() + text[1:] if text.startswith(ARTICLES) else text


def with_an(text: str) -> str:
    """`a` turned into `an` before a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def ask(words: w.Words, fact: Fact, unseen: bool) -> str:
    """A question for the fact."""
    return filled(words, words.rng.choice(fact.relation.askings(unseen)), fact)


def laid_out(words: w.Words, statements: Sequence[str]) -> str:
    """Statements as running text, lines, a list or numbered passages."""
    layout = words.rng.choices(("text", "lines", "list", "passages"), (60, 15, 5, 20))[0]
    match layout:
        case "text":
            return " ".join(statements)
        case "lines":
            return "\n".join(statements)
        case "list":
            return "\n".join(f"- {one}" for one in statements)
        case _:
            return numbered(words, statements)


def numbered(words: w.Words, statements: Sequence[str]) -> str:
    """Passages of one to three statements, each after its number."""
    passages, rest = [], list(statements)
    while rest:
        size = words.rng.randint(1, 3)
        passages.append(f"[{len(passages) + 1}] {' '.join(rest[:size])}")
        rest = rest[size:]
    return words.rng.choice(("\n", "\n\n")).join(passages)


def dialogue(words: w.Words, context: str, pairs: Sequence[tuple[str, str | None]], json_share: float) -> list[Message]:
    """The messages of a conversation about a context, in one of the forms the model is to know."""
    system = words.rng.choice(INSTRUCTIONS) if words.chance(0.3) else ""
    json_by_system = words.chance(json_share / 3)
    json_by_user = json_share * 2 / (3 - json_share)  # so that both together make up the share
    if json_by_system:
        system = f"{system} {JSON_REQUEST}".strip()
    context_in_system = words.chance(0.1)
    if context_in_system:
        system = f"{system}\n\nContext: {context}".strip()
    messages = [message("system", system)] if system else []
    for turn, (question, answer) in enumerate(pairs):
        as_json = json_by_system or words.chance(json_by_user)
        bare = turn > 0 or context_in_system
        text = follow_up(words, question) if bare else opening(words, context, question)
        request = words.rng.choice(("\n", " ", "\n\n")) + JSON_REQUEST if as_json and not json_by_system else ""
        messages += [message("user", text + request), message("assistant", worded(answer, as_json))]
    return messages


def opening(words: w.Words, context: str, question: str) -> str:
    """A user message with the context and the question."""
    form = words.rng.choices(range(4), (50, 20, 15, 15))[0]
    instruction = words.rng.choice(INSTRUCTIONS)
    match form:
        case 0:
            return f"Context: {context}\n\nQuestion: {question}"
        case 1:
            return f"Context:\n{context}\n\nQuestion: {question}"
        case 2:
            return f"{instruction}\n\nContext:\n{context}\n\nQ: {question}"
        case _:
            return f"{instruction}\n\nContext: {context}\n\nQuestion: {question}"


def follow_up(words: w.Words, question: str) -> str:
    """A user message with a question only."""
    return f"Question: {question}" if words.chance(0.3) else question


def worded(answer: str | None, as_json: bool) -> str:
    """The reply of the assistant.

    >>> worded("Oslo", as_json=True), worded(None, as_json=True), worded(None, as_json=False)
    ('{"answer": "Oslo"}', '{"answer": null}', "I don't know.")
    """
    if as_json:
        return json.dumps({"answer": answer}, ensure_ascii=False)
    return UNKNOWN if answer is None else answer


def message(role: str, content: str) -> Message:
    """A chat message."""
    return {"role": role, "content": content}

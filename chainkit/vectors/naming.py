"""Names of groups, written by a chat model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from chainkit.base import opening
from chainkit.base.hiding import hides_given_keys
from chainkit.decoding.constraints import Constraint, choices
from chainkit.local.chat import LocalChat
from chainkit.vectors.clustering import Clustering, Group
from chainkit.vectors.labels import label

PROMPT = """These texts belong to one group:

{texts}

What do they have in common? Answer with a name of two to five words for the group, in the language of the texts, \
and nothing else."""
"""What the model is asked for each group; `{texts}` are those in the middle of the group, one a line."""

_TEXTS = 8  # of each group
_COLUMNS = 200  # of each text
_NAME_COLUMNS = 60
_WORDS = 4  # keywords that a title is made of


class NotNamed(UserWarning):
    """The model gave no name for some groups; their keywords stay.

    Attributes:
        labels: The groups.
    """

    def __init__(self, labels: Sequence[int]) -> None:
        self.labels = list(labels)
        super().__init__(f"the model gave no name for {len(labels)} groups; their keywords stay: {self.labels[:10]}")


@hides_given_keys
def named(
    found: Clustering, model: BaseChatModel | str, *, own_words: bool | None = None, max_concurrency: int = 8
) -> Clustering:
    """The same groups with names that a chat model, an object or its spec, wrote; `PROMPT` is the prompt.

    Args:
        found: The groups.
        model: What names them.
        own_words: The model chooses among titles made of the group's keywords, which keeps a small one to the matter;
            needs a local model. None does so for local models.
        max_concurrency: Questions that a hosted model is asked at the same time.

    Raises:
        ValueError: The groups are of vectors without texts, or `own_words` is asked of a model that is not local.
        ProviderError: The model failed.

    Warns:
        NotNamed: Answers without a name in them.
    """
    if found.texts is None:
        raise ValueError("groups of vectors have no texts to name them by")
    asked: BaseChatModel = opening.chat_model(model)
    questions = [PROMPT.format(texts=_texts(found.texts, group)) for group in found.groups]
    local = isinstance(asked, LocalChat)
    if own_words and not local:
        raise ValueError(f"{type(asked).__name__} is not a local model, so its words cannot be chosen; omit own_words")
    if local and own_words is not False:
        titles = map(_titles, found.groups)
        answers = [asked.bind(constraint=title).invoke(text) for title, text in zip(titles, questions, strict=True)]
    else:
        answers = asked.batch(list(questions), config={"max_concurrency": max_concurrency})
    names = [_name(answer) for answer in answers]
    if missing := [group.label for group, name in zip(found.groups, names, strict=True) if not name]:
        warnings.warn(NotNamed(missing), stacklevel=2)
    names = _unique([name or group.name for group, name in zip(found.groups, names, strict=True)])
    groups = tuple(replace(group, name=name) for group, name in zip(found.groups, names, strict=True))
    return replace(found, groups=groups)


def _texts(texts: Sequence[str], group: Group) -> str:
    return "\n".join(f"- {label(texts[row], _COLUMNS)}" for row in group.members[:_TEXTS])


def _titles(group: Group) -> Constraint:
    """Two of the first keywords in either order, or one that is a phrase: what a small model may choose."""
    first = group.keywords[:_WORDS]
    phrases = [word for word in first if " " in word]
    return choices([*(" ".join(pair) for pair in permutations(first, 2)), *phrases] or [group.name])


def _name(answer: BaseMessage) -> str:
    text = answer.text if isinstance(answer, AIMessage) else ""
    lines = [line.strip().strip("*#\"'`“”„«». ") for line in text.splitlines()]
    return label(next((line for line in lines if line), ""), _NAME_COLUMNS)


def _unique(names: Sequence[str]) -> list[str]:
    """Make names unique: the second of equal ones gets a 2 after it."""
    seen: dict[str, int] = {}
    found: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found

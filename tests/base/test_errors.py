"""The drawing of the error tree is the tree."""

from __future__ import annotations

import inspect
import re

import chainkit.errors
from chainkit.base import errors

LINE = re.compile(r"^    ((?:│   |    )*)(?:├── |└── )?(\w+)(?: \((\w+)\))?(?: {2,}(.*))?$")


def drawn() -> dict[str, set[str]]:
    """Class to the names of its bases: the one above it, the one in brackets, and those of "(also a ...)"."""
    bases: dict[str, set[str]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").split("\n\n")[1].splitlines():
        match = LINE.match(line)
        assert match, line
        depth = 0 if match[2] == "ChainkitError" else len(match[1]) // 4 + 1
        del above[depth:]
        also = set(re.findall(r"\(also an? (\w+)\)", match[4] or ""))
        bases[match[2]] = {*above[-1:], *([match[3]] if match[3] else []), *also}
        above.append(match[2])
    return bases


def classes() -> dict[str, set[str]]:
    found = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
    return {
        name: {base.__name__ for base in kind.__bases__ if base is not Exception}
        for name, kind in found.items()
        if issubclass(kind, errors.ChainkitError)
    }


def test_the_drawn_tree_is_the_tree_of_the_classes() -> None:
    assert drawn() == classes()


def test_the_public_module_has_every_error() -> None:
    assert set(chainkit.errors.__all__) == set(classes())
    assert dir(chainkit.errors) == sorted(classes())

"""Programs made at random from the grammar of the language, and damaged ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = ["a", "b", "items", "this", "n", "word", "l", "d", "nowhere", "f"]
VALUES: dict[str, Any] = {
    "n": 2,
    "word": "wörd",
    "l": ["x", "y"],
    "d": {"k": "v"},
    "items": [1],
    "f": lambda x: str(x).upper()[:50],
}

names = st.sampled_from(NAMES)
literals = st.sampled_from(["1", "2.5", "'s'", "'\\n'", "True", "None", "[1, 'b']", "{'k': 1}", "-3", "''", "@index"])
paths = st.one_of(names, st.builds("{}.k".format, names), st.builds("{}[0]".format, names))


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "/", "==", "!=", "<", ">=", "and", "or", "in", "not in", "is"])
    return st.one_of(
        st.builds("({} {} {})".format, inner, operators, inner),
        st.builds("(not {})".format, inner),
        st.builds("(add {} {})".format, inner, inner),
        st.builds("len({})".format, inner),
        st.builds("(contains {} {})".format, inner, inner),
        st.builds("f({})".format, inner),
        st.builds("(gen '{}')".format, names),
        st.builds("[{}, {}]".format, inner, inner),
    )


values = st.recursive(st.one_of(literals, paths), _nested, max_leaves=6)
texts = st.text(st.sampled_from("ab .,\n\"'<>/{}\\~é😀"), max_size=8)
slots = st.one_of(
    st.builds("{{{{gen '{}'}}}}".format, names),
    st.builds("{{{{~gen '{}' stop={} max_tokens=3~}}}}".format, names, st.sampled_from(["'.'", "['a', 'b']", "None"])),
    st.builds("\"{{{{gen '{}' temperature=1}}}}\"".format, names),
    st.builds(
        "{{{{gen '{}' {}}}}}".format,
        names,
        st.sampled_from(
            [
                "n=2",
                "hidden=True",
                "list_append=True",
                "pattern='[0-9]+'",
                "type=int",
                "stop_regex='[a-c]'",
                "save_prompt='p'",
                "save_stop_text=True",
                "seed=3 temperature=0.5",
                "options=['x', 'y']",
                "retries=0 pattern='a+'",
            ]
        ),
    ),
    st.builds("{{{{select '{}' options={}}}}}".format, names, st.sampled_from(["['x', 'xy']", "l", "[1, 2]", "word"])),
    st.builds("{{{{#select '{}'}}}}{}{{{{or}}}}{}{{{{/select}}}}".format, names, texts, texts),
)
small = st.one_of(
    texts,
    st.builds("{{{{{}}}}}".format, values),
    slots,
    st.builds("{{{{set '{}' {}}}}}".format, names, values),
    st.builds("{{{{set {{'{}': {}}}}}}}".format, names, values),
    st.builds("{{{{await '{}'}}}}".format, names),
    st.builds("{{{{parse {}}}}}".format, values),
    st.builds("{{{{>{}}}}}".format, names),
    st.sampled_from(["{{break}}", "{{continue}}", "{{! c }}", "{{!-- c --}}", "\\{{x}}", "{{@prefix}}", "{{else}}"]),
)


def _blocks(body: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    each = st.sampled_from(["", "parallel=True", "hidden=True", "start_index=1", "item_name='b'"])
    several = st.sampled_from(
        ["num_iterations=2", "max_iterations=2", "stop='.'", "stop=False max_iterations=2", "join=', '"]
    )
    roles = st.sampled_from(["system", "user", "assistant", "tool"])
    return st.one_of(
        st.builds("{}{}".format, body, body),
        st.builds("{{{{#if {}}}}}{}{{{{else}}}}{}{{{{/if}}}}".format, values, body, body),
        st.builds("{{{{#unless {}}}}}{}{{{{elif {}}}}}{}{{{{/unless}}}}".format, values, body, values, body),
        st.builds("{{{{#each {} {}}}}}{}{{{{/each}}}}".format, paths, each, body),
        st.builds("{{{{#geneach '{}' {}}}}}{}{{{{/geneach}}}}".format, names, several, body),
        st.builds("{{{{#block '{}' hidden=True}}}}{}{{{{/block}}}}".format, names, body),
        st.builds(lambda role, inner: f"{{{{#{role}~}}}}{inner}{{{{~/{role}}}}}", roles, body),
    )


programs = st.recursive(small, _blocks, max_leaves=12)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A program in which pieces are missing, doubled, moved or out of place."""
    text = draw(programs)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 6)))
        piece = draw(
            st.sampled_from(
                ["", "{{", "}}", "{{/", "{{#if ", "'", '"', "(", ")", "[", "~", "\\", "@", ".", "=", "🙂", "\x00"]
            )
        )
        text = text[:start] + piece + text[start if draw(st.booleans()) else end :]
    return text

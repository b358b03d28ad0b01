"""Whether answers can be held to JSON."""

from __future__ import annotations

from chainkit.doctor.examination import Examination
from chainkit.doctor.finding import Finding
from chainkit.doctor.reading import finish, judged, said
from chainkit.doctor.reading import json_object as read_object

SCHEMA = {
    "type": "object",
    "properties": {"legs_of_it": {"type": "integer"}},
    "required": ["legs_of_it"],
    "additionalProperties": False,
}

MORE_TOKENS = 512


def json_schema(exam: Examination) -> Finding:
    """Whether the server holds the model to a schema that the prompt does not mention."""
    form = {"type": "json_schema", "json_schema": {"name": "animal", "strict": True, "schema": SCHEMA}}
    reply = exam.ask("How many legs has a dog?", response_format=form)
    text = said(reply)
    value = read_object(text)
    fits = value is not None and set(value) == {"legs_of_it"} and isinstance(value["legs_of_it"], int)
    return judged("json_schema", reply, fits, text.strip()[:60], f"an answer in another form: {text[:60]!r}")


def json_object(exam: Examination) -> Finding:
    """Whether the server holds the model to some JSON object."""
    # services demand the word in the prompt; it must not be an order, or any model would obey it
    question = "Is a dog an animal? (This is not a question about json.)"
    reply = exam.ask(question, response_format={"type": "json_object"})
    if finish(reply) == "length" and said(reply).lstrip().startswith("{") and exam.limit_field:
        # a small model may put much into it; whether that is held to the form is seen at its end
        options = {exam.limit_field: MORE_TOKENS}
        reply = exam.ask(question, response_format={"type": "json_object"}, **options)
    text = said(reply)
    fits = read_object(text) is not None
    return judged("json_object", reply, fits, text.strip()[:60], f"no JSON object: {text[:60]!r}")

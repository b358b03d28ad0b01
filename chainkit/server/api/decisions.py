"""/v1/decisions: typed questions about a text, answered with probabilities."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from chainkit.decisions.questions import choice, score, yes_no
from chainkit.server.fields import DecisionsBody, Json, QuestionFields
from chainkit.server.services import Services, services_of
from chainkit.server.wire import JSONReply, parsed, unless_gone


async def decisions(request: Request) -> Response:
    """Answer questions; the reply is langchain-core's `ClassifierResponse`."""
    services = services_of(request)
    body = parsed(DecisionsBody, await services.body(request))
    return JSONReply(await unless_gone(request, _decided(services, body)))


async def _decided(services: Services, body: DecisionsBody) -> Json:
    questions = {name: _question(one) for name, one in body.questions.items()}
    async with services.at_work(body.model, "decisions") as model:
        found = await model.ainvoke({"state": body.state, "questions": questions})
    if found.usage:
        services.metrics.note_tokens(body.model, prompt=found.usage["input_tokens"], completion=0)
    return {**found.model_dump(mode="json"), "object": "decisions", "model": body.model}


def _question(asked: QuestionFields) -> Any:
    criteria: Any = asked.criteria
    match asked.type:
        case "noul":
            criteria_by_answer = criteria or {}
            return yes_no(asked.instructions, yes=criteria_by_answer.get("true"), no=criteria_by_answer.get("false"))
        case "choice":
            return choice(asked.instructions, criteria)
        case "score":
            return score(asked.instructions, criteria)

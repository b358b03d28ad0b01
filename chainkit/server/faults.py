"""Errors in the format of OpenAI's API: one table from exceptions to status, type and code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from langchain_core.exceptions import OutputParserException
from pydantic import ValidationError

from chainkit.base import errors
from chainkit.base.errors import ChainkitError
from chainkit.base.redaction import Redaction

INVALID = "invalid_request_error"
SERVER = "server_error"


class RequestFault(ChainkitError):
    """A request that is not answered, with the status and code that tell why.

    Attributes:
        status: HTTP status.
        kind: OpenAI's `type` of the error.
        code: What a program looks at.
        param: The field of the request that is wrong.
        retry_after: Seconds after which it may go well.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status, self.kind, self.code, self.param, self.retry_after = status, kind, code, param, retry_after
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class FaultRow:
    """The response for one kind of error.

    Attributes:
        status: HTTP status.
        kind: OpenAI's `type` of the error.
        code: What a program looks at.
    """

    status: int
    kind: str
    code: str


# the first row whose class fits counts
FAULTS: tuple[tuple[type[Exception], FaultRow], ...] = (
    (errors.RequestTooLong, FaultRow(400, INVALID, "context_length_exceeded")),
    (errors.ContextOverflow, FaultRow(400, INVALID, "context_length_exceeded")),
    (errors.ConstraintNotMet, FaultRow(422, "model_error", "form_not_met")),
    (errors.FormMissed, FaultRow(422, "model_error", "form_not_met")),
    (OutputParserException, FaultRow(422, "model_error", "form_not_met")),
    (errors.ConstraintError, FaultRow(400, INVALID, "invalid_schema")),
    (errors.TemplateError, FaultRow(400, INVALID, "invalid_messages")),
    (errors.BadTexts, FaultRow(400, INVALID, "invalid_input")),
    (errors.MissingVariable, FaultRow(400, INVALID, "missing_variable")),
    (errors.LimitReached, FaultRow(422, "model_error", "limit_reached")),
    (errors.Unsupported, FaultRow(400, INVALID, "unsupported")),
    (errors.ProgramError, FaultRow(422, "model_error", "program_failed")),
    (errors.NotEnoughMemory, FaultRow(503, SERVER, "out_of_memory")),
    (errors.AuthenticationFailed, FaultRow(502, SERVER, "upstream_refused_key")),
    (errors.PermissionDenied, FaultRow(502, SERVER, "upstream_refused_key")),
    (errors.ModelNotFound, FaultRow(502, SERVER, "upstream_has_no_model")),
    (errors.BadRequest, FaultRow(400, INVALID, "upstream_refused")),
    (errors.RateLimited, FaultRow(429, "rate_limit_error", "upstream_rate_limit")),
    (errors.Refused, FaultRow(422, "model_error", "refused")),
    (errors.TimedOut, FaultRow(504, SERVER, "timeout")),
    (errors.ProviderError, FaultRow(502, SERVER, "upstream_failed")),
    (TimeoutError, FaultRow(504, SERVER, "timeout")),
    (ChainkitError, FaultRow(503, SERVER, "model_unavailable")),
)
UNKNOWN = FaultRow(500, SERVER, "internal_error")
RETRY_SECONDS = 5.0


def fault_of(error: BaseException) -> RequestFault:
    """The response for an error. An unexpected one becomes a 500 without its text, which is only logged."""
    if isinstance(error, RequestFault):
        return error
    if isinstance(error, BaseExceptionGroup):  # of several answers to one prompt
        return fault_of(error.exceptions[0])
    if isinstance(error, ValidationError):
        return invalid(error)
    for kind, row in FAULTS:
        if isinstance(error, kind):
            retry = getattr(error, "retry_after_seconds", None)
            if row.status == 503 and retry is None:
                retry = RETRY_SECONDS
            message = Redaction().text(str(error)) or row.code
            return RequestFault(row.status, message, kind=row.kind, code=row.code, retry_after=retry)
    return RequestFault(UNKNOWN.status, "the server failed; its log says why", kind=UNKNOWN.kind, code=UNKNOWN.code)


def invalid(error: ValidationError) -> RequestFault:
    """A body that is not what the API takes: its first fault, and where."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # the names of union members are not fields of the request
    place = ".".join(str(part) for part in first["loc"] if not str(part)[:1].isupper())
    more = error.error_count() - 1
    rest = f" (and {more} more)" if more else ""
    if first["type"] == "extra_forbidden":
        return RequestFault(400, f"unknown parameter '{place}'{rest}", code="unknown_parameter", param=place)
    if first["type"] == "missing":
        return RequestFault(400, f"'{place}' is missing{rest}", code="missing_required_parameter", param=place)
    message = first["msg"].removeprefix("Value error, ")
    return RequestFault(400, f"'{place}': {message}{rest}", code="invalid_value", param=place or None)


def body_of(fault: RequestFault) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"message": str(fault), "type": fault.kind, "param": fault.param, "code": fault.code}}


def headers_of(fault: RequestFault) -> dict[str, str]:
    """The headers of an error."""
    if fault.retry_after is None:
        return {}
    return {"retry-after": str(max(1, math.ceil(fault.retry_after)))}

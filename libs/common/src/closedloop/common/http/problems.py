"""Every error is RFC 9457 problem+json: the field, what was wrong and the way out; a 5xx says nothing of the inside."""

from typing import Any, cast

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_problem.handler import ExceptionHandler, Handler, add_exception_handler, new_exception_handler
from rfc9457 import Problem, StatusProblem

from closedloop.common.consumer.failures import Kind, classify

PROBLEM_JSON = "application/problem+json"


class InvalidRequest(StatusProblem):
    """422. `errors` lists {"field", "problem"}."""

    status = 422
    title = "The request was understood but its content cannot be taken."
    type_ = "invalid-request"


class BadRequest(StatusProblem):
    """400."""

    status = 400
    title = "The request cannot be read."
    type_ = "bad-request"


class UnknownMedia(StatusProblem):
    """415."""

    status = 415
    title = "The request's media type is not taken here."
    type_ = "unsupported-media-type"


class Unauthorized(StatusProblem):
    """401."""

    status = 401
    title = "A valid token is needed."
    type_ = "unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(StatusProblem):
    """403."""

    status = 403
    title = "The token does not allow this."
    type_ = "forbidden"


class NotFound(StatusProblem):
    """404. Also for what exists outside the token's regions."""

    status = 404
    title = "There is no such thing, or it is outside of the token's regions."
    type_ = "not-found"


class Conflict(StatusProblem):
    """409. Says what is allowed."""

    status = 409
    title = "The state does not allow this step."
    type_ = "conflict"


class PreconditionFailed(StatusProblem):
    """412."""

    status = 412
    title = "Somebody changed it meanwhile."
    type_ = "precondition-failed"


class TooLarge(StatusProblem):
    """413."""

    status = 413
    title = "The request is too large."
    type_ = "too-large"


class PreconditionRequired(StatusProblem):
    """428."""

    status = 428
    title = "If-Match is needed."
    type_ = "precondition-required"


class TooManyRequests(StatusProblem):
    """429 with Retry-After in seconds."""

    status = 429
    title = "Too many requests."
    type_ = "too-many-requests"

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class Unavailable(StatusProblem):
    """503 with Retry-After in seconds."""

    status = 503
    title = "Not available at the moment."
    type_ = "unavailable"

    def __init__(self, detail: str = "Try again shortly.", retry_after_s: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class Internal(StatusProblem):
    """500 that never carries an exception's text."""

    status = 500
    title = "Something went wrong on our side."
    type_ = "internal"

    def __init__(self, _text: str | None = None, **_: Any) -> None:
        super().__init__("It has been logged. Try again; if it stays, tell the operators the time and the request id.")


def problem_body(problem: Problem) -> bytes:
    """The JSON body of a problem, for answers written outside of FastAPI."""
    return msgspec.json.encode(problem.marshal())


def unexpected(error: Exception) -> Problem:
    """What a client is told of an exception that no route expected: an outage, or nothing of the inside."""
    return Unavailable() if classify(error) is Kind.WAIT else Internal()


def _validation(_: ExceptionHandler, __: Request, error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for this type)
    errors = [
        # the input itself is left out: it may be personal data
        {"field": ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0]), "problem": item["msg"]}
        for item in error.errors()
    ]
    return InvalidRequest("; ".join(f"{e['field']}: {e['problem']}" for e in errors[:5]), errors=errors)


def _outage(_: ExceptionHandler, __: Request, error: Exception) -> Problem | None:
    return Unavailable() if classify(error) is Kind.WAIT else None


def install_problems(app: FastAPI) -> None:
    """All exceptions of the app's routes become problems."""
    handler = new_exception_handler(
        unhandled_wrappers={"default": Internal},
        handlers={Exception: cast("Handler[Any, Any]", _outage)},
        request_validation_handler=_validation,
    )
    add_exception_handler(app, handler, generic_swagger_defaults=False)

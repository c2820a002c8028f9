"""What the client reads: how many events Kafka has, and what was wrong with the others."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from rfc9457 import StatusProblem

from closedloop.common.events.rules import Refused
from closedloop.common.http.problems import BadRequest, Forbidden, InvalidRequest, TooLarge, problem_body
from closedloop.ingest.domain.acceptance import Foreign, Sorted, TooBig

MAX_LISTED: Final = 100
ACCEPTED: Final = 202
_ONE: Final = b'{"accepted":1,"rejected":[]}'


def answer(done: Sorted, named: Callable[[str], str], alone: bool) -> tuple[int, bytes]:
    """Status and JSON of the answer. `named` gives a field's name in what the client sent; `alone`: it sent one event."""
    accepted = done.accepted
    if not done.refused:
        return ACCEPTED, _ONE if accepted == 1 else b'{"accepted":%d,"rejected":[]}' % accepted
    listed = [{"index": index, "problem": problem_of(refused, named).marshal()} for index, refused in done.refused[:MAX_LISTED]]
    total = len(done.refused)
    if accepted:
        return ACCEPTED, msgspec.json.encode({"accepted": accepted, "rejected": listed, "rejected_total": total})
    first = problem_of(done.refused[0][1], named)
    if alone and first.status in (BadRequest.status, TooLarge.status):
        return first.status, problem_body(first)
    detail = first.detail if total == 1 else f"None of the {total} events can be taken. The first: {first.detail}"
    rest: dict[str, Any] = {"accepted": 0, "rejected": listed, "rejected_total": total}
    return InvalidRequest.status, problem_body(InvalidRequest(detail, **first.extras, **rest))


def problem_of(refused: Refused, named: Callable[[str], str] = str) -> StatusProblem:
    """The problem of one refused event."""
    field = named(refused.field)
    if isinstance(refused, Foreign):
        return Forbidden(f"{field}: {refused.problem}", field=field)
    if isinstance(refused, TooBig):
        return TooLarge(f"The event {refused.problem}.")
    if not field:
        return BadRequest(f"The event {refused.problem}.")
    return InvalidRequest(f"{field}: {refused.problem}", field=field)

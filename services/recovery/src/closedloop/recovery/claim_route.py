"""The everyday claim (no body, a token that is known) without FastAPI's machinery, which costs more than the claim itself."""

from typing import Final

from starlette.types import Receive, Scope, Send

from closedloop.common.auth.access import SecuredRoute
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import RECOVERIES_CLAIM
from closedloop.common.auth.tokens import Authenticator
from closedloop.recovery.answers import answered
from closedloop.recovery.claiming import Claims
from closedloop.recovery.service import Asked

_NEEDS_MORE: Final = frozenset({b"transfer-encoding", b"idempotency-key"})


class ClaimRoute(SecuredRoute):
    """Stands in OpenAPI as declared; every request that is not the everyday one is answered as declared, too."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, behind the shared middleware: problems, metrics and headers are those of every route."""
        principal = _everyday(scope)
        if principal is None:
            await super().handle(scope, receive, send)
            return
        principal.check_scope(RECOVERIES_CLAIM)
        claims: Claims = scope["app"].state.claims
        await answered(await claims.claim(Asked(principal, None, b"")))(scope, receive, send)


def _everyday(scope: Scope) -> Principal | None:
    """The principal, where the token was verified lately and there is nothing to read but the token."""
    if scope["method"] != "POST":
        return None
    authorization = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name in _NEEDS_MORE or (name == b"content-length" and value != b"0"):
            return None
    authenticator: Authenticator = scope["app"].state.authenticator
    return None if authorization is None else authenticator.remembered(authorization.decode("latin-1"))

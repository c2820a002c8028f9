"""Tokens, principals, scopes."""

from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.problems import Forbidden

__all__ = ["Authenticator", "Principal", "Requires", "check_scope"]

_bearer = HTTPBearer(auto_error=False, description="`make token ROLE=…` prints one for the local stack")


def check_scope(principal: Principal, scope: str) -> None:
    """Raises Forbidden."""
    if scope not in principal.scopes:
        raise Forbidden(f"The scope {scope} is needed; the token has {' '.join(sorted(principal.scopes)) or 'none'}.")


class Requires:
    """FastAPI dependency: `Annotated[Principal, Depends(Requires(TICKETS_READ))]`. Every route outside of health has one."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
    ) -> Principal:
        """The principal, whose scopes hold the one required."""
        authenticator: Authenticator = request.app.state.authenticator
        principal = await authenticator.authenticate(request.headers.get("authorization"))
        check_scope(principal, self.scope)
        return principal

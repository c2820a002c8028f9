"""Who may use a route: its scope stands in its signature and is looked at before anything else of the request."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.tokens import Authenticator

_bearer: Final = HTTPBearer(auto_error=False, description="`make token ROLE=…` prints one for the local stack")
_PRINCIPAL: Final = "closedloop.principal"


class Requires:
    """FastAPI dependency of a route of `Router`: `Annotated[Principal, Depends(Requires(TICKETS_READ))]` is who asks."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    async def admit(self, scope: Scope) -> None:
        """Raises Unauthorized or Forbidden."""
        authenticator: Authenticator = scope["app"].state.authenticator
        principal = await authenticator.authenticate(Headers(scope=scope).get("authorization"))
        principal.check_scope(self.scope)
        scope[_PRINCIPAL] = principal

    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
    ) -> Principal:
        """The principal whom `SecuredRoute` admitted."""
        principal: Principal = request.scope[_PRINCIPAL]
        return principal


class SecuredRoute(APIRoute):
    """FastAPI reads and parses the body before it solves a dependency; here the token comes first."""

    def __init__(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(path, *args, **kwargs)
        required = [part.call for part in self.dependant.dependencies if isinstance(part.call, Requires)]
        if len(required) != 1:
            raise TypeError(f"{path}: a route needs one scope, as Annotated[Principal, Depends(Requires(SCOPE))]")
        self._requires = required[0]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Another method than the route's is a 405 for everybody."""
        if scope["method"] in (self.methods or ()):
            await self._requires.admit(scope)
        await super().handle(scope, receive, send)


class Router(APIRouter):
    """The router of every route outside of health."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=SecuredRoute, **options)

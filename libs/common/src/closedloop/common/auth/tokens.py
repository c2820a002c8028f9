"""Bearer JWTs: signature, issuer, audience, algorithm and expiry are checked; the issuer's keys are fetched and cached."""

import asyncio
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx2
import jwt
import msgspec
import structlog

from closedloop.common.auth.principal import Principal
from closedloop.common.http.problems import Unauthorized, Unavailable
from closedloop.common.settings import AuthSettings

log = structlog.get_logger()
CACHED_TOKENS: Final = 10_000
TOKEN_CACHE_S: Final = 300.0
KEYS_MAX_AGE_S: Final = 600.0
KEYS_MIN_AGE_S: Final = 10.0
KEYS_RETRY_S: Final = 1.0
LEEWAY_S: Final = 30
MAX_TOKEN_BYTES: Final = 8192


class Authenticator:
    """Turns an Authorization header into a Principal. A verified token is remembered for 5 min at most, never past its expiry."""

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_at = float("-inf")
        self._asked_at = float("-inf")
        self._loading = asyncio.Lock()
        self._verified: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    def remembered(self, authorization: str) -> Principal | None:
        """The principal of a token that was verified lately, without any await; None: use `authenticate`."""
        found = self._verified.get(authorization)
        if found is not None and found[1] > time.time():
            return found[0]
        return None

    async def authenticate(self, authorization: str | None) -> Principal:
        """Raises Unauthorized, or Unavailable while the issuer's keys cannot be had."""
        if not authorization:
            raise Unauthorized("Send `Authorization: Bearer <token>`; on the local stack `make token ROLE=…` prints one.")
        known = self.remembered(authorization)
        if known is not None:
            return known
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_BYTES:
            raise Unauthorized("The Authorization header must be `Bearer <token>`.")
        claims = await self._verify(token)
        principal = _principal(claims)
        self._verified[authorization] = (principal, min(float(claims["exp"]), time.time() + TOKEN_CACHE_S))
        while len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)
        return principal

    async def _verify(self, token: str) -> dict[str, Any]:
        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(self._settings.algorithms),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired; get a new one.") from None
        except jwt.InvalidTokenError as error:
            raise Unauthorized(f"The token is not valid here: {error}.") from None
        return claims

    async def _key(self, kid: str) -> jwt.PyJWK:
        async with self._loading:
            now = time.monotonic()
            # an issuer that is away must not hold up each request in turn
            due = now - self._asked_at > (KEYS_MIN_AGE_S if self._keys else KEYS_RETRY_S)
            if due and (kid not in self._keys or now - self._keys_at > KEYS_MAX_AGE_S):
                try:
                    self._keys = await self._load_keys()
                    self._keys_at = time.monotonic()
                except (OSError, httpx2.HTTPError, msgspec.MsgspecError) as error:
                    log.error("the issuer's keys cannot be read", error=type(error).__name__)
                self._asked_at = time.monotonic()
        if not self._keys:
            raise Unavailable("The token issuer's keys cannot be read at the moment.")
        if kid not in self._keys:
            raise jwt.InvalidTokenError("it is signed with a key that its issuer does not publish")
        return self._keys[kid]

    async def _load_keys(self) -> dict[str, jwt.PyJWK]:
        url = urlsplit(self._settings.jwks_url)
        if url.scheme == "file":
            raw = await asyncio.to_thread(Path(unquote(url.path)).read_bytes)
        else:
            async with httpx2.AsyncClient(timeout=5) as client:
                answer = await client.get(self._settings.jwks_url)
                answer.raise_for_status()
                raw = answer.content
        keys: dict[str, jwt.PyJWK] = {}
        for key in msgspec.json.decode(raw, type=_KeySet).keys:
            if key.get("use", "sig") == "sig" and "kid" in key:
                try:
                    keys[str(key["kid"])] = jwt.PyJWK(key)
                except (jwt.PyJWTError, ValueError) as error:
                    # an issuer may publish kinds of keys that we do not know beside those that we do
                    log.warning("a key of the issuer is not used", kid=str(key["kid"]), error=type(error).__name__)
        return keys


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _principal(claims: dict[str, Any]) -> Principal:
    scope = claims.get("scope", "")
    regions = claims.get("regions")
    if not isinstance(scope, str) or not isinstance(regions, list) or not all(isinstance(r, str) for r in regions):
        raise Unauthorized('The token must have `scope` (words) and `regions` (a list of codes, or ["*"]).')
    units = claims.get("units")
    if units is not None and (not isinstance(units, list) or not all(isinstance(unit, str) for unit in units)):
        raise Unauthorized("The token's `units` must be a list of codes, or left out where it speaks for all.")
    return Principal(
        subject=str(claims["sub"]),
        client=str(claims.get("client_id") or claims["sub"]),
        scopes=frozenset(scope.split()),
        regions=None if "*" in regions else frozenset(regions),
        units=None if units is None else frozenset(units),
    )

"""Every service's HTTP surroundings: tokens, scopes, problems, limits, health, pages, idempotency."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import httpx2
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import ALL_SCOPES, SCOPES_BY_ROLE, TICKETS_READ, TICKETS_WRITE
from closedloop.common.auth.tokens import KEYS_RETRY_S, Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.http.pages import Cursor, decode_cursor, encode_cursor
from closedloop.common.http.preconditions import IDEMPOTENCY_DDL, IfMatch, check_version, once, set_etag
from closedloop.common.http.problems import InvalidRequest, Unavailable
from closedloop.common.postgres.pool import create_pool
from closedloop.common.settings import AuthSettings

KEY = ec.generate_private_key(ec.SECP256R1())


def token(key: Any = KEY, algorithm: str = "ES256", kid: str = "k1", **changes: Any) -> str:
    claims = {
        "iss": "closedloop-local",
        "aud": "closedloop",
        "sub": "ann",
        "iat": int(time.time()),
        "exp": int(time.time()) + 600,
        "scope": "tickets:read",
        "regions": ["NJ"],
    } | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm, headers={"kid": kid})


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(_jwks())
    return path


def issue(path: Path, content: Any) -> None:
    path.write_bytes(b"" if content is None else msgspec.json.encode(content))


def _jwks() -> str:
    key = msgspec.json.decode(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    return msgspec.json.encode({"keys": [{**key, "kid": "k1", "use": "sig", "alg": "ES256"}]}).decode()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(jwks: Path, health: Health) -> AsyncIterator[httpx2.AsyncClient]:
    router = Router()
    reader = Annotated[Principal, Depends(Requires(TICKETS_READ))]

    @router.get("/v1/things")
    async def things(principal: reader, region: str | None = None, cursor: Cursor = None) -> dict[str, Any]:
        decode_cursor(cursor, [int])
        return {"regions": principal.region_filter(region)}

    @router.post("/v1/things")
    async def add(principal: reader, request: Request) -> int:
        return len(await request.body())

    @router.put("/v1/things/1")
    async def change(
        principal: Annotated[Principal, Depends(Requires(TICKETS_WRITE))], response: Response, version: IfMatch
    ) -> None:
        check_version(version, 3)
        set_etag(response, 4)

    @router.get("/v1/broken")
    async def broken(principal: reader) -> None:
        raise RuntimeError("password=hunter2")

    @router.get("/v1/breaks-off")
    async def breaks_off(principal: reader) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError

        return StreamingResponse(parts())

    @router.post("/v1/parsed")
    async def parsed(principal: reader, text: Annotated[str, Body()]) -> None: ...

    @router.get("/v1/away")
    async def away(principal: reader) -> None:
        raise ConnectionRefusedError("10.0.0.7")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    auth = Authenticator(AuthSettings(jwks_url=jwks.as_uri()))
    app = create_app("test", "…", authenticator=auth, health=health, routers=[router], lifespan=lifespan, max_body_bytes=1000)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_a_valid_token_sees_its_own_regions(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/things", headers=bearer(token()))).json() == {"regions": ["NJ"]}
    assert (await client.get("/v1/things", headers=bearer(token(regions=["*"])))).json() == {"regions": None}
    foreign = await client.get("/v1/things?region=SZ", headers=bearer(token()))
    assert foreign.status_code == 403
    assert "does not cover SZ" in foreign.json()["detail"]


FORGED = {
    "no token": None,
    "other key": token(ec.generate_private_key(ec.SECP256R1())),
    "unknown key id": token(kid="k9"),
    "none": token(key=None, algorithm="none"),
    "HMAC with the public key": token("x" * 40, "HS256"),
    "RSA where ES256 is pinned": token(rsa.generate_private_key(65537, 2048), "RS256"),
    "other issuer": token(iss="elsewhere"),
    "other audience": token(aud="elsewhere"),
    "expired": token(exp=int(time.time()) - 60),
    "never expires": token(exp=None),
    # made when tests are collected, a quarter of an hour before its turn may come
    "not yet": token(nbf=int(time.time()) + 86_400),
    "nobody": token(sub=None),
    "units that are no list": token(units="hotline"),
    "no regions": token(regions=None),
    "garbage": "abc",
}


@pytest.mark.parametrize("forged", FORGED)
async def test_forged_tokens_are_refused_with_a_problem(client: httpx2.AsyncClient, forged: str) -> None:
    text = FORGED[forged]
    answer = await client.get("/v1/things", headers=bearer(text) if text else {})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["title"] == "A valid token is needed."


async def test_a_key_of_a_kind_unknown_to_us_does_not_void_the_others(jwks: Path) -> None:
    known = msgspec.json.decode(_jwks())["keys"]
    issue(jwks, {"keys": [{"kid": "new", "kty": "AKP", "alg": "ML-DSA-65"}, {"kty": "RSA"}, *known]})
    authenticator = Authenticator(AuthSettings(jwks_url=jwks.as_uri()))
    assert (await authenticator.authenticate(f"Bearer {token()}")).subject == "ann"


async def test_an_issuer_that_is_away_does_not_hold_up_each_request_in_turn(jwks: Path) -> None:
    asked = 0

    class Slow(Authenticator):
        async def _load_keys(self) -> dict[str, jwt.PyJWK]:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.05)
            return await super()._load_keys()

    issue(jwks, None)
    authenticator = Slow(AuthSettings(jwks_url=jwks.as_uri()))
    answers = await asyncio.gather(
        *[authenticator.authenticate(f"Bearer {token(sub=str(i))}") for i in range(20)], return_exceptions=True
    )
    assert {type(a) for a in answers} == {Unavailable}
    assert asked == 1
    issue(jwks, msgspec.json.decode(_jwks()))
    await asyncio.sleep(KEYS_RETRY_S)
    assert (await authenticator.authenticate(f"Bearer {token()}")).subject == "ann"


@pytest.mark.parametrize("content", [None, [], {"keys": {}}, {"keys": ["x"]}])
async def test_a_key_set_that_is_none_is_an_outage(jwks: Path, content: Any) -> None:
    issue(jwks, content)
    with pytest.raises(Unavailable):
        await Authenticator(AuthSettings(jwks_url=jwks.as_uri())).authenticate(f"Bearer {token()}")


async def test_a_scope_that_the_token_lacks_is_named(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/v1/things/1", headers=bearer(token()))
    assert answer.status_code == 403
    assert "tickets:write" in answer.json()["detail"]


async def test_a_change_needs_the_version_that_was_read(client: httpx2.AsyncClient) -> None:
    headers = bearer(token(scope="tickets:write"))
    for value, status in ((None, 428), ("x", 400), ('"2"', 412), ('"3"', 200)):
        answer = await client.put("/v1/things/1", headers=headers | ({"If-Match": value} if value else {}))
        assert answer.status_code == status
    assert answer.headers["etag"] == '"4"'


async def test_a_defect_or_an_outage_tells_nothing_of_the_inside(client: httpx2.AsyncClient) -> None:
    broken = await client.get("/v1/broken", headers=bearer(token()))
    assert broken.status_code == 500
    assert "hunter2" not in broken.text
    away = await client.get("/v1/away", headers=bearer(token()))
    assert away.status_code == 503
    assert "10.0.0.7" not in away.text
    assert int(away.headers["retry-after"]) > 0


async def test_what_no_route_expected_is_answered_with_the_request_id_and_counted_as_what_it_is(client: httpx2.AsyncClient) -> None:
    for path, status in (("broken", 500), ("away", 503)):
        answer = await client.get(f"/v1/{path}", headers=bearer(token()) | {"X-Request-ID": "r-9"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "r-9")
        assert answer.headers["content-type"] == "application/problem+json"
        assert f'route="/v1/{path}",status="{status}"' in (await client.get("/metrics")).text


async def test_an_answer_that_breaks_off_is_no_second_answer(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/breaks-off", headers=bearer(token()))
    assert (answer.status_code, answer.text) == (200, "first")


async def test_a_body_over_the_limit_is_refused_declared_or_not(client: httpx2.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    assert (await client.post("/v1/things", content=b"x" * 1000, headers=bearer(token()))).json() == 1000
    json = bearer(token()) | {"Content-Type": "application/json"}
    for path, content in (("things", b"x" * 1001), ("things", chunks()), ("parsed", chunks())):
        answer = await client.post(f"/v1/{path}", content=content, headers=json)
        assert answer.status_code == 413
        assert "1000 bytes" in answer.json()["detail"]


async def test_trace_and_request_id_go_through(client: httpx2.AsyncClient) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await client.get("/livez", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-ID": "r-1"})
    assert answer.headers["traceparent"].split("-")[1] == trace
    assert answer.headers["x-request-id"] == "r-1"
    assert len((await client.get("/livez", headers={"traceparent": "nonsense"})).headers["traceparent"]) == 55


async def test_readiness_says_which_part_is_not_ready_and_why(client: httpx2.AsyncClient, health: Health) -> None:
    assert (await client.get("/readyz")).status_code == 200

    async def away() -> str | None:
        return "waiting for Kafka"

    async def failing() -> str | None:
        raise ConnectionRefusedError("secret place")

    health.notes = {"consumer": lambda: "waits for Kafka", "other": lambda: None}
    noted = await client.get("/readyz")
    assert (noted.status_code, noted.json()) == (200, {"ready": True, "problems": {}, "notes": {"consumer": "waits for Kafka"}})

    health.ready = {"consumer": away, "postgres": failing}
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == {"consumer": "waiting for Kafka", "postgres": "does not answer (ConnectionRefusedError)"}


async def test_metrics_name_the_route_and_not_the_path(client: httpx2.AsyncClient) -> None:
    await client.get("/v1/things?region=NJ", headers=bearer(token()))
    text = (await client.get("/metrics")).text
    assert 'route="/v1/things"' in text
    assert "region=NJ" not in text


@given(st.tuples(st.integers(-(2**53), 2**53), st.text(max_size=20).filter(lambda t: t.isprintable())))
def test_a_cursor_comes_back_as_it_was(key: tuple[int, str]) -> None:
    assert decode_cursor(encode_cursor(key), [int, str]) == list(key)


@given(st.text(max_size=30))
def test_a_foreign_cursor_is_refused_and_does_not_crash(text: str) -> None:
    try:
        assert decode_cursor(text, [int]) is not None
    except InvalidRequest as refused:
        assert "cursor" in (refused.detail or "")


def test_a_cursor_whose_time_lost_its_offset_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        decode_cursor(encode_cursor(["2026-11-20T08:00:00"]), [datetime])


async def test_a_repeated_key_gets_the_first_answer_and_another_request_is_refused(database_url: str) -> None:
    pool = await create_pool(database_url, "test")
    await pool.execute(IDEMPOTENCY_DDL)
    calls = 0

    async def act() -> tuple[int, Any]:
        nonlocal calls
        calls += 1
        return 201, {"n": calls}

    async with pool.acquire() as connection:
        for _ in range(3):
            async with connection.transaction():
                assert await once(connection, "key", "ann", b"body", act) == (201, {"n": 1})
        assert await once(connection, "key", "ben", b"body", act) == (201, {"n": 2})
        with pytest.raises(InvalidRequest, match="content cannot be taken"):
            await once(connection, "key", "ann", b"other", act)
    await pool.close()
    assert calls == 2


def test_roles_have_only_scopes_that_exist_and_admin_has_all() -> None:
    assert SCOPES_BY_ROLE["admin"] == ALL_SCOPES
    assert all(scopes <= ALL_SCOPES for scopes in SCOPES_BY_ROLE.values())
    assert SCOPES_BY_ROLE["producer"] == {"events:write"}

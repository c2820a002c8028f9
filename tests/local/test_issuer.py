"""The local issuer's tokens are what a service checks in production: signed, bounded in time, scopes and regions."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import url2pathname

import jwt
import pytest

from closedloop.common.auth.roles import ALL_SCOPES
from closedloop.local.issuer import Issuer
from closedloop.local.problems import LocalStackError


def _decoded(made: Issuer, token: str) -> dict[str, object]:
    environment = made.environment()
    path = url2pathname(environment["AUTH_JWKS_URL"].removeprefix("file://"))
    [key] = jwt.PyJWKSet.from_dict(json.loads(Path(path).read_text())).keys
    assert jwt.get_unverified_header(token)["kid"] == key.key_id
    return dict(
        jwt.decode(
            token,
            key,
            algorithms=json.loads(environment["AUTH_ALGORITHMS"]),
            audience=environment["AUTH_AUDIENCE"],
            issuer=environment["AUTH_ISSUER"],
        )
    )


def test_a_token_carries_the_scopes_of_its_role_and_the_regions(tmp_path: Path) -> None:
    made = Issuer(tmp_path / "issuer")
    claims = _decoded(made, made.mint("agent", "ann", ["NJ", "SZ"]))
    assert claims["sub"] == claims["client_id"] == "ann"
    assert claims["scope"] == "phones:reveal recoveries:claim recoveries:read"
    assert claims["regions"] == ["NJ", "SZ"]
    assert claims["roles"] == ["agent"]
    assert int(str(claims["exp"])) - int(str(claims["iat"])) == 12 * 3600


def test_an_admin_may_do_everything(tmp_path: Path) -> None:
    made = Issuer(tmp_path / "issuer")
    assert set(str(_decoded(made, made.mint("admin"))["scope"]).split()) == ALL_SCOPES


def test_it_speaks_for_the_units_that_are_named_and_without_any_for_all(tmp_path: Path) -> None:
    made = Issuer(tmp_path / "issuer")
    assert _decoded(made, made.mint("manager", units=["hotline", "it_support"]))["units"] == ["hotline", "it_support"]
    assert "units" not in _decoded(made, made.mint("manager"))


def test_without_regions_it_covers_all(tmp_path: Path) -> None:
    made = Issuer(tmp_path / "issuer")
    assert _decoded(made, made.mint("producer"))["regions"] == ["*"]


def test_it_ends_after_its_lifetime(tmp_path: Path) -> None:
    made = Issuer(tmp_path / "issuer")
    old = made.mint("agent", now=datetime.now(UTC) - timedelta(hours=13))
    with pytest.raises(jwt.ExpiredSignatureError):
        _decoded(made, old)


def test_the_key_is_kept_and_private(tmp_path: Path) -> None:
    token = Issuer(tmp_path / "issuer").mint("agent")
    again = Issuer(tmp_path / "issuer")
    assert _decoded(again, token)["iss"] == "closedloop-local"
    assert stat.S_IMODE((tmp_path / "issuer" / "key.pem").stat().st_mode) == 0o600
    assert "d" not in json.loads((tmp_path / "issuer" / "jwks.json").read_text())["keys"][0]


def test_an_unknown_role_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="no role 'boss': choose one of producer, agent, "):
        Issuer(tmp_path / "issuer").mint("boss")


@pytest.mark.parametrize("regions", [[], [""], ["NJ", " "]])
def test_no_region_is_refused_not_widened(tmp_path: Path, regions: list[str]) -> None:
    with pytest.raises(LocalStackError, match="at least one region"):
        Issuer(tmp_path / "issuer").mint("agent", regions=regions)


def test_a_token_is_printed_without_loading_a_web_framework_or_a_client_of_the_servers() -> None:
    heavy = ("fastapi", "starlette", "uvicorn", "aiokafka", "asyncpg", "numpy", "closedloop.common.auth.tokens")
    code = f"import sys, closedloop.local.commands; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"

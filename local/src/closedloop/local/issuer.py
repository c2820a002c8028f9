"""The local stack's own token issuer. In production an OIDC provider takes its place; the services see no difference."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from closedloop.common.auth.roles import SCOPES_BY_ROLE
from closedloop.local.problems import LocalStackError

ISSUER = "closedloop-local"
AUDIENCE = "closedloop"
ALGORITHM = "ES256"
LIFETIME = timedelta(hours=12)
ALL_REGIONS = ("*",)


class Issuer:
    """An ES256 key pair in `folder` (made when first needed, readable by its owner only) and the tokens signed with it."""

    def __init__(self, folder: Path) -> None:
        self._key_file = folder / "key.pem"
        self._jwks_file = folder / "jwks.json"

    def environment(self) -> dict[str, str]:
        """What a service needs to trust this issuer."""
        self._key()
        return {
            "AUTH_ISSUER": ISSUER,
            "AUTH_AUDIENCE": AUDIENCE,
            "AUTH_JWKS_URL": self._jwks_file.absolute().as_uri(),
            "AUTH_ALGORITHMS": json.dumps([ALGORITHM]),
        }

    def mint(
        self,
        role: str,
        subject: str | None = None,
        regions: Sequence[str] = ALL_REGIONS,
        *,
        units: Sequence[str] | None = None,
        lifetime: timedelta = LIFETIME,
        now: datetime | None = None,
    ) -> str:
        """A bearer token of a role; `regions` are codes, or `*` for all; `units`: those that it speaks for, None for all.
        LocalStackError names an unknown role."""
        if role not in SCOPES_BY_ROLE:
            raise LocalStackError(f"There is no role '{role}': choose one of {', '.join(SCOPES_BY_ROLE)}.")
        if not regions or not all(region.strip() for region in regions):
            raise LocalStackError("A token needs at least one region: name them as NJ,SZ, or leave REGIONS out for all.")
        issued = now or datetime.now(UTC)
        who = subject or f"local-{role}"
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": who,
            "client_id": who,
            "iat": issued,
            "exp": issued + lifetime,
            "roles": [role],
            "scope": " ".join(sorted(SCOPES_BY_ROLE[role])),
            "regions": [region.strip() for region in regions],
            **({} if units is None else {"units": [unit.strip() for unit in units]}),
        }
        key = self._key()
        return jwt.encode(claims, key, ALGORITHM, {"kid": _public(key)["kid"]})

    def _key(self) -> ec.EllipticCurvePrivateKey:
        if not self._key_file.exists():
            self._make_key()
        key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101
        if not self._jwks_file.exists():
            self._write_jwks(key)
        return key

    def _make_key(self) -> None:
        self._key_file.parent.mkdir(parents=True, exist_ok=True)
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with tempfile.NamedTemporaryFile(dir=self._key_file.parent) as made:  # mode 0600
            made.write(pem)
            made.flush()
            try:
                os.link(made.name, self._key_file)  # appears complete, and only once beside another process
            except FileExistsError:
                return

    def _write_jwks(self, key: ec.EllipticCurvePrivateKey) -> None:
        fresh = self._jwks_file.with_suffix(".new")
        fresh.write_text(json.dumps({"keys": [_public(key)]}, indent=1))
        fresh.replace(self._jwks_file)


def _public(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    jwk = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).to_jwk(key.public_key(), as_dict=True)
    # Named after the key itself: services that have cached another key see that this one is new to them.
    name = hashlib.sha256(f"{jwk['x']}.{jwk['y']}".encode()).hexdigest()[:16]
    return {**jwk, "kid": name, "use": "sig", "alg": ALGORITHM}

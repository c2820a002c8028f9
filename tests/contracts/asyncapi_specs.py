"""AsyncAPI's own JSON Schema, which is not ours to keep in git: fetched once through npm as it is set up here, and checked."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from closedloop.local.places import cache_dir

PACKAGE = "@asyncapi/specs@6.11.1"
SHA512 = "A3WBLqAKGoJ2+6FWFtpjBlCQ1oFCcs4GxF7zsIGvNqp/klGUHjlA3aAcZ9XMMpLGE8zPeYDz2x9FmO6DSuKraQ=="
QUICKLY = ("--silent", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000", "--no-update-notifier")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 07) of AsyncAPI 3.0.0 documents. Skips the test where it cannot be had."""
    kept = cache_dir() / "asyncapi-specs-6.11.1" / "3.0.0.json"
    if not kept.exists():
        _fetch(kept)
    schema: dict[str, Any] = json.loads(kept.read_bytes())
    return schema


def _fetch(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(
            f"AsyncAPI's JSON Schema comes with npm, which is not installed (Debian: apt install npm); it fetches {PACKAGE}"
        )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([npm, "pack", PACKAGE, *QUICKLY], cwd=folder, capture_output=True, timeout=60, check=False)
        found = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(found) != 1:
            pytest.skip(f"npm could not fetch {PACKAGE}, which holds AsyncAPI's JSON Schema: connect the network, run it again")
        assert base64.b64encode(hashlib.sha512(found[0].read_bytes()).digest()).decode() == SHA512, f"{PACKAGE} is another file"
        with tarfile.open(found[0]) as archive:
            member = archive.extractfile("package/schemas/3.0.0.json")
            assert member is not None
            schema = member.read()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as made:
        made.write(schema)
    Path(made.name).replace(kept)  # appears complete, also beside another process

"""The first start's obstacles, each a sentence: no network, a full disk, whatever else an installer says."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALL = str(ROOT / "local" / "install.sh")
UV = str(Path(sys.executable).with_name("uv"))
NOBODY = "http://127.0.0.1:9/simple"
WHEEL_BYTES = 4_000_000


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)


def test_make_says_that_the_first_start_needs_the_network(tmp_path: Path) -> None:
    for name in ("Makefile", "bootstrap.lock", "requirements.lock", "local/install.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for pyproject in ROOT.glob("*/*/pyproject.toml"):
        (tmp_path / pyproject.relative_to(ROOT)).parent.mkdir(parents=True)
        shutil.copy(pyproject, tmp_path / pyproject.relative_to(ROOT))
    shutil.copy(ROOT / "local" / "pyproject.toml", tmp_path / "local")
    made = run("make", "-C", str(tmp_path), "setup", PIP_INDEX_URL=NOBODY, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1")
    assert made.returncode != 0
    assert "The package index did not answer: the first start needs the network." in made.stderr
    assert not (tmp_path / ".venv" / ".ready").exists()


def test_uv_without_a_network_is_the_same_sentence(tmp_path: Path) -> None:
    command = (
        UV,
        "pip",
        "install",
        "--target",
        str(tmp_path / "t"),
        "--cache-dir",
        str(tmp_path / "c"),
        "--index-url",
        NOBODY,
        "any",
    )
    told = run(INSTALL, *command, UV_HTTP_RETRIES="0")
    assert told.returncode == 1
    assert told.stderr.endswith(
        "The package index did not answer: the first start needs the network. Connect it and run the same command again.\n"
    )


def test_a_full_disk_is_called_a_full_disk(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "large-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("large/data", os.urandom(WHEEL_BYTES))
        wheel.writestr("large-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: large\nVersion: 1\n")
        wheel.writestr("large-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("large-1.dist-info/RECORD", "")
    small = tmp_path / "small"
    small.mkdir()
    mounted = f"mount -t tmpfs -o size={WHEEL_BYTES // 4} none {small}"
    if run("unshare", "-rm", "sh", "-c", mounted).returncode:
        pytest.skip("no small file system can be mounted here (unshare -rm)")
    install = f"{INSTALL} {UV} pip install --no-index --find-links {tmp_path} --target {small}/t --cache-dir {small}/c large"
    told = run("unshare", "-rm", "sh", "-c", f"{mounted} && {install}")
    assert told.returncode == 1
    assert "The disk is full: free 2 GB" in told.stderr.splitlines()[-1]
    assert "network" not in told.stderr


def test_what_is_neither_is_shown_as_it_was_said(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("any==1\n")
    told = run(
        INSTALL,
        UV,
        "pip",
        "install",
        "--no-index",
        "--target",
        str(tmp_path),
        "--require-hashes",
        "-r",
        str(tmp_path / "requirements.lock"),
    )
    assert told.returncode == 1
    assert "In `--require-hashes` mode" in told.stderr
    assert told.stderr.splitlines()[-1].startswith("The installation did not end well, and it is neither the disk nor the network")


def test_an_installation_that_ends_well_says_nothing_of_its_own() -> None:
    told = run(INSTALL, "true")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")

"""`closedloop import` up to the point where it sends: dry run, real data, messages."""

import csv
import os
from pathlib import Path

import pytest

from cli.commandline import Cli

MAPPINGS = Path(__file__).parent / "mappings"
REAL_COMPLAINTS = Path(__file__).parents[3] / "shared" / "data" / "telecom-complaints-2015.csv"
MAPPING = """\
kind: enquiries
source: /hotline
id: call
time: {column: at, zone: Asia/Shanghai}
constants: {topic_path: billing}
fields:
  enquiry_id: call
  customer_id: customer
  region: city
  phone: {column: mobile, transform: phone}
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING)
    return path


def export(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "export.csv"
    path.write_text("\n".join(["call;at;customer;city;mobile", *rows]) + "\n")
    return path


GOOD = "7;2026-01-01 08:00:00;C1;NJ;138 1234 5678"


def test_the_real_complaints_are_all_acceptable(cli: Cli) -> None:
    if not REAL_COMPLAINTS.exists():
        pytest.skip(f"{REAL_COMPLAINTS} is not there: the published complaints are not part of the repository")
    ran = cli("import", REAL_COMPLAINTS, "--mapping", MAPPINGS / "telecom-complaints-2015.yaml", "--dry-run")
    assert ran.code == 0
    assert "acceptable" in ran.out
    assert "2,224" in ran.out
    assert [line.split()[-1] for line in ran.out.splitlines() if line.startswith(" rejected")] == ["0"]
    assert "2015-04-01 00:18-0400" in ran.out
    assert "Some are older than 400 days" in ran.out


def test_a_dry_run_shows_the_first_event_with_masked_phone_and_leaves_no_file(cli: Cli, tmp_path: Path, mapping: Path) -> None:
    before = {*tmp_path.iterdir(), export(tmp_path, GOOD)}
    ran = cli("import", tmp_path / "export.csv", "-m", mapping, "--dry-run")
    assert ran.code == 0
    assert "UTF-8 text, separated by semicolon" in ran.out
    assert '"topic_path":"billing"' in ran.out
    assert "1234" not in ran.out
    assert set(tmp_path.iterdir()) == before


def test_rejected_rows_are_told_with_number_and_reason_and_can_be_written(cli: Cli, tmp_path: Path, mapping: Path) -> None:
    bad_city = "8;2026-01-01 08:00:00;C2;New York;"
    file = export(tmp_path, GOOD, bad_city, "9;yesterday;C3;NJ;", "10;2026-01-01 08:00:00;C4;New York;")
    ran = cli("import", file, "-m", mapping, "--dry-run", "--rejects", tmp_path / "no.csv")
    assert ran.code == 1
    assert "row 3: region (column city): must match [A-Za-z0-9_.-]{1,64}" in ran.out
    assert "row 4: time: 'yesterday' is not an ISO 8601 date and time" in ran.out
    with (tmp_path / "no.csv").open(encoding="utf-8-sig", newline="") as written:
        rows = list(csv.DictReader(written))
    assert [row["closedloop_row"] for row in rows] == ["3", "4", "5"]
    assert rows[0]["customer"] == "C2"
    assert "region (column city)" in rows[0]["closedloop_reason"]
    assert (tmp_path / "no.csv").stat().st_mode & 0o077 == 0, "it holds customers' data"


def test_the_rejects_file_put_right_can_be_imported_with_the_same_mapping(cli: Cli, tmp_path: Path, mapping: Path) -> None:
    file = export(tmp_path, GOOD, "8;2026-01-01 08:00:00;C2;New York;")
    cli("import", file, "-m", mapping, "--dry-run", "--rejects", tmp_path / "no.csv")
    (tmp_path / "no.csv").write_text((tmp_path / "no.csv").read_text().replace("New York", "NY"))
    assert cli("import", tmp_path / "no.csv", "-m", mapping, "--dry-run").code == 0


def test_rows_that_would_count_once_together_are_told(cli: Cli, tmp_path: Path, mapping: Path) -> None:
    ran = cli("import", export(tmp_path, GOOD, GOOD, GOOD), "-m", mapping, "--dry-run")
    assert "2 rows have the event id of an earlier row (the first is row 3" in ran.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing.csv", "-m", "mapping.yaml", "--dry-run"), "There is no file nothing.csv."),
        (("export.csv", "-m", "nothing.yaml", "--dry-run"), "There is no mapping file nothing.yaml; `closedloop import --init"),
        (("export.csv", "-m", "mapping.yaml"), "Sending needs a token: give --token or set CLOSEDLOOP_TOKEN"),
        (("export.csv", "-m", "mapping.yaml", "--token", "x", "--url", "http://127.0.0.1:9"), "No ingest answers at http://127.0.0.1:9"),
        (("export.csv", "-m", "mapping.yaml", "--token", "x", "--rejects", "export.csv"), "--rejects names the export itself"),
        (("export.csv", "-m", "mapping.yaml", "--dry-run", "--delimiter", "ab"), "'ab' is not a delimiter"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_one_sentence(
    cli: Cli, tmp_path: Path, mapping: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    export(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    ran = cli("import", *arguments)
    assert ran.code == 1
    assert ran.err.startswith(sentence)
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err


def test_settings_can_come_from_a_file_and_the_environment_wins(
    cli: Cli, tmp_path: Path, mapping: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").write_text("# comment\nexport INGEST_PORT=9\nCLOSEDLOOP_TOKEN='a b'\n")
    monkeypatch.delenv("INGEST_PORT", raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    ran = cli("--env-file", tmp_path / "env", "import", export(tmp_path, GOOD), "-m", mapping, "--token", "x")
    assert "No ingest answers at http://127.0.0.1:9;" in ran.err
    ran = cli("--env-file", tmp_path / "env", "import", export(tmp_path, GOOD), "-m", mapping, "--token", "x", INGEST_PORT="10")
    assert "No ingest answers at http://127.0.0.1:10;" in ran.err
    ran = cli("--env-file", mapping, "topics")
    assert "mapping.yaml:1: a setting must be written NAME=value." in ran.err

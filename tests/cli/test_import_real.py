"""`closedloop import` through the real ingest into real Kafka: every row is there, whatever happens on the way."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cli.commandline import Cli
from cli.kafka_records import records_of
from closedloop.common.events.topics import COMPLAINTS
from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack

MAPPING = """\
kind: complaints
source: /{source}
id: 编号
time: {{column: 时间, format: "%Y-%m-%d %H:%M:%S", zone: Asia/Shanghai}}
constants: {{topic_path: 充值/银联}}
fields:
  complaint_id: 编号
  customer_id: 客户
  region: {{column: 城市, map: {{南京: NJ, 苏州: SZ}}}}
  severity: 级别
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str, postgres_admin_url: str) -> Iterator[Stack]:
    """A running ingest over the shared Kafka."""
    folder = tmp_path_factory.mktemp("stack")
    servers = {"KAFKA_BOOTSTRAP": kafka_bootstrap, "DATABASE_URL": postgres_admin_url}
    with Stack(folder, Ports.free(), servers, services=("ingest",)) as running:
        yield running


@pytest.fixture
def mapping(tmp_path: Path, unique_name: str) -> Path:
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING.format(source=unique_name), encoding="utf-8")
    return path


def row(number: int, city: str = "南京", severity: str = "2") -> list[str]:
    return [f"T{number}", f"2026-03-{1 + number % 28:02} 08:{number % 60:02}:00", f"C{number % 97}", city, severity]


def export(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", encoding="gb18030", newline="") as file:
        out = csv.writer(file, delimiter=";")
        out.writerows([["编号", "时间", "客户", "城市", "级别"], *rows])
    return path


def tickets_in_kafka(bootstrap: str, source: str) -> Counter[str]:
    """How often each ticket of this test's source stands in Kafka, by its event id."""
    events = [
        json.loads(r.value) for r in records_of(bootstrap, COMPLAINTS.name, COMPLAINTS.partitions) if source.encode() in r.value
    ]
    assert all(event["id"] == f"complaint.registered.v1/{event['data']['complaint_id']}" for event in events)
    return Counter(event["data"]["complaint_id"] for event in events)


def test_every_row_arrives_and_a_second_and_an_overlapping_import_add_no_event(
    cli: Cli, stack: Stack, tmp_path: Path, mapping: Path, unique_name: str
) -> None:
    file = export(tmp_path / "export.csv", [row(n) for n in range(1200)])
    send = ("-m", mapping, "--url", stack.url("ingest"), "--token", stack.token("producer"))
    ran = cli("import", file, *send)
    assert (ran.code, ran.err) == (0, "")
    assert "1,200" in ran.out
    first = tickets_in_kafka(stack.bootstrap, unique_name)
    assert set(first) == {f"T{n}" for n in range(1200)}
    assert set(first.values()) == {1}
    assert not list(tmp_path.glob("*progress*"))

    assert cli("import", file, *send).code == 0
    half = export(tmp_path / "half.csv", [row(n) for n in range(600, 1800)])
    assert cli("import", half, *send).code == 0
    assert set(tickets_in_kafka(stack.bootstrap, unique_name)) == {f"T{n}" for n in range(1800)}


def test_rows_that_the_rules_or_the_tokens_regions_refuse_are_in_the_rejects_file(
    cli: Cli, stack: Stack, tmp_path: Path, mapping: Path, unique_name: str
) -> None:
    rows = [row(n, "苏州" if n % 2 else "南京", "9" if n % 10 == 0 else "2") for n in range(500)]
    token = stack.token("producer", regions=("NJ",))
    file = export(tmp_path / "export.csv", rows)
    ran = cli("import", file, "-m", mapping, "--url", stack.url("ingest"), CLOSEDLOOP_TOKEN=token)
    assert ran.code == 1
    assert "severity (column 级别): must be 1 (worst) to 4" in ran.out
    good = {f"T{n}" for n in range(0, 500, 2) if n % 10}
    assert set(tickets_in_kafka(stack.bootstrap, unique_name)) == good
    with (tmp_path / "export.csv.rejects.csv").open(encoding="utf-8-sig", newline="") as written:
        rejects = list(csv.DictReader(written))
    assert [int(r["closedloop_row"]) for r in rejects] == [n + 2 for n in range(500) if f"T{n}" not in good]
    assert {r["编号"] for r in rejects} == {f"T{n}" for n in range(500)} - good
    foreign = [r["closedloop_reason"] for r in rejects if r["城市"] == "苏州"]
    assert len(foreign) == 250
    assert all(reason.startswith("ingest: ") and "region" in reason for reason in foreign)


def test_an_import_that_was_killed_goes_on_where_it_was(
    cli: Cli, stack: Stack, tmp_path: Path, mapping: Path, unique_name: str
) -> None:
    count, batch = 6_000, 20
    rows = [row(n, severity="9" if n % 50 == 0 else "2") for n in range(count)]
    file = export(tmp_path / "export.csv", rows)
    command = [sys.executable, "-m", "closedloop.cli", "import", str(file), "-m", str(mapping)]
    command += ["--url", stack.url("ingest"), "--batch", str(batch)]
    progress = tmp_path / "export.csv.closedloop-progress"
    environment = {**os.environ, "CLOSEDLOOP_TOKEN": stack.token("producer")}
    killed_at = []
    for number, stderr in ((signal.SIGKILL, ""), (signal.SIGINT, "the same command goes on from there")):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        begun = rows_done(progress)
        deadline = time.monotonic() + 60
        while rows_done(progress) < begun + 500:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
        assert stderr in said
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        killed_at.append(rows_done(progress))
    assert killed_at[0] < killed_at[1] < count, "it must have been killed on the way, twice, and gone on"

    ran = cli("import", file, "-m", mapping, "--url", stack.url("ingest"), CLOSEDLOOP_TOKEN=environment["CLOSEDLOOP_TOKEN"])
    assert f"Going on after row {killed_at[1]}" in ran.out
    assert ["accepted", "by", "ingest", "5,880"] in [line.split() for line in ran.out.splitlines()]
    found = tickets_in_kafka(stack.bootstrap, unique_name)
    assert set(found) == {f"T{n}" for n in range(count) if n % 50}
    twice = sum(times - 1 for times in found.values())
    assert twice <= 2 * batch, "what was done was not sent again, but for the batches in hand"
    with (tmp_path / "export.csv.rejects.csv").open(encoding="utf-8-sig", newline="") as written:
        numbers = [int(r["closedloop_row"]) for r in csv.DictReader(written)]
    assert numbers == [n + 2 for n in range(0, count, 50)]
    assert not progress.exists()


def test_a_file_that_changed_since_the_interruption_is_imported_from_its_beginning(
    cli: Cli, stack: Stack, tmp_path: Path, mapping: Path, unique_name: str
) -> None:
    file = export(tmp_path / "export.csv", [row(n) for n in range(10)])
    send = ("-m", mapping, "--url", stack.url("ingest"))
    assert cli("import", file, *send, "--batch", 5, "--token", "expired").code == 1
    (tmp_path / "export.csv.closedloop-progress").write_text(
        json.dumps({"file_sha256": "other", "mapping_sha256": "", "url": stack.url("ingest"), "row": 9})
    )
    ran = cli("import", file, *send, "--token", stack.token("producer"))
    assert "Starting from the first row, as export.csv has changed since the last run" in ran.out
    assert set(tickets_in_kafka(stack.bootstrap, unique_name)) == {f"T{n}" for n in range(10)}


@pytest.mark.parametrize(("role", "sentence"), [("agent", "The token may not do this"), (None, "does not accept the token")])
def test_a_token_that_does_not_do_is_one_sentence(
    cli: Cli, stack: Stack, tmp_path: Path, mapping: Path, role: str | None, sentence: str
) -> None:
    token = stack.token(role) if role else "nonsense"
    ran = cli("import", export(tmp_path / "e.csv", [row(1)]), "-m", mapping, "--url", stack.url("ingest"), "--token", token)
    assert ran.code == 1
    assert sentence in ran.err
    assert ran.err.count("\n") == 1


def rows_done(progress: Path) -> int:
    try:
        return int(json.loads(progress.read_bytes())["row"])
    except FileNotFoundError:
        return 0

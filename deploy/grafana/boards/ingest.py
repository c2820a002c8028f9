"""ingest: what comes over REST, what is refused, how fast Kafka acknowledges."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, number

_REJECTED = "sum(rate(ingest_events_rejected_total[15m]))"


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "ingest",
        "Closed Loop / Ingest",
        "A 2xx means that Kafka has the event.",
        {
            "Now": [
                number("Accepted", "ops", "sum(rate(ingest_events_accepted_total[$__rate_interval]))"),
                number(
                    "Refused",
                    "percentunit",
                    f"{_REJECTED} / ({_REJECTED} + sum(rate(ingest_events_accepted_total[15m])))",
                    red_from=0.05,
                    about="Share of the events in 15 minutes.",
                ),
                number("Waiting for Kafka", "none", "sum(ingest_unacknowledged_events)"),
                number("Failed rounds, 1 h", "none", "sum(increase(ingest_rounds_failed_total[1h]))", red_from=1),
            ],
            "Events": [
                graph(
                    "Accepted",
                    "ops",
                    ("sum by (topic) (rate(ingest_events_accepted_total[$__rate_interval]))", "{{topic}}"),
                    stacked=True,
                ),
                graph(
                    "Refused events",
                    "ops",
                    ("sum by (reason) (rate(ingest_events_rejected_total[$__rate_interval]))", "{{reason}}"),
                    stacked=True,
                ),
                graph("Bytes to Kafka", "Bps", ("sum(rate(ingest_record_bytes_total[$__rate_interval]))", "before compression")),
            ],
            "Requests": [
                graph(
                    "Answers",
                    "reqps",
                    ('sum by (status) (rate(http_requests_total{service="ingest"}[$__rate_interval]))', "{{status}}"),
                    stacked=True,
                ),
                graph(
                    "Request time", "s", *parts.quantiles("http_request_seconds", "route", of='{service="ingest", route=~"/v1/.+"}')
                ),
            ],
            "Kafka": [
                graph("Acknowledgement of a round", "s", *parts.quantiles("ingest_round_seconds", "instance")),
                graph(
                    "Events in a round",
                    "none",
                    (
                        parts.mean("ingest_round_events"),
                        "mean",
                    ),
                ),
                graph("Held by requests", "bytes", ("sum by (instance) (ingest_held_bytes)", "{{instance}}")),
                graph("Events that wait for Kafka", "none", ("sum by (instance) (ingest_unacknowledged_events)", "{{instance}}")),
            ],
        },
    )

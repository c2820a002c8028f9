"""Kafka as the services see it: how far behind, what stops them, what they could not take."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, note, number

_OF = '{service=~"$service"}'
_TAKEN = 'consumer_records_total{service=~"$service", outcome="taken"}'


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "consumers",
        "Closed Loop / Kafka consumers",
        "Lag, dead letters and what keeps consumers from their work, from the services' own metrics.",
        {
            "Now": [
                number("Farthest behind", "s", f"max(service_topic:consumer_lag_seconds:max{_OF})", red_from=60),
                number("Unread records", "none", f"sum(service_topic:consumer_lag_records:sum{_OF})"),
                number("Paused by the brake", "none", f"sum(consumer_braked{_OF})", red_from=1),
                number("Waiting for an outage", "none", f"sum(consumer_waiting{_OF})", red_from=1),
            ],
            "Lag": [
                graph(
                    "Behind",
                    "s",
                    (f"service_topic:consumer_lag_seconds:max{_OF}", "{{service}} {{topic}}"),
                    about="How long ago the oldest unread record was appended.",
                ),
                graph("Unread records", "none", (f"service_topic:consumer_lag_records:sum{_OF}", "{{service}} {{topic}}")),
                graph(
                    "Unread by partition",
                    "none",
                    (f"sum by (service, topic, partition) (consumer_lag_records{_OF})", "{{service}} {{topic}}/{{partition}}"),
                ),
                graph(
                    "Applied",
                    "ops",
                    (
                        f"sum by (service, topic) (rate({_TAKEN}[$__rate_interval]))",
                        "{{service}} {{topic}}",
                    ),
                ),
            ],
            "Trouble": [
                graph(
                    "Dead letters",
                    "none",
                    (f"sum by (service, topic, stage) (increase(dead_letters_total{_OF}[1h]))", "{{service}} {{topic}} {{stage}}"),
                    about="In an hour.",
                ),
                graph(
                    "Waiting, paused",
                    "none",
                    (f"max by (service) (consumer_waiting{_OF})", "{{service}} waits"),
                    (f"max by (service) (consumer_braked{_OF})", "{{service}} is paused"),
                ),
                graph(
                    "Misplaced records",
                    "none",
                    (f"sum by (service, topic) (increase(consumer_misplaced_records_total{_OF}[1h]))", "{{service}} {{topic}}"),
                    about="Of those sampled, in an hour: their producer uses another partitioner.",
                ),
                graph(
                    "Positions",
                    "none",
                    (
                        f"sum by (service) (increase(consumer_fence_lost_total{_OF}[1h]))",
                        "{{service}}: batch dropped, another was first",
                    ),
                    (f"sum by (service) (increase(consumer_positions_restored_total{_OF}[1h]))", "{{service}}: read anew"),
                    about="In an hour: rebalances and members that came back from a freeze.",
                ),
            ],
            "Batches": [
                graph("Transaction of a batch", "s", *parts.quantiles("consumer_batch_seconds", "service", of=_OF)),
                graph(
                    "Records in a batch",
                    "none",
                    (
                        parts.mean("consumer_batch_records", "service", of=_OF),
                        "{{service}}",
                    ),
                ),
                note(
                    "Kafka itself",
                    "Replication, disks and requests of the brokers are not here: the services cannot see them. "
                    "Strimzi's or any other Kafka exporter brings them, with dashboards of its own.",
                ),
            ],
        },
        services_of="consumer_waiting",
    )

"""Kafka as the services see it: how far behind, what stops them, what they could not take; and as its brokers see themselves."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, number

_OF = '{service=~"$service"}'
_TAKEN = 'consumer_records_total{service=~"$service", outcome="taken"}'


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "consumers",
        "Closed Loop / Kafka consumers",
        "Lag, dead letters and what keeps consumers from their work, from the services' own metrics; below, the brokers' own, "
        "which are empty under Docker Compose and `make run`: their one broker tells nothing of itself.",
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
            ],
            "The brokers": [
                number(
                    "Partitions that lack a copy",
                    "none",
                    "sum(kafka_server_replicamanager_underreplicatedpartitions)",
                    red_from=1,
                    about="A broker is away or behind.",
                ),
                number(
                    "Partitions that take nothing",
                    "none",
                    "sum(kafka_server_replicamanager_underminisrpartitioncount)",
                    red_from=1,
                    about="Fewer copies than min.insync.replicas: ingest answers 503, and outboxes wait.",
                ),
                number(
                    "Partitions without a leader",
                    "none",
                    "max(kafka_controller_offlinepartitionscount)",
                    red_from=1,
                    about="Nobody can read or write them.",
                ),
                number(
                    "Idle request threads",
                    "percentunit",
                    "min(kafka_server_requesthandlers_idle_ratio)",
                    red_below=0.2,
                    about="Of the busiest broker. Near 0 its requests queue.",
                ),
                graph(
                    "Written and read",
                    "Bps",
                    (
                        "sum by (instance) (rate(kafka_server_brokertopicmetrics_bytesin_total[$__rate_interval]))",
                        "{{instance}} written",
                    ),
                    (
                        "sum by (instance) (rate(kafka_server_brokertopicmetrics_bytesout_total[$__rate_interval]))",
                        "{{instance}} read",
                    ),
                    about="By clients, copies between brokers apart.",
                ),
                graph(
                    "Time to accept, p99",
                    "s",
                    ("max by (instance) (kafka_network_produce_p99_seconds)", "{{instance}}"),
                    about="Until all copies have it: what every 2xx of ingest and every outbox row waits for.",
                ),
                graph(
                    "On disk",
                    "bytes",
                    ("topk(8, sum by (topic) (kafka_log_size_bytes))", "{{topic}}"),
                    about="All copies of the largest topics. Inputs level off after 35 days, dead letters do not.",
                ),
                graph(
                    "Partitions led",
                    "none",
                    ("max by (instance) (kafka_server_replicamanager_leadercount)", "{{instance}}"),
                    about="Of a broker that was away it is 0 until Kafka gives it its share again, within minutes.",
                ),
            ],
        },
        services_of="consumer_waiting",
    )

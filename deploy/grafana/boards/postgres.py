"""PostgreSQL and the outbox as the services see them."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, note, number

_OF = '{service=~"$service"}'


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "postgres",
        "Closed Loop / PostgreSQL and outbox",
        "Connections, sizes and what is decided but not yet said, from the services' own metrics.",
        {
            "Now": [
                number(
                    "Connections in use", "percentunit", "max(postgres_connections) / max(postgres_connections_max)", red_from=0.9
                ),
                number(
                    "Busiest pool",
                    "percentunit",
                    f"max(postgres_pool_connections_used{_OF} / postgres_pool_connections_max{_OF})",
                    red_from=1,
                ),
                number("Oldest unpublished message", "s", f"max(outbox_oldest_seconds{_OF})", red_from=60),
                number("Database", "bytes", "max(postgres_database_bytes)"),
            ],
            "Outbox": [
                graph("Oldest message", "s", (f"max by (service) (outbox_oldest_seconds{_OF})", "{{service}}")),
                graph(
                    "Messages that wait",
                    "none",
                    (f"max by (service) (outbox_pending{_OF})", "{{service}}"),
                    about="At most one round of 500 is counted.",
                ),
                graph(
                    "Published",
                    "ops",
                    (f"sum by (service, topic) (rate(outbox_published_total{_OF}[$__rate_interval]))", "{{service}} {{topic}}"),
                ),
                graph(
                    "Failed rounds",
                    "none",
                    (f"sum by (service) (increase(outbox_failures_total{_OF}[1h]))", "{{service}}"),
                    about="In an hour.",
                ),
            ],
            "Connections": [
                graph(
                    "Pools",
                    "none",
                    (f"sum by (service, instance) (postgres_pool_connections_used{_OF})", "{{service}} {{instance}}"),
                    (f"max by (service) (postgres_pool_connections_max{_OF})", "{{service}}, most of one process"),
                ),
                graph(
                    "Server", "none", ("max(postgres_connections)", "open"), ("max(postgres_connections_max)", "accepted at most")
                ),
                graph("Transaction of a batch", "s", *parts.quantiles("consumer_batch_seconds", "service", of=_OF)),
            ],
            "Room": [
                graph(
                    "Schemas",
                    "bytes",
                    (f"max by (service) (postgres_schema_bytes{_OF})", "{{service}}"),
                    stacked=True,
                    about="Tables with their indexes.",
                ),
                graph("Database", "bytes", ("max(postgres_database_bytes)", "database")),
                note(
                    "PostgreSQL itself",
                    "Locks, cache hits, checkpoints, replication and disks are not here: a service's role cannot see them. "
                    "postgres_exporter brings them, with dashboards of its own.",
                ),
            ],
        },
        services_of="postgres_pool_connections_max",
    )

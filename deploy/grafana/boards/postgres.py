"""PostgreSQL and the outbox as the services see them, and the server as it sees itself (postgres_exporter)."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, number

_OF = '{service=~"$service"}'
_DATABASES = '{datname!~"template.*|"}'
_HIT, _READ = (f"pg_stat_database_blks_{kind}{_DATABASES}[$__rate_interval]" for kind in ("hit", "read"))
_TABLE = "{{schemaname}}.{{relname}}"


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "postgres",
        "Closed Loop / PostgreSQL and outbox",
        "Connections, sizes and what is decided but not yet said, from the services' own metrics; below, the server's own.",
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
            ],
            "The server": [
                number(
                    "Answers its exporter",
                    "none",
                    "min(pg_up)",
                    red_below=1,
                    about="1: it does. 0: PostgreSQL is away, or its role.",
                ),
                number(
                    "Oldest transaction",
                    "s",
                    "max(pg_long_running_transactions_oldest_timestamp_seconds)",
                    red_from=3600,
                    about="While it lasts nothing that was deleted since can be cleared away.",
                ),
                number(
                    "Found in memory",
                    "percentunit",
                    f"sum(rate({_HIT})) / (sum(rate({_HIT})) + sum(rate({_READ})))",
                    red_below=0.9,
                    about="Blocks that were in shared_buffers when they were asked for.",
                ),
                number(
                    "Transaction numbers used",
                    "percentunit",
                    "max(pg_database_wraparound_age_datfrozenxid_seconds) / 2147483648",
                    red_from=0.46,
                    about="Of those that PostgreSQL has before it must have frozen old rows. At 100 % it takes no more writes.",
                ),
                graph(
                    "Connections by state",
                    "none",
                    (f"sum by (state) (pg_stat_activity_count{_DATABASES})", "{{state}}"),
                    ("max(pg_settings_max_connections)", "accepted at most"),
                    about="Anybody's. 'idle in transaction' for long is a program that forgot to end one.",
                ),
                graph(
                    "Transactions",
                    "ops",
                    (
                        f"sum by (datname) (rate(pg_stat_database_xact_commit{_DATABASES}[$__rate_interval]))",
                        "{{datname}} committed",
                    ),
                    (
                        f"sum by (datname) (rate(pg_stat_database_xact_rollback{_DATABASES}[$__rate_interval]))",
                        "{{datname}} rolled back",
                    ),
                    about="A batch that loses its place is rolled back, and so is each isolated record: some are normal.",
                ),
                graph(
                    "Deadlocks",
                    "none",
                    (f"sum by (datname) (increase(pg_stat_database_deadlocks{_DATABASES}[1h]))", "{{datname}}"),
                    about="In an hour. Whoever was chosen to give way tries again.",
                ),
                graph(
                    "Written to the log's folder",
                    "bytes",
                    ("max(pg_wal_size_bytes)", "WAL"),
                    about="Grows without end where an archive or a replication slot does not take it away.",
                ),
                graph(
                    "Checkpoints",
                    "none",
                    ("sum(increase(pg_stat_checkpointer_num_timed_total[1h]))", "by the clock"),
                    ("sum(increase(pg_stat_checkpointer_num_requested_total[1h]))", "asked for"),
                    about="In an hour. Many that were asked for: max_wal_size is too small for what is written.",
                ),
                graph(
                    "Largest tables",
                    "bytes",
                    ("topk(5, pg_stat_user_tables_table_size_bytes + pg_stat_user_tables_index_size_bytes)", _TABLE),
                    about="With their indexes.",
                ),
                graph(
                    "Dead rows",
                    "none",
                    ("topk(5, pg_stat_user_tables_n_dead_tup)", _TABLE),
                    about="What autovacuum has yet to clear away: a line that only rises is a table that it does not get to.",
                ),
                graph(
                    "Autovacuum",
                    "none",
                    ("sum by (schemaname) (increase(pg_stat_user_tables_autovacuum_count[1h]))", "{{schemaname}}"),
                    about="Tables that it cleared in an hour.",
                ),
            ],
        },
        services_of="postgres_pool_connections_max",
    )

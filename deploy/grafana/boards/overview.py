"""The first look: does the system keep its promises, and if not, where to look next."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, number


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "overview",
        "Closed Loop / Overview",
        "The promises of the whole system. Each number has an alert of its own; docs/runbook.md says what to do.",
        {
            "Promises": [
                number("Customers past the promise", "none", "sum(region:recovery_overdue:max)", red_from=1),
                number("Due within 30 minutes", "none", "sum(region:recovery_due_soon:max)"),
                number(
                    "First contact in time, 24 h",
                    "percentunit",
                    "recovery:first_contact_within_promise:ratio_rate1d",
                    red_below=0.95,
                ),
                number("Farthest behind", "s", "max(service_topic:consumer_lag_seconds:max)", red_from=60),
                number("Dead letters, 24 h", "none", "sum(increase(dead_letters_total[24h]))", red_from=1),
                number("Oldest unpublished message", "s", "max(outbox_oldest_seconds)", red_from=60),
                number(
                    "Statements of kpi up to", "s", "max(topic:kpi_statement_delay:seconds)", red_from=600, about="How long ago."
                ),
                number(
                    "Failed requests",
                    "percentunit",
                    "max(service_route:http_errors:ratio_rate5m)",
                    red_from=0.0144,
                    about="Of the worst route.",
                ),
            ],
            "Processes": [
                graph("Processes that answer", "none", ('sum by (service) (up{job="closedloop"})', "{{service}}")),
                graph("Ready", "none", ("min by (service, part) (service_ready)", "{{service}} {{part}}")),
                graph(
                    "Memory",
                    "bytes",
                    ("max by (service) (process_resident_memory_bytes)", "{{service}}"),
                    about="The largest process.",
                ),
                graph(
                    "CPU",
                    "none",
                    ("sum by (service) (rate(process_cpu_seconds_total[$__rate_interval]))", "{{service}}"),
                    about="Cores.",
                ),
                graph("Event loop lag", "s", ("max by (service) (event_loop_lag_seconds)", "{{service}}")),
                graph(
                    "Restarts",
                    "none",
                    ("sum by (service) (changes(process_start_time_seconds[1h]))", "{{service}}"),
                    about="In an hour.",
                ),
            ],
            "Work": [
                graph(
                    "Events accepted over REST",
                    "ops",
                    ("sum by (topic) (rate(ingest_events_accepted_total[$__rate_interval]))", "{{topic}}"),
                ),
                graph(
                    "Records applied", "ops", ("sum by (service) (rate(consumer_records_total[$__rate_interval]))", "{{service}}")
                ),
                graph("Requests", "reqps", ("sum by (service) (service_route:http_requests:rate5m)", "{{service}}")),
                graph("Requests over one second", "percentunit", ("service_route:http_slow:ratio_rate5m", "{{service}} {{route}}")),
                graph("Failed requests", "percentunit", ("service_route:http_errors:ratio_rate5m", "{{service}} {{route}}")),
                graph(
                    "Request time",
                    "s",
                    *parts.quantiles("http_request_seconds", "service", of='{route!~"/(livez|readyz|metrics)"}'),
                ),
            ],
        },
    )

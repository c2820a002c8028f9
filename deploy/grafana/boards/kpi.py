"""kpi: what is counted, up to when it is judged, what stands breached."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, number


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "kpi",
        "Closed Loop / Counting and judging",
        "Indicators over KPI_GAUGE_WINDOW (1 h) and their counting. Every process tells the same values: the greatest is shown.",
        {
            "Now": [
                number("Series that stand breached", "none", "sum(max by (indicator) (kpi_breached_series))", red_from=1),
                number(
                    "Judged up to",
                    "s",
                    "max(topic:kpi_statement_delay:seconds)",
                    red_from=600,
                    about="How long ago, in event time.",
                ),
                number("Counted", "ops", "sum(rate(kpi_events_counted_total[$__rate_interval]))"),
                number(
                    "Ids with other content, 24 h", "none", 'sum(increase(kpi_duplicates_total{content="other"}[24h]))', red_from=1
                ),
            ],
            "Indicators": [
                graph(
                    "Value, all regions",
                    "none",
                    ('max by (indicator) (kpi_indicator_value{split_by=""})', "{{indicator}}"),
                    about="In the indicator's unit.",
                ),
                graph("Events in the value", "none", ('max by (indicator) (kpi_indicator_sample{split_by=""})', "{{indicator}}")),
                graph("Breached series", "none", ("max by (indicator) (kpi_breached_series)", "{{indicator}}"), stacked=True),
                graph(
                    "Statements",
                    "none",
                    ("sum by (indicator, kind) (increase(kpi_statements_total[1h]))", "{{indicator}} {{kind}}"),
                    about="In an hour.",
                ),
            ],
            "Counting": [
                graph(
                    "Events counted",
                    "ops",
                    ("sum by (topic) (rate(kpi_events_counted_total[$__rate_interval]))", "{{topic}}"),
                    stacked=True,
                ),
                graph(
                    "Events that came again",
                    "ops",
                    ("sum by (topic, content) (rate(kpi_duplicates_total[$__rate_interval]))", "{{topic}}, content {{content}}"),
                ),
                graph(
                    "Statement delay",
                    "s",
                    ("topic:kpi_statement_delay:seconds", "{{topic}}"),
                    about="Clock less the event time up to which is judged.",
                ),
                graph(
                    "Series for Prometheus",
                    "none",
                    ("max(kpi_exported_series)", "shown"),
                    ("max(kpi_exported_series_left_out)", "left out"),
                    about="KPI_MAX_EXPORTED_SERIES is the bound.",
                ),
                graph(
                    "Memory of caches",
                    "bytes",
                    ("sum by (instance) (kpi_seen_cache_bytes)", "{{instance}} duplicates"),
                    ("sum by (instance) (kpi_bucket_cache_bytes)", "{{instance}} buckets"),
                ),
            ],
            "Store": [
                graph("Segments", "none", ("max by (kind) (kpi_segments)", "{{kind}}")),
                graph("Bytes in segments", "bytes", ("max by (kind) (kpi_segment_bytes)", "{{kind}}")),
                graph("Segments merged", "ops", ("sum by (kind) (rate(kpi_segments_merged_total[$__rate_interval]))", "{{kind}}")),
                graph(
                    "Request time", "s", *parts.quantiles("http_request_seconds", "route", of='{service="kpi", route=~"/v1/.+"}')
                ),
            ],
        },
    )

"""ticketing: what opens tickets, where they stand, up to when bursts are judged."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, number


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "ticketing",
        "Closed Loop / Tickets",
        "Root-cause tickets, and what opens them. Every process tells the figures of the whole database: the greatest is shown.",
        {
            "Now": [
                number("Open tickets", "none", "sum(max by (stage) (ticketing_open_tickets))"),
                number("Overdue measures", "none", "max(ticketing_overdue_measures)", red_from=1),
                number(
                    "Bursts are judged up to",
                    "s",
                    "ticketing_statement_delay:seconds",
                    red_from=600,
                    about="How long ago, in event time.",
                ),
                number(
                    "Complaints not watched, 24 h", "none", "sum(increase(ticketing_untracked_complaints_total[24h]))", red_from=1
                ),
            ],
            "Tickets": [
                graph("Open, by stage", "none", ("max by (stage) (ticketing_open_tickets)", "{{stage}}"), stacked=True),
                graph(
                    "Opened",
                    "none",
                    ("sum by (trigger) (increase(ticketing_tickets_opened_total[1h]))", "{{trigger}}"),
                    about="In an hour.",
                ),
                graph(
                    "Firings of triggers",
                    "none",
                    ("sum by (trigger) (increase(ticketing_firings_total[1h]))", "{{trigger}}"),
                    about="In an hour; some join an open ticket.",
                ),
                graph("Overdue measures", "none", ("max(ticketing_overdue_measures)", "measures")),
            ],
            "Watching": [
                graph("Subjects watched", "none", ("max(ticketing_subjects)", "subjects")),
                graph(
                    "Statement delay",
                    "s",
                    ("ticketing_statement_delay:seconds", "delay"),
                    about="Clock less the event time up to which is judged.",
                ),
                graph(
                    "Events that came again",
                    "ops",
                    ("sum by (content) (rate(ticketing_duplicates_total[$__rate_interval]))", "content {{content}}"),
                ),
                graph(
                    "Request time",
                    "s",
                    *parts.quantiles("http_request_seconds", "route", of='{service="ticketing", route=~"/v1/.+"}'),
                ),
            ],
        },
    )

"""recovery: the two-hour queue, the calls, the outcomes."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import graph, number


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "recovery",
        "Closed Loop / First contact",
        "Dissatisfied customers are called within two hours. Every process tells the whole queue: the greatest is shown.",
        {
            "Now": [
                number("Past the promise", "none", "sum(region:recovery_overdue:max)", red_from=1),
                number("Due within 30 minutes", "none", "sum(region:recovery_due_soon:max)"),
                number(
                    "Called in the last 30 minutes",
                    "none",
                    "recovery:contacts:increase30m",
                    about="The pace at which those who are due can be called.",
                ),
                number(
                    "First contact in time, 24 h",
                    "percentunit",
                    "recovery:first_contact_within_promise:ratio_rate1d",
                    red_below=0.95,
                ),
            ],
            "Queue": [
                graph("Can be claimed", "none", ("max by (region) (recovery_waiting)", "{{region}}"), stacked=True),
                graph("Due within 30 minutes", "none", ("region:recovery_due_soon:max", "{{region}}"), stacked=True),
                graph("Past the promise", "none", ("region:recovery_overdue:max", "{{region}}"), stacked=True),
                graph("Oldest in the queue", "s", ("max(recovery_oldest_waiting_seconds)", "waits")),
                graph("Held by agents, put off", "none", ("max(recovery_claimed)", "held"), ("max(recovery_deferred)", "put off")),
                graph(
                    "Signals of dissatisfaction",
                    "ops",
                    ("sum by (outcome) (rate(recovery_signals_total[$__rate_interval]))", "{{outcome}}"),
                    stacked=True,
                ),
            ],
            "Calls": [
                graph(
                    "Calls",
                    "none",
                    ("sum by (result) (increase(recovery_contacts_total[30m]))", "{{result}}"),
                    about="In 30 minutes.",
                    stacked=True,
                ),
                graph("Dissatisfaction to first call", "s", *parts.quantiles("recovery_first_contact_seconds", "segment")),
                graph("Dissatisfaction to reached", "s", *parts.quantiles("recovery_first_reached_seconds", "segment")),
                graph(
                    "Closed",
                    "none",
                    ("sum by (outcome) (increase(recovery_closed_total[1h]))", "{{outcome}}"),
                    about="In an hour.",
                    stacked=True,
                ),
                graph("Claims", "ops", ("sum by (answer) (rate(recovery_claims_total[$__rate_interval]))", "{{answer}}")),
                graph("Claims that ran out", "none", ("sum(increase(recovery_lease_expiries_total[1h]))", "in an hour")),
                graph(
                    "Put off by a contact limit",
                    "none",
                    ("sum by (what) (increase(recovery_contacts_limited_total[1h]))", "{{what}}"),
                    about="In an hour.",
                ),
                graph(
                    "Phone numbers shown in full",
                    "none",
                    ("sum(increase(recovery_phone_reveals_total[1h]))", "in an hour"),
                    about="Each is audited.",
                ),
            ],
            "Requests": [
                graph(
                    "Request time",
                    "s",
                    *parts.quantiles("http_request_seconds", "route", of='{service="recovery", route=~"/v1/.+"}'),
                ),
                graph(
                    "Events that came again",
                    "ops",
                    ("sum by (content) (rate(recovery_duplicates_total[$__rate_interval]))", "content {{content}}"),
                ),
            ],
        },
    )

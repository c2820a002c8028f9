"""What single events state by themselves: an escalated complaint, an indicator's breach and its end."""

from datetime import datetime

from closedloop.common.events.model import ComplaintEscalated, IndicatorBreachData, IndicatorBreached, IndicatorRecovered
from closedloop.common.events.rules import Refused, parse_time
from closedloop.ticketing.domain import cause
from closedloop.ticketing.domain.cause import Cause
from closedloop.ticketing.domain.firing import Evidence, TriggerFiring
from closedloop.ticketing.domain.priority import urgency_of_breach
from closedloop.ticketing.domain.ticket import SYSTEM, Entry, Ticket

ESCALATED_URGENCY = 2
MAX_CAUSE_CHARS = 600
MAX_CUSTOMERS = 2**31 - 1


def escalation(event: ComplaintEscalated, at: datetime, registered_under: str | None) -> TriggerFiring:
    """The subject is the escalation's own, else the one the complaint was registered under, else the complaint itself."""
    data = event.data
    topic = data.topic_path or registered_under
    about = cause.of_topic(topic) if topic else cause.of_complaint(data.complaint_id)
    return TriggerFiring(
        trigger="escalated",
        cause=about,
        key=f"{event.source}\n{event.id}",
        at=at,
        title=f"Escalated complaint: {topic or data.complaint_id}",
        urgency=ESCALATED_URGENCY,
        customers=1,
        evidence=Evidence({data.region: 1}, [{"complaint_id": data.complaint_id, "region": data.region, "at": at.isoformat()}]),
        details={} if data.level is None else {"level": data.level},
        told_by=event,
    )


def breach(event: IndicatorBreached) -> TriggerFiring:
    """An indicator's breach as kpi stated it; its owner is asked first. Raises Refused."""
    data = event.data
    start, end = parse_time(data.window_start, "data.window_start"), parse_time(data.window_end, "data.window_end")
    about = cause_of(data)
    if len(about.name) > MAX_CAUSE_CHARS:
        raise Refused("data.dimensions", f"must be shorter: id and dimensions make {MAX_CAUSE_CHARS} characters at most")
    region = region_of(data)
    sample = min(max(data.sample, 0), MAX_CUSTOMERS)
    return TriggerFiring(
        trigger="indicator",
        cause=about,
        key=f"{data.window}\n{start.isoformat()}/{end.isoformat()}",
        at=end,
        title=f"Indicator breached: {about.name.removeprefix(cause.INDICATOR)}",
        urgency=urgency_of_breach(data.value, data.threshold),
        customers=sample,
        evidence=Evidence({region: sample} if region else {}),
        window_start=start,
        window_end=end,
        expected=data.threshold,
        observed=data.value,
        unit=data.owner,
        details={
            "window": data.window,
            "better": data.better,
            "numerator": data.numerator,
            "denominator": data.denominator,
            "dimensions": data.dimensions,
        }
        | {name: said for name, said in (("rule", data.rule), ("series_url", data.series_url)) if said is not None},
        told_by=event,
    )


def recovery(event: IndicatorRecovered, ticket: Ticket, at: datetime) -> Entry:
    """The line of history on the open ticket that says that the indicator came back."""
    data = event.data
    content = {"value": data.value, "threshold": data.threshold, "window": data.window, "window_end": data.window_end}
    why = "the indicator is back" if data.level is None else f"the indicator is back, as far as {data.level}"
    return Entry(ticket.version, at, SYSTEM, "indicator_recovered", ticket.stage, ticket.stage, why, content)


def cause_of(data: IndicatorBreachData) -> Cause:
    """One indicator in one group of its dimensions."""
    return cause.of_indicator(data.indicator_id, data.dimensions)


def region_of(data: IndicatorBreachData) -> str | None:
    """None: the indicator is the whole operator's."""
    return data.region or data.dimensions.get("region")

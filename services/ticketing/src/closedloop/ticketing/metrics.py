"""Every metric of this service. Labels are bounded; no ids, no subjects."""

from prometheus_client import Counter, Gauge

OPEN_TICKETS = Gauge("ticketing_open_tickets", "Open tickets", ["stage"])
OVERDUE_MEASURES = Gauge(
    "ticketing_overdue_measures", "Measures of open tickets whose due date is past and that are not carried out"
)
FIRINGS = Counter("ticketing_firings", "Firings of triggers", ["trigger"])
TICKETS_OPENED = Counter("ticketing_tickets_opened", "Tickets opened", ["trigger"])
STATED_UNTIL = Gauge("ticketing_stated_until_seconds", "Event time up to which statements were made")
SUBJECTS = Gauge("ticketing_subjects", "Subjects whose complaints are counted")
UNTRACKED = Counter("ticketing_untracked_complaints", "Complaints on subjects beyond the greatest number of subjects; not counted")
DUPLICATES = Counter("ticketing_duplicates", "Events that had been taken before", ["content"])
for content in ("same", "other"):  # at 0 from the start: an increase from nothing is no increase to Prometheus
    DUPLICATES.labels(content)
